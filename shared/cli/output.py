"""How a command ends and what it prints: for people, or with `--json` for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from rushes.shared.client import ApiError, Unreachable

DONE, FAILED, REFUSED, UNREACHABLE, STILL_WAITING, STOPPED = 0, 1, 2, 3, 4, 130
CODES = """\b
Exit codes:
  0    it is done; where a job was waited for, its clip is archived
  1    the job that was waited for failed or was canceled
  2    bad usage, or the service refused
  3    the service does not answer
  4    --timeout is over and the job has not ended; it goes on
  130  stopped with Ctrl-C; a job that was waited for goes on

\b
With --json, standard output holds JSON only, and a refusal is the API's
{"error": {"code", "message", "fields"?}} on standard error.
RUSHES_URL and RUSHES_API_KEY say which service, and who asks."""

JSON = "rushes.json"

Command = TypeVar("Command", bound=Callable[..., Any])


class StillWaiting(Exception):
    """The job has not ended within the time given."""


class Group(click.Group):
    """Errors of the service are lines, not tracebacks; scripts can tell them by the exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ApiError as error:
            complain(ctx, error.code, error.message, dict(error.fields), str(error))
            ctx.exit(REFUSED)
        except Unreachable as error:
            complain(ctx, "unreachable", str(error))
            ctx.exit(UNREACHABLE)
        except StillWaiting as error:
            complain(ctx, "still_waiting", str(error))
            ctx.exit(STILL_WAITING)


def complain(
    ctx: click.Context, code: str, message: str, fields: dict[str, Any] | None = None, text: str | None = None
) -> None:
    """Say on standard error what went wrong."""
    if ctx.meta.get(JSON):
        told = {"code": code, "message": message, **({"fields": fields} if fields else {})}
        click.echo(json.dumps({"error": told}, ensure_ascii=False), err=True)
    else:
        before = "" if code == "unreachable" else f"{code}: "
        click.echo(f"error: {before}{text or message}", err=True)


def json_option(command: Command) -> Command:
    """`--json`, for any command."""
    return click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=lambda ctx, _, given: ctx.meta.__setitem__(JSON, given) if given else None,
        help="JSON on standard output, and errors as JSON.",
    )(command)


def as_json() -> bool:
    """Whether `--json` was given."""
    return bool(click.get_current_context().meta.get(JSON))


def tell(value: Any, text: str | None = None) -> None:
    """Print JSON, in one line with `--json`; without it the text, where there is one."""
    if as_json():
        click.echo(json.dumps(value, ensure_ascii=False))
    else:
        click.echo(json.dumps(value, ensure_ascii=False, indent=2) if text is None else text)


def tell_table(value: Any, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table, whose first column stays whole; with `--json` the value instead."""
    if as_json():
        tell(value)
        return
    table = Table()
    for number, name in enumerate(names):
        table.add_column(name, overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*("-" if cell is None else str(cell) for cell in row))
    Console().print(table)
