"""The filters of GET /v1/jobs as flags: of `rushes list` and of `rushes bulk`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from rushes.shared.cli.job_options import completions
from rushes.shared.client import Client
from rushes.shared.client.documents import Page

Command = TypeVar("Command", bound=Callable[..., Any])

OPTIONS = (
    click.option("--status", shell_complete=completions("status"), help="One status, or several separated by commas."),
    click.option("--provider", shell_complete=completions("provider")),
    click.option("--model", shell_complete=completions("model")),
    click.option("--error", help="The code of the error with which the job ended."),
    click.option("--batch"),
    click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="May be given several times."),
    click.option("--from", "first", metavar="DAY|TIME", help="Accepted since then, such as 2026-12-01."),
    click.option("--to", "last", metavar="DAY|TIME", help="Accepted on that day at the latest, or before that time."),
)


def filter_options(command: Command) -> Command:
    """The flags of the filters, for any command."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def filters_of(flags: Mapping[str, Any]) -> dict[str, str]:
    """The filters that the flags give, as the API names them."""
    filters = {"from": flags["first"], "to": flags["last"]}
    filters |= {name: flags[name] for name in ("status", "provider", "model", "error", "batch")}
    for pair in flags["metadata"]:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{pair} is not KEY=VALUE.", param_hint="--metadata")
        filters[f"metadata.{name}"] = value
    return {name: value for name, value in filters.items() if value}


def full_page(client: Client, filters: Mapping[str, str], limit: int, cursor: str | None) -> Page:
    """A page of `limit` jobs where there are so many: the service answers a long search in short pages."""
    page = client.page(**filters, limit=limit, cursor=cursor)
    while page["next_cursor"] and len(page["data"]) < limit:
        rest = client.page(**filters, limit=limit - len(page["data"]), cursor=page["next_cursor"])
        page = {"data": [*page["data"], *rest["data"]], "next_cursor": rest["next_cursor"]}
    return page
