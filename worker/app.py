"""The Celery app. It only carries hints: no results, no eta, no retries; *later* is the ledger's."""

from __future__ import annotations

import gc
import os
import sys
from functools import cache
from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_ready
from kombu import Queue  # type: ignore[attr-defined]

from rushes.shared import logs, thread_switching
from rushes.shared.operations import doctor
from rushes.shared.services import Services, build
from rushes.shared.settings import SettingsError
from rushes.worker import broker, message_decoding
from rushes.worker.lane_capacity import QUEUE


@cache
def services() -> Services:
    """The parts, joined once a process."""
    return build(os.environ)


CONFIG = {
    "task_ignore_result": True,
    "result_expires": 3600,
    "task_acks_late": False,  # the ledger's lease delivers again; late acks would only add copies
    "task_reject_on_worker_lost": False,
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": True,
    "worker_eta_task_limit": 100,  # never used: a belt
    "worker_cancel_long_running_tasks_on_connection_loss": False,  # would turn paid calls into lost answers
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
    """Hints are taken without a receipt, which costs two writes each: one that is lost is handed out again.

    What other services enqueue stands nowhere else until it is taken in.
    """
    return [Queue(QUEUE, no_ack=True), Queue("enqueue")]  # type: ignore[no-untyped-call]


def make() -> Celery:
    """The app; a missing setting ends the process with one line that names it."""
    message_decoding.install()
    try:
        settings = services().settings
        broker.check(settings)
    except SettingsError as error:
        sys.exit(str(error))
    made = Celery("rushes")
    made.conf.update(CONFIG, task_queues=queues(), **broker.options(settings))
    return made


app = make()


@setup_logging.connect  # type: ignore[untyped-decorator]
def _log(**_: Any) -> None:
    logs.configure_process()


@worker_ready.connect  # type: ignore[untyped-decorator]
def _ready(**_: Any) -> None:
    from rushes.worker import leases

    leases.start(services())
    thread_switching.settle()
    gc.set_threshold(20_000, 20, 20)
    doctor.warn_of_redis(services().settings)
