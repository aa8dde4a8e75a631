"""The scheduler as a thread of a worker, where RUSHES_WORKER_RUNS_SCHEDULER is set; as `celery worker --beat` has beat.

On a small machine that saves the memory of a process. Any number of schedulers may run, so it needs no lock.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import structlog
from celery import Celery, bootsteps

from rushes.shared.services import Services
from rushes.worker import scheduler

log = structlog.get_logger()

# Steps under way may end, as at any SIGTERM: the answer to a paid call would be lost. One that hangs ends all the same.
END_S = 75.0
# A turn that is being made when the worker stops.
TURN_S = 5.0
FIRST_WORKER = "rushes-1@"
"""How the name of a launcher's first worker begins (celery_worker.py): one scheduler for a machine is enough."""


class HostedScheduler:
    """Runs the scheduler in this process; if it stalls or breaks, it ends the process, which is then started again."""

    def __init__(self, app: Celery, services: Services) -> None:
        self._app, self._services = app, services
        self._stopping = threading.Event()
        self._watchdog = scheduler.Watchdog(self._end_worker)
        self._turns = threading.Thread(target=self._make_turns, name="scheduler", daemon=True)
        self.has_failed = False
        """Whether the worker ends because of it."""

    def start(self) -> None:
        """Begin to make turns."""
        self._turns.start()

    def stop(self) -> None:
        """End after the turn that is being made."""
        self._stopping.set()
        self._watchdog.stop()
        if not self.has_failed:
            self._turns.join(TURN_S)

    def _make_turns(self) -> None:
        try:
            scheduler.serve(self._app, self._services, self._stopping.is_set, self._watchdog)
        except Exception:
            log.exception("the scheduler broke")
            self._end_worker()

    def _end_worker(self) -> None:
        self.has_failed = True
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(END_S)
        os._exit(scheduler.EXIT_STALLED)


class HostedSchedulerStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Starts it before the worker consumes, so that a broker that is away is reported, and ends it with the worker.

    The worker is not forked after that: its pool has threads.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self._hosted: HostedScheduler | None = None

    def include_if(self, worker: Any) -> bool:
        return str(worker.hostname).startswith(FIRST_WORKER)

    def start(self, worker: Any) -> None:
        from rushes.worker.app import app, services

        self._hosted = HostedScheduler(app, services())
        self._hosted.start()

    def stop(self, worker: Any) -> None:
        if self._hosted is None:
            return
        self._hosted.stop()
        if self._hosted.has_failed:
            worker.exitcode = scheduler.EXIT_STALLED

    terminate = stop
