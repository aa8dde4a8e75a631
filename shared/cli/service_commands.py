"""Commands on the service: gateways, usage, shell completion."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import get_completion_class

from rushes.shared.cli.job_options import completions
from rushes.shared.cli.output import json_option, print_result, print_table
from rushes.shared.client import Client, Gateway, Model, ModelAtGateway, PriceRow

NAME = click.argument("name", shell_complete=completions("provider"))


@click.command()
@json_option
def models() -> None:
    """List what can be made: for each model and gateway the price, where it is from and how sure it is."""
    found = Client.connect().models()
    names = ("model", "gateway", "kind", "USD", "from")
    rows = [
        _price_row(model, gateway, row) for model in found for gateway in model["gateways"] for row in gateway["prices"]
    ]
    print_table(found, names, rows)


def _price_row(model: Model, gateway: ModelAtGateway, row: PriceRow) -> tuple[Any, ...]:
    parts = [row["mode"], row["duration"] and f"{row['duration']} s", row["sound"] and "sound"]
    kind = ", ".join(str(part) for part in (*parts, row["voices"] and "voices") if part)
    unit, usd = ("clip", row["usd_per_clip"]) if row["usd_per_clip"] else ("second", row["usd_per_second"])
    cost = f"{usd} a {unit}" if usd else "unknown"
    checked = f"checked {row['checked']}" if row["checked"] else None
    origin = ", ".join(part for part in (row["confidence"], checked, row["source"]) if part)
    return model["id"], gateway["provider"], kind, cost, origin or None


@click.command()
@json_option
def gateways() -> None:
    """List the enabled gateways: pauses, jobs in flight, callbacks received."""
    rows = Client.connect().gateways()
    names = ("gateway", "paused until", "why", "in flight", "submits left", "callbacks")
    print_table(rows, names, [_row(gateway) for gateway in rows])


def _row(gateway: Gateway) -> tuple[Any, ...]:
    in_flight = f"{gateway['in_flight']} of {gateway['max_in_flight']}"
    callbacks = f"{gateway['callbacks']['heard']} of {gateway['callbacks']['asked']}"
    left = gateway["submits_left_this_minute"]
    return gateway["name"], gateway["paused_until"], gateway["why"], in_flight, left, callbacks


@click.command()
@NAME
@json_option
def pause(name: str) -> None:
    """Send no new jobs to a gateway until it is resumed (admin)."""
    print_result(Client.connect().pause(name), f"{name} is paused")


@click.command()
@NAME
@json_option
def resume(name: str) -> None:
    """End a gateway's pause (admin)."""
    print_result(Client.connect().resume(name), f"{name} is no longer paused")


@click.command()
@click.option("--from", "first", help="First day in UTC, as YYYY-MM-DD. Default: six days before the last.")
@click.option("--to", "last", help="Last day in UTC. Default: today.")
@json_option
def usage(first: str | None, last: str | None) -> None:
    """Show jobs, seconds and costs by day and gateway."""
    lines = Client.connect().usage(first, last)
    names = ("day", "tenant", "provider", "jobs", "completed", "failed", "seconds", "estimated_cost_usd", "cost_usd")
    print_table(lines, names, [tuple(dict(line)[name] for name in names) for line in lines])


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script for shell completion: eval "$(rushes completion bash)"."""
    completion_class = get_completion_class(shell)
    if completion_class is None:
        raise click.UsageError(f"{shell} is not supported")
    click.echo(completion_class(ctx.find_root().command, {}, "rushes", "_RUSHES_COMPLETE").source())


COMMANDS = (models, gateways, pause, resume, usage, completion)
