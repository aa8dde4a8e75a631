"""`rushes bulk`: one thing done to every job that fits a filter."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from rushes.shared.cli.filter_options import filter_options, filters_of
from rushes.shared.cli.output import FAILED, as_json, json_option, print_result
from rushes.shared.cli.tables import Column, print_table, table_options
from rushes.shared.client import Client
from rushes.shared.client.documents import Bulk, BulkAction, BulkForecast

LOOK_S = 0.5


@click.group()
def bulk() -> None:
    """Cancel, retry, notify or erase every job that fits a filter."""


def _command(action: BulkAction, does: str) -> click.Command:
    @click.command(action, help=f"{does} every job that fits. Counts them first, and asks; nothing is done before.")
    @filter_options
    @click.option("--dry-run", is_flag=True, help="Only count, and tell the cost.")
    @click.option("--yes", is_flag=True, help="Do not ask.")
    @click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for its end.")
    @click.option("--idempotency-key", help="A request that is sent again with the same key begins nothing new.")
    @json_option
    def command(dry_run: bool, yes: bool, wait: bool, idempotency_key: str | None, **flags: Any) -> None:
        client, filters = Client.connect(), filters_of(flags)
        forecast = client.bulk_dry_run(action, **filters)
        if dry_run:
            print_result(forecast, sentence(forecast))
            return
        if not yes:
            click.echo(sentence(forecast), err=True)
            click.confirm(f"{does} them?", abort=True, err=True)
        begun = client.bulk(action, idempotency_key=idempotency_key, **filters)
        report(wait_for_end(client, begun) if wait else begun)

    return command


COSTS = "Their retries cost {} USD at the most."


def sentence(forecast: BulkForecast) -> str:
    """What a bulk action would do."""
    count = f"{forecast['count']}{'' if forecast['complete'] else ' or more'}"
    priced = COSTS.format(forecast["estimated_cost_usd"]) if forecast["action"] == "retry" else "It costs nothing."
    unpriced = f" {forecast['unpriced_jobs']} have no known price." if forecast["unpriced_jobs"] else ""
    return f"{count} jobs fit. {priced}{unpriced}"


def wait_for_end(client: Client, begun: Bulk) -> Bulk:
    """The bulk action after its end; the number of jobs is shown on a terminal meanwhile."""
    is_shown = sys.stderr.isatty() and not as_json()
    while begun["status"] == "running":
        time.sleep(LOOK_S)
        begun = client.get_bulk(begun["id"])
        if is_shown:
            click.echo(f"\r{begun['done']} of {begun['matched'] or 'many'}", err=True, nl=False)
    if is_shown:
        click.echo("", err=True)
    return begun


def report(shown: Bulk) -> None:
    """Print a bulk action; the exit code is 1 where it was aborted."""
    outcomes = ", ".join(f"{count} {word}" for word, count in sorted(shown["outcomes"].items())) or "nothing done yet"
    print_result(shown, f"{shown['id']} is {shown['status']}: {outcomes}")
    if shown["status"] == "aborted":
        sys.exit(FAILED)


COLUMNS = (
    *(Column("id"), Column("action"), Column("filter", importance=1, wraps=True), Column("status")),
    *(Column("done", right=True), Column("matched", right=True)),
)


@bulk.command("list")
@click.option("--limit", default=20, show_default=True)
@table_options
def list_bulk(limit: int) -> None:
    """List bulk actions, newest first."""
    found = Client.connect().list_bulk(limit)
    rows = [
        (
            *(each["id"], each["action"], " ".join(f"{name}={text}" for name, text in each["filter"].items())),
            *(each["status"], each["done"], each["matched"]),
        )
        for each in found
    ]
    print_table(found, COLUMNS, rows, empty="There are no bulk actions. To begin one: rushes bulk --help")


@bulk.command()
@click.argument("bulk_id")
@json_option
def show(bulk_id: str) -> None:
    """Print a bulk action as JSON."""
    print_result(Client.connect().get_bulk(bulk_id))


@bulk.command()
@click.argument("bulk_id")
@json_option
def abort(bulk_id: str) -> None:
    """Do nothing to further jobs; what was done stays done."""
    shown = Client.connect().abort_bulk(bulk_id)
    print_result(shown, f"{shown['id']} is {shown['status']} after {shown['done']} jobs")


ACTIONS: dict[BulkAction, str] = {
    "cancel": "Cancel",
    "retry": "Retry",
    "notify": "Notify the callers of",
    "erase": "Erase",
}
for name, does in ACTIONS.items():
    bulk.add_command(_command(name, does))
COMMANDS = (bulk,)
