"""The Celery app. Its messages only say that jobs are due: no results, no eta, no retries. Times are in the ledger."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from functools import cache
from typing import Any

from celery import Celery
from celery.platforms import SecurityWarning
from celery.signals import setup_logging, worker_ready
from kombu import Queue  # type: ignore[attr-defined]

from rushes.shared import logs, thread_switching
from rushes.shared.operations import doctor
from rushes.shared.services import Services, build
from rushes.shared.settings import SettingsError
from rushes.worker import broker
from rushes.worker.lane_capacity import QUEUE


@cache
def services() -> Services:
    """The services of this process, built once."""
    return build(os.environ)


CONFIG = {
    "task_ignore_result": True,
    "result_expires": 3600,
    "task_acks_late": False,  # an expired lease hands a job out again; late acks would only add copies
    "task_reject_on_worker_lost": False,
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": True,
    "worker_eta_task_limit": 100,  # no message has an eta; this only limits a mistake
    "worker_cancel_long_running_tasks_on_connection_loss": False,  # it would lose the responses of paid calls
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "task_publish_retry": False,
    "task_serializer": "json",
    "accept_content": ["json"],
    "worker_soft_shutdown_timeout": 70,  # longer than the longest paid call
    "worker_consumer": "rushes.worker.message_checks:Consumer",
    "worker_pool": "threads",
    "worker_concurrency": 8,  # for `rushes.enqueue`; the work is done by the threads of tasks.py
    "worker_send_task_events": False,
    "worker_hijack_root_logger": False,
    "task_create_missing_queues": True,
    "task_default_queue": QUEUE,
    "imports": ["rushes.worker.tasks"],
}


def queues() -> list[Queue]:
    """The queues. Hints are not acknowledged, which saves two writes each: a lost one is handed out again.

    What other services enqueue is nowhere else until it is accepted, so it is acknowledged.
    """
    return [Queue(QUEUE, no_ack=True), Queue("enqueue")]  # type: ignore[no-untyped-call]


def _hide_root_warning() -> None:
    """Celery warns of pickle run by root; only JSON is accepted here (CONFIG)."""
    warnings.filterwarnings("ignore", category=SecurityWarning)


def make_app() -> Celery:
    """The app; a missing setting ends the process with one line that names it."""
    _hide_root_warning()
    try:
        settings = services().settings
        broker.check(settings)
    except SettingsError as error:
        sys.exit(str(error))
    celery = Celery("rushes")
    celery.conf.update(CONFIG, task_queues=queues(), **broker.options(settings))
    if settings.worker_runs_scheduler:
        from rushes.worker.hosted_scheduler import HostedSchedulerStep  # no other worker needs what it imports

        celery.steps["worker"].add(HostedSchedulerStep)
    return celery


app = make_app()


@setup_logging.connect  # type: ignore[untyped-decorator]
def _log(**_: Any) -> None:
    logs.configure_process()


@worker_ready.connect  # type: ignore[untyped-decorator]
def _ready(**_: Any) -> None:
    from rushes.worker import leases

    leases.start_heartbeat(services())
    thread_switching.tune()
    gc.set_threshold(20_000, 20, 20)
    doctor.warn_of_redis(services().settings)
