"""Commands on batches: enqueue a file of jobs, follow them, list batches."""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from typing import Any, TextIO
from uuid import uuid4

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rushes.shared.cli.output import FAILED, StillWaiting, as_json, print_result
from rushes.shared.cli.progress import handle_ctrl_c
from rushes.shared.cli.tables import Column, print_table, table_options
from rushes.shared.client import ENDED, Batch, BatchSummary, Client, Unreachable

PREFIX = "batch_"
LOOK_S = 1.0
# While the service does not answer, a batch is looked at for so long before the command ends.
PATIENCE_S = 60
RECEIPT_COLUMNS = (
    Column("job"),
    Column("status"),
    Column("gateway", importance=1),
    Column("estimated USD", importance=3, right=True),
    Column("USD", right=True),
    Column("wasted USD", importance=2, right=True),
    Column("error", importance=1),
)
BATCH_COLUMNS = (
    Column("id"),
    Column("status"),
    Column("jobs", right=True),
    Column("completed", importance=2, right=True),
    Column("failed", importance=1, right=True),
    Column("canceled", importance=3, right=True),
    Column("USD", right=True),
    Column("budget", importance=1, right=True),
    Column("created", importance=4),
)


def is_batch(given_id: str) -> bool:
    """Whether an id is that of a batch."""
    return given_id.startswith(PREFIX)


def jobs_of(file: TextIO) -> list[dict[str, Any]]:
    """The requests of a file, one JSON object a line; blank lines are skipped."""
    jobs = []
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        job: Any = None
        with suppress(ValueError, RecursionError):
            job = json.loads(line)
        if not isinstance(job, dict):
            raise click.UsageError(f"{file.name}, line {number}: not a JSON object")
        jobs.append(job)
    return jobs


@click.command(short_help="Submit every job of a file, all or none.")
@click.argument("file", type=click.File(encoding="utf-8"))
@click.option("--max-cost-usd", help="No job is submitted that would bring the batch over this.")
@click.option("--start-before", help="A job that has not begun by this moment (ISO 8601) ends canceled.")
@click.option("--priority", type=int, help="0 to 9; the higher goes first.")
@click.option("--callback-url", help="Told once, when all have ended.")
@click.option("--wait", is_flag=True, help="Wait until all have ended, with a progress bar; prints the receipt.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), help="Wait at most this long, in seconds.")
@click.option("--idempotency-key", help="A file that is sent again with the same key gives the same batch.")
@table_options
def batch(file: TextIO, wait: bool, timeout_s: float | None, idempotency_key: str | None, **terms: Any) -> None:
    """Submit every job of FILE (a JSON object a line), all or none; prints the id of the batch."""
    client = Client.connect()
    options = {name: value for name, value in terms.items() if value is not None}
    # With a key of its own the request may be sent again where the answer is lost.
    made = client.submit_batch(jobs_of(file), idempotency_key or f"rushes-batch-{uuid4()}", **options)
    if wait:
        wait_for_batch(client, made["id"], timeout_s)
    else:
        print_result(made, made["id"])


def wait_for_batch(client: Client, batch_id: str, timeout_s: float | None) -> None:
    """Show the progress of a batch until its end, then its receipt; exits with 1 unless every clip is archived."""
    with handle_ctrl_c(batch_id):
        ended = follow(client, batch_id, timeout_s)
    print_receipt(ended)
    if ended["counts"]["completed"] < ended["jobs"]:
        sys.exit(FAILED)


def follow(client: Client, batch_id: str, timeout_s: float | None = None) -> Batch:
    """Show the progress on standard error unless `--json` is set; returns the batch that has ended."""
    give_up_at = None if timeout_s is None else time.monotonic() + timeout_s
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[state]}"))
    seen = client.get_batch(batch_id)  # an error is printed before there is a bar
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), disable=as_json()) as bar:
        row = bar.add_task(batch_id, total=seen["jobs"], state="…")
        while True:
            bar.update(
                row,
                completed=sum(n for state, n in seen["counts"].items() if state in ENDED),
                state=progress_text(seen),
            )
            if seen["status"] == "completed":
                return seen
            if give_up_at is not None and time.monotonic() >= give_up_at:
                raise StillWaiting(f"{batch_id} is still running; it goes on")
            time.sleep(LOOK_S)
            seen = _patiently(client, batch_id)


def _patiently(client: Client, batch_id: str) -> Batch:
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        try:
            return client.get_batch(batch_id)
        except Unreachable:
            if time.monotonic() > give_up_at:
                raise
        time.sleep(LOOK_S)


def progress_text(seen: BatchSummary) -> str:
    """States and money in a few words."""
    states = ", ".join(f"{count} {state}" for state, count in seen["counts"].items() if count)
    budget = f" of {seen['max_cost_usd']}" if seen["max_cost_usd"] else ""
    return f"{states}; {seen['cost_usd']} + {seen['reserved_cost_usd']} reserved{budget} USD"


def print_receipt(ended: Batch) -> None:
    """The receipt as a table; with `--json` the batch."""
    fields = ("job_id", "status", "provider", "estimated_cost_usd", "cost_usd", "wasted_cost_usd", "error")
    lines: list[Any] = [*(ended["receipt"] or ())]
    print_table(ended, RECEIPT_COLUMNS, [[line[field] for field in fields] for line in lines])


@click.command("batches")
@click.option("--limit", default=20, show_default=True)
@click.option("--cursor", help="`next_cursor` of the previous page.")
@table_options
def list_batches(**query: Any) -> None:
    """List batches, newest first."""
    page = Client.connect().batch_page(**query)
    rows = [_row(each) for each in page["data"]]
    print_table(page, BATCH_COLUMNS, rows, empty="There are no batches. To submit one: rushes batch --help")


def _row(each: BatchSummary) -> tuple[Any, ...]:
    counts = [each["counts"][state] for state in ("completed", "failed", "canceled")]
    created = f"{each['created_at'][:16].replace('T', ' ')}Z"
    return each["id"], each["status"], each["jobs"], *counts, each["cost_usd"], each["max_cost_usd"], created


COMMANDS = (batch, list_batches)
