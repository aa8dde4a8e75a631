"""Follows a job to its end, with a progress bar: by the service's event stream, or by polling if there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from threading import Thread

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from rushes.shared.cli import job_summary
from rushes.shared.cli.output import FAILED, STOPPED, StillWaiting, as_json, print_result
from rushes.shared.client import ENDED, ApiError, Client, Job, Unreachable

# After this long without a stream (429, or a proxy that passes none) the job is polled.
STREAM_PATIENCE_S = 2
QUEUE_WAIT_S = 0.2


def wait_for_end(client: Client, job_id: str, timeout_s: float | None) -> None:
    """Show the progress of a job, then print how it ended; exits with 1 unless its clip is archived."""
    with handle_ctrl_c(job_id):
        show_progress(client, job_id, timeout_s)
        job = client.get(job_id)
    print_result(job, job_summary.text(job))
    if job["status"] != "completed":
        sys.exit(FAILED)


@contextmanager
def handle_ctrl_c(job_id: str) -> Iterator[None]:
    """Ctrl-C ends the command and not the job; say so."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"The job goes on. To watch it again: rushes watch {job_id}", err=True)
        sys.exit(STOPPED)


def show_progress(client: Client, job_id: str, timeout_s: float | None) -> None:
    """Wait for the job's end, with a progress bar on standard error unless `--json` is set."""
    client.get(job_id)  # an error is printed before there is a bar
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=as_json()) as bar:
        row = bar.add_task(job_id, total=100, state="…")
        for job in changes(client, job_id, timeout_s):
            bar.update(row, completed=job["progress"], state=f"{job['status']} {job['provider'] or ''}")


def changes(client: Client, job_id: str, timeout_s: float | None = None) -> Iterator[Job]:
    """The job after each change, until its end; raises StillWaiting, ApiError, Unreachable."""
    queue: SimpleQueue[Job | Exception] = SimpleQueue()
    Thread(target=_listen, args=(client, job_id, queue), daemon=True).start()
    give_up_at = None if timeout_s is None else time.monotonic() + timeout_s
    status = "unknown"
    while status not in ENDED:
        try:
            # With a timeout: a Ctrl-C right before an endless wait would not end it.
            item = queue.get(timeout=QUEUE_WAIT_S)
        except Empty:
            if give_up_at is not None and time.monotonic() >= give_up_at:
                raise StillWaiting(f"{job_id} is still {status}; it goes on") from None
            continue
        if isinstance(item, Exception):
            raise item
        yield item
        status = item["status"]


def _listen(client: Client, job_id: str, queue: SimpleQueue[Job | Exception]) -> None:
    try:
        for job in _streamed_or_polled(client, job_id):
            queue.put(job)
    except (ApiError, Unreachable) as error:
        queue.put(error)


def _streamed_or_polled(client: Client, job_id: str) -> Iterator[Job]:
    try:
        yield from (event.job for event in client.events(job_id, patience_s=STREAM_PATIENCE_S))
    except Unreachable:
        yield from client.follow(job_id)
