"""The metrics of each account at a gateway. An account is told by its name, never by its key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import Metric

from rushes.shared.domain import schedule
from rushes.shared.domain.accounts import AccountStanding, of_label
from rushes.shared.gateway_settings import GatewaySettings
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.operations.accounts import missing_accounts
from rushes.shared.operations.balances import Standing
from rushes.webhook_receiver.gauges import gauge

LABELS = ("gateway", "account")
Standings = Mapping[str, Sequence[AccountStanding]]


def account_standings(gateway: GatewaySettings, ledger: Ledger, now: int) -> list[AccountStanding]:
    """How each account of a gateway stands now, those that are to go included."""
    return ledger.gateways.standings(gateway.name, [account.name for account in gateway.accounts], now)


def open_ones(gateway: GatewaySettings, standings: Sequence[AccountStanding]) -> list[AccountStanding]:
    """Of these the ones that take submits."""
    return [standing for standing in standings if standing.name in gateway.open_names]


def account_metrics(
    gateways: Mapping[str, GatewaySettings], standings: Standings, ledger: Ledger, now: int
) -> Iterator[Metric]:
    """Load and health of each account, and the accounts that are missing."""
    found = {(name, each.name): each for name, accounts in standings.items() for each in accounts}
    in_flight = {names: each.in_flight for names, each in found.items()}
    yield gauge("account_in_flight", "Jobs that an account has.", in_flight.items(), *LABELS)
    submits = {names: each.submits for names, each in found.items()}
    yield gauge("account_submits_last_minute", "Submits of the last minute.", submits.items(), *LABELS)
    left = {names: max(each.paused_until - now, 0) / schedule.SECOND for names, each in found.items()}
    help_text = "Until its pause ends by itself; 0 where it is not paused. An operator pauses whole gateways."
    yield gauge("account_pause_left_seconds", help_text, left.items(), *LABELS)
    paused = {(*names, each.why if left[names] else ""): float(left[names] > 0) for names, each in found.items()}
    yield gauge("account_paused", "1 while it gets no new jobs, and why.", paused.items(), *LABELS, "why")
    drained = {(name, each.name): float(each.drain) for name, gateway in gateways.items() for each in gateway.accounts}
    yield gauge("account_drained", "1 where it takes no new jobs because it is to go.", drained.items(), *LABELS)
    missing = {(each.gateway, each.account): each.jobs for each in missing_accounts(ledger, gateways)}
    help_text = "Jobs that wait for an account that is in no setting."
    yield gauge("account_missing_jobs", help_text, missing.items(), *LABELS)


def account_balance_metrics(standings: Mapping[str, Standing]) -> Iterator[Metric]:
    """The balance of each account; `standings` by accounts.label."""
    found = {of_label(name): standing for name, standing in standings.items()}
    read = {names: each.balance.usd for names, each in found.items() if each.balance}
    usd_left = {names: float(usd) for names, usd in read.items() if usd is not None}
    yield gauge("account_balance_usd", "What is left of it, as it was read last.", usd_left.items(), *LABELS)
    days = {names: each.days_left for names, each in found.items() if each.days_left is not None}
    yield gauge("account_balance_days_left", "How long it lasts at this week's rate.", days.items(), *LABELS)
