"""The service from a shell: its gateways, what was spent, and what a shell can complete."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import get_completion_class

from rushes.shared.cli.job_options import offered
from rushes.shared.cli.output import json_option, tell, tell_table
from rushes.shared.client import Client, Gateway

NAME = click.argument("name", shell_complete=offered("provider"))


@click.command()
@json_option
def gateways() -> None:
    """Each enabled gateway: paused or not, how full, how its callbacks arrive."""
    found = Client.connect().gateways()
    names = ("gateway", "paused until", "why", "in flight", "submits left", "callbacks")
    tell_table(found, names, [_row(gateway) for gateway in found])


def _row(gateway: Gateway) -> tuple[Any, ...]:
    full = f"{gateway['in_flight']} of {gateway['max_in_flight']}"
    heard = f"{gateway['callbacks']['heard']} of {gateway['callbacks']['asked']}"
    left = gateway["submits_left_this_minute"]
    return gateway["name"], gateway["paused_until"], gateway["why"], full, left, heard


@click.command()
@NAME
@json_option
def pause(name: str) -> None:
    """Send nothing new to a gateway until a resume (admin)."""
    tell(Client.connect().pause(name), f"{name} is paused")


@click.command()
@NAME
@json_option
def resume(name: str) -> None:
    """End a gateway's pause (admin)."""
    tell(Client.connect().resume(name), f"{name} is no longer paused")


@click.command()
@click.option("--from", "first", help="First day, UTC, as YYYY-MM-DD; six days before the last.")
@click.option("--to", "last", help="Last day, UTC; today.")
@json_option
def usage(first: str | None, last: str | None) -> None:
    """What was made and spent, by day and gateway."""
    lines = Client.connect().usage(first, last)
    names = ("day", "tenant", "provider", "jobs", "completed", "failed", "seconds", "estimated_cost_usd", "cost_usd")
    tell_table(lines, names, [tuple(dict(line)[name] for name in names) for line in lines])


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """What makes a shell complete `rushes …`: eval "$(rushes completion bash)"."""
    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"nothing is known of {shell}")
    click.echo(made(ctx.find_root().command, {}, "rushes", "_RUSHES_COMPLETE").source())


COMMANDS = (gateways, pause, resume, usage, completion)
