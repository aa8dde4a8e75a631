"""A job's way to its end, as a bar: told by the service's events, or looked after where there are none to be had."""

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

from rushes.shared.cli.output import FAILED, STOPPED, StillWaiting, as_json, tell
from rushes.shared.client import ENDED, ApiError, Client, Job, Unreachable

# A stream that is not to be had (429, or something on the way that lets none through) is not waited for.
STREAM_PATIENCE_S = 2
WAIT_S = 0.2


def see_to_the_end(client: Client, job_id: str, timeout_s: float | None) -> None:
    """Show the way, print the job as it ended; exit 0 only where its clip is archived."""
    with left_alone(job_id):
        show_way(client, job_id, timeout_s)
        job = client.get(job_id)
    tell(job)
    if job["status"] != "completed":
        sys.exit(FAILED)


@contextmanager
def left_alone(job_id: str) -> Iterator[None]:
    """Who stops looking stops no job."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"The job goes on. To watch it again: rushes watch {job_id}", err=True)
        sys.exit(STOPPED)


def show_way(client: Client, job_id: str, timeout_s: float | None) -> None:
    """The job's way as a bar on standard error; with `--json` nothing but the wait."""
    client.get(job_id)  # a refusal is told before there is a bar
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=as_json()) as bar:
        row = bar.add_task(job_id, total=100, state="…")
        for job in changes(client, job_id, timeout_s):
            bar.update(row, completed=job["progress"], state=f"{job['status']} {job['provider'] or ''}")


def changes(client: Client, job_id: str, timeout_s: float | None = None) -> Iterator[Job]:
    """The job each time that it changed, until its end; raises StillWaiting, ApiError, Unreachable."""
    heard: SimpleQueue[Job | Exception] = SimpleQueue()
    Thread(target=_listen, args=(client, job_id, heard), daemon=True).start()
    give_up_at = None if timeout_s is None else time.monotonic() + timeout_s
    status = "not heard of"
    while status not in ENDED:
        try:
            # Never for ever: a Ctrl-C that comes right before the wait begins would not end it.
            told = heard.get(timeout=WAIT_S)
        except Empty:
            if give_up_at is not None and time.monotonic() >= give_up_at:
                raise StillWaiting(f"{job_id} is still {status}; it goes on") from None
            continue
        if isinstance(told, Exception):
            raise told
        yield told
        status = told["status"]


def _listen(client: Client, job_id: str, heard: SimpleQueue[Job | Exception]) -> None:
    try:
        for job in _told(client, job_id):
            heard.put(job)
    except (ApiError, Unreachable) as error:
        heard.put(error)


def _told(client: Client, job_id: str) -> Iterator[Job]:
    try:
        yield from (event.job for event in client.events(job_id, patience_s=STREAM_PATIENCE_S))
    except Unreachable:
        yield from client.follow(job_id)
