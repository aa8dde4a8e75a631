"""Output and exit codes of commands: for people, or with `--json` for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

from rushes.shared.client import ApiError, Unreachable

DONE, FAILED, REFUSED, UNREACHABLE, STILL_WAITING, STOPPED = 0, 1, 2, 3, 4, 130
EXIT_CODES_HELP = """\b
Exit codes:
  0    done; with --wait or watch: the clip is archived
  1    with --wait or watch: the job failed or was canceled
  2    wrong usage, or the service refused
  3    the service does not answer
  4    --timeout ended before the job did; the job goes on
  130  stopped with Ctrl-C; the job goes on

\b
With --json, standard output holds JSON only, and a refusal is the API's
{"error": {"code", "message", "fields"?}} on standard error.
RUSHES_URL is the address of the service, RUSHES_API_KEY your key."""

JSON = "rushes.json"

Command = TypeVar("Command", bound=Callable[..., Any])


class StillWaiting(Exception):
    """The job has not ended within --timeout."""


class Group(click.Group):
    """Prints errors of the service as lines, not tracebacks; each kind has an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ApiError as error:
            print_error(ctx, error.code, error.message, dict(error.fields), str(error))
            ctx.exit(REFUSED)
        except Unreachable as error:
            print_error(ctx, "unreachable", str(error))
            ctx.exit(UNREACHABLE)
        except StillWaiting as error:
            print_error(ctx, "still_waiting", str(error))
            ctx.exit(STILL_WAITING)


def print_error(
    ctx: click.Context, code: str, message: str, fields: dict[str, Any] | None = None, text: str | None = None
) -> None:
    """Print an error on standard error."""
    if ctx.meta.get(JSON):
        error = {"code": code, "message": message, **({"fields": fields} if fields else {})}
        click.echo(json.dumps({"error": error}, ensure_ascii=False), err=True)
    else:
        prefix = "" if code == "unreachable" else f"{code}: "
        click.echo(f"error: {prefix}{text or message}", err=True)


def json_option(command: Command) -> Command:
    """`--json`, for any command."""
    return click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=lambda ctx, _, value: ctx.meta.__setitem__(JSON, value) if value else None,
        help="Print JSON, also for errors.",
    )(command)


def as_json() -> bool:
    """Whether the command has `--json`."""
    return bool(click.get_current_context().meta.get(JSON))


def print_result(value: Any, text: str | None = None) -> None:
    """With `--json` print the value as one line of JSON; otherwise the text, or indented JSON if there is none."""
    if as_json():
        click.echo(json.dumps(value, ensure_ascii=False))
    else:
        click.echo(json.dumps(value, ensure_ascii=False, indent=2) if text is None else text)
