"""The launcher: runs RUSHES_WORKER_PROCESSES Celery workers, by default one per core, as Python uses one core each.

A worker that ends by itself is started again, unless workers keep ending right after their start. While Redis or the
broker is out of reach or refuses, that says nothing of the workers: it is waited for. A worker whose launcher is gone
ends (leases.py).
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkProcess, SpawnProcess
from multiprocessing.process import BaseProcess

import structlog

from rushes.shared import heap, logs
from rushes.shared.ledger.connection import connect
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.services import load_prices
from rushes.shared.settings import Settings, SettingsError, load
from rushes.worker import broker, celery_worker
from rushes.worker.outage_log import OutageLog

log = structlog.get_logger()

# macOS's libraries do not stand a fork.
Process = SpawnProcess if sys.platform == "darwin" else ForkProcess
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
CHECK_S = 0.5
# A worker that ends before this age failed to start. After this many failed starts in a row the launcher ends.
MIN_AGE_S, MAX_FAILED_STARTS = 15, 3
TIMEOUT_S = 2


Run = Callable[[int], None]
"""Runs the worker with this number in a child process; what it raises, SystemExit too, ends that process."""


class WorkerProcesses:
    """The running workers. Each is a fork of this process, which has imported what they need and connected to nothing.

    They have the memory of these imports in common, and a worker that is started again is there at once.
    """

    def __init__(self, size: int, outage: Callable[[], str], run: Run = celery_worker.run_for_launcher) -> None:
        self._outage, self._run = outage, run
        gc.freeze()  # a collection in a child would write to the memory that they share
        self._outages = OutageLog("no worker can run: Redis or the broker out of reach")
        self._running = [self._start(number) for number in range(1, size + 1)]
        self._failed_starts = 0
        self._waiting: set[int] = set()
        self._stopping = False

    def forward_signal(self, number: int, _: object) -> None:
        """Send a signal to all workers; from now on none is started again."""
        self._stopping = True
        for process, _started_at in self._running:
            if process.exitcode is None and process.pid is not None:
                os.kill(process.pid, number)

    def supervise(self) -> int:
        """Restart workers that end, until a signal came and all have ended; returns the exit status."""
        while not (self._stopping and all(process.exitcode is not None for process, _ in self._running)):
            time.sleep(CHECK_S)
            for index, (process, started_at) in enumerate(self._running):
                if process.exitcode is None or self._stopping:
                    continue
                if not self._restart(index, process.exitcode, started_at):
                    break
            if self._failed_starts >= MAX_FAILED_STARTS:
                self.forward_signal(signal.SIGTERM, None)
        return max(abs(process.exitcode or 0) for process, _ in self._running)

    def _restart(self, index: int, status: int, started_at: float) -> bool:
        """Start a worker again; False where Redis or the broker has to be waited for."""
        failed_to_start = index not in self._waiting and time.monotonic() - started_at < MIN_AGE_S
        if (failed_to_start or index in self._waiting) and (reason := self._outage()):
            self._waiting.add(index)
            self._outages.record(reason)
            return False
        self._outages.clear()
        self._waiting.discard(index)
        log.error("worker ended", number=index + 1, status=status)
        self._failed_starts = self._failed_starts + 1 if failed_to_start else 0
        self._running[index] = self._start(index + 1)
        return True

    def _start(self, number: int) -> tuple[BaseProcess, float]:
        process: BaseProcess = Process(target=_run_child, args=(self._run, number))
        process.start()
        return process, time.monotonic()


def _run_child(run: Run, number: int) -> None:
    for signal_number in SIGNALS:  # until Celery has handlers of its own
        signal.signal(signal_number, signal.SIG_DFL)
    run(number)


def outage(settings: Settings) -> str:
    """Why Redis or the broker can be used by nobody now, or ""."""
    try:
        with connect(settings.redis_url, TIMEOUT_S) as client:
            RedisStore(client).check_writes()
    except LedgerUnavailable as unavailable:
        return str(unavailable)
    return broker.problem(settings)


def main() -> None:
    heap.tune()
    logs.configure_process()
    try:
        settings = load(os.environ)
        if settings.worker_processes == 1:
            sys.exit(celery_worker.run(1))  # which checks the rest too
        load_prices(settings)
        broker.check(settings)
    except SettingsError as error:
        sys.exit(str(error))
    processes = WorkerProcesses(settings.worker_processes, lambda: outage(settings))
    for number in SIGNALS:
        signal.signal(number, processes.forward_signal)
    sys.exit(processes.supervise())


if __name__ == "__main__":
    main()
