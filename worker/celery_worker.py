"""Runs one Celery worker in this process.

As `celery --app rushes.worker.app worker` does, but without Celery's command line: that imports each command of it, and
a shell with prompt_toolkit.
"""

from __future__ import annotations

import logging
import os
import socket
import sys

from celery.apps import worker as celery_program

# Imported here, and not by the app, so that the workers of a launcher have them in common.
from rushes.worker import message_checks, steps, task_classes, thread_pools

SHARED_MODULES = (celery_program, message_checks, steps, task_classes, thread_pools)
QUEUES = ("work", "enqueue")


def command(number: int) -> list[str]:
    """The command line of the same worker."""
    celery = [sys.executable, "-m", "celery", "--quiet", "--app", "rushes.worker.app", "worker"]
    without = ["--without-heartbeat", "--without-gossip", "--without-mingle"]
    return [*celery, *without, "--loglevel", "WARNING", "--queues", ",".join(QUEUES), "--hostname", _hostname(number)]


def run(number: int) -> int:
    """Work until a signal ends it; returns the exit status. Ends the process where a setting is wrong.

    `number` tells apart the workers of one machine.
    """
    # Invariant: the app connects to servers and starts threads, so it is imported after a fork.
    from rushes.worker.app import app

    sys.argv = command(number)[1:]  # Celery starts this anew at SIGHUP
    worker = app.Worker(
        hostname=_hostname(number),
        queues=QUEUES,
        loglevel=logging.WARNING,
        quiet=True,
        without_heartbeat=True,
        without_gossip=True,
        without_mingle=True,
    )
    worker.start()
    return worker.exitcode or 0


def run_for_launcher(number: int) -> None:
    """Run a worker that ends when its parent process does (leases.py), and with its exit status end this process."""
    os.environ["RUSHES_LAUNCHER"] = str(os.getppid())
    sys.exit(run(number))


def _hostname(number: int) -> str:
    return f"rushes-{number}@{socket.gethostname()}"
