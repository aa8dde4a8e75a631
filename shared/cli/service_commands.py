"""Commands on the service: gateways, usage, shell completion."""

from __future__ import annotations

from decimal import Decimal
from importlib.util import find_spec
from typing import Any

import click
from click.shell_completion import get_completion_class

from rushes.shared.cli import short_forms
from rushes.shared.cli.job_options import completions
from rushes.shared.cli.output import json_option, print_result
from rushes.shared.cli.tables import Column, is_csv, print_table, table_options
from rushes.shared.client import Account, Balance, Client, Gateway, Model, ModelAtGateway, PriceRow, Used
from rushes.shared.domain.accounts import DEFAULT
from rushes.shared.domain.balances import duration_text

NAME = click.argument("name", shell_complete=completions("provider"))


MODEL_COLUMNS = (
    Column("model"),
    Column("gateway"),
    Column("kind", wraps=True),
    Column("USD"),
    Column("confidence", importance=1),
    Column("checked", importance=2),
    Column("source", importance=3),
)


@click.command(short_help="List models, gateways and prices.")
@table_options
def models() -> None:
    """List what can be made: for each model and gateway the price, where it is from and how sure it is."""
    found = Client.connect().models()
    rows = [
        _price_row(model, gateway, row) for model in found for gateway in model["gateways"] for row in gateway["prices"]
    ]
    print_table(found, MODEL_COLUMNS, rows)


def _price_row(model: Model, gateway: ModelAtGateway, row: PriceRow) -> tuple[Any, ...]:
    parts = [row["mode"], row["duration"] and f"{row['duration']} s", row["sound"] and "sound"]
    kind = ", ".join(str(part) for part in (*parts, row["voices"] and "voices") if part)
    unit, usd = ("clip", row["usd_per_clip"]) if row["usd_per_clip"] else ("second", row["usd_per_second"])
    cost = f"{usd} a {unit}" if usd else "unknown"
    return model["id"], gateway["provider"], kind, cost, row["confidence"], row["checked"], row["source"]


GATEWAY_COLUMNS = (
    Column("gateway"),
    Column("status", wraps=True),
    Column("in flight", right=True),
    Column("submits left", importance=2, right=True),
    Column("callbacks", importance=3, right=True),
    Column("balance", right=True),
    Column("lasts", importance=2, right=True),
)


@click.command(short_help="List gateways: pauses, jobs in flight, callbacks.")
@table_options
def gateways() -> None:
    """List the enabled gateways: pauses, jobs in flight, submits left this minute, callbacks received, balances."""
    rows = Client.connect().gateways()
    lines = [line for gateway in rows for line in (_gateway_row(gateway), *_account_rows(gateway))]
    print_table(rows, GATEWAY_COLUMNS, lines)


def _gateway_row(gateway: Gateway) -> tuple[Any, ...]:
    status = _status(gateway["paused_until"], gateway["why"])
    in_flight = f"{gateway['in_flight']} of {gateway['max_in_flight']}"
    callbacks = f"{gateway['callbacks']['heard']} of {gateway['callbacks']['asked']}"
    left = gateway["submits_left_this_minute"]
    return gateway["name"], status, in_flight, left, callbacks, *_balance_cells(gateway["balance"])


def _status(paused_until: str | None, why: str | None) -> str:
    return f"paused for {short_forms.time_left(paused_until)}: {why}" if paused_until else "ready"


def _balance_cells(balance: Balance | None) -> tuple[str | None, str | None]:
    """What is left on the account there, and for how long at this week's rate; None where that is not told."""
    if balance is None:
        return None, None
    if balance["unlimited"]:
        return "unlimited", None
    units = balance.get("units")  # a service before 2026-12 does not say it
    amount = f"{Decimal(str(units)):.0f} units" if units is not None else balance["usd"] and f"{balance['usd']} USD"
    days = balance["days_left"]
    return amount or "not read", None if days is None else duration_text(days)


def _account_rows(gateway: Gateway) -> list[tuple[Any, ...]]:
    """A line for each account, where there is more than the one of a single key."""
    accounts = gateway.get("accounts", [])  # a service of an earlier release tells none
    if [account["name"] for account in accounts] == [DEFAULT]:
        return []
    return [_account_row(gateway["name"], account) for account in accounts]


def _account_row(gateway: str, account: Account) -> tuple[Any, ...]:
    name, jobs = f"{gateway}/{account['name']}", account["jobs"]
    if account["state"] == "missing":
        return name, f"missing in the settings: {jobs} of its jobs wait", account["in_flight"], None, None, None, None
    status = _status(account["paused_until"], account["why"])
    if account["state"] == "drain":
        status = f"takes no new jobs, has {jobs}"
    in_flight = f"{account['in_flight']} of {account['max_in_flight']}"
    left = account["submits_left_this_minute"]
    return name, status, in_flight, left, None, *_balance_cells(account["balance"])


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


USAGE_COLUMNS = (
    Column("day"),
    Column("tenant", importance=2),
    Column("gateway"),
    Column("jobs", right=True),
    Column("completed", importance=3, right=True),
    Column("failed", importance=1, right=True),
    Column("seconds", importance=4, right=True),
    Column("estimated USD", importance=2, right=True),
    Column("cost USD", right=True),
)


@click.command(short_help="Show jobs, seconds and costs by day and gateway.")
@click.option("--from", "first", help="First day in UTC, as YYYY-MM-DD. Default: six days before the last.")
@click.option("--to", "last", help="Last day in UTC. Default: today.")
@table_options
def usage(first: str | None, last: str | None) -> None:
    """Show jobs, seconds and costs by day and gateway."""
    if is_csv():  # with what no table has room for
        click.echo(Client.connect().usage_csv(first, last), nl=False)
        return
    lines = Client.connect().usage(first, last)
    print_table(lines, USAGE_COLUMNS, [_usage_row(line) for line in lines], empty="Nothing was paid for in these days.")


def _usage_row(line: Used) -> tuple[Any, ...]:
    counts = (line["jobs"], line["completed"], line["failed"], line["seconds"])
    sums = (short_forms.usd(line["estimated_cost_usd"]), short_forms.usd(line["cost_usd"]))
    return line["day"], line["tenant"], line["provider"], *counts, *sums


@click.command(short_help="Print the script for completion in bash, zsh or fish.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script for shell completion: eval "$(rushes completion bash)"."""
    completion_class = get_completion_class(shell)
    if completion_class is None:
        raise click.UsageError(f"{shell} is not supported")
    click.echo(completion_class(ctx.find_root().command, {}, "rushes", "_RUSHES_COMPLETE").source())


@click.command("mcp", short_help="Serve an agent over stdio (MCP), up to a cap of money.")
@click.option("--max-usd", default="5", show_default=True, help="The most that this session may spend, in USD.")
def mcp_command(max_usd: str) -> None:
    """Serve an agent over stdio by the Model Context Protocol: models, estimates, submits, jobs.

    RUSHES_URL and RUSHES_API_KEY say where and as whom. A submit that is repeated is paid for once.
    """
    if find_spec("mcp") is None:
        raise click.UsageError("mcp is not installed: pip install 'rushes[mcp]'")
    from rushes.shared.cli import mcp_server

    try:
        cap_usd = Decimal(max_usd)
    except ArithmeticError:
        raise click.BadParameter("it is no amount of dollars", param_hint="--max-usd") from None
    if not cap_usd.is_finite() or cap_usd < 0:
        raise click.BadParameter("it is no amount of dollars", param_hint="--max-usd")
    mcp_server.make_server(Client.connect(), cap_usd).run()


COMMANDS = (mcp_command, models, gateways, pause, resume, usage, completion)
