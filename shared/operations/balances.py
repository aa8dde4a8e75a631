"""Asks the gateways for the balances of our accounts, and says how long each lasts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import structlog

from rushes.shared.domain import balances, counters, money
from rushes.shared.domain.accounts import label
from rushes.shared.domain.balances import Balance
from rushes.shared.domain.events import Reason
from rushes.shared.domain.http_messages import Response
from rushes.shared.gateway_settings import Account, GatewaySettings
from rushes.shared.http import AnswerLost, HttpClient, NotSent
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.providers import PROVIDERS
from rushes.shared.providers.base import Access, Provider
from rushes.shared.providers.error_bodies import effective_status, read_error_body
from rushes.shared.providers.reading import json_object
from rushes.shared.services import Services

log = structlog.get_logger()

DEADLINE_S = 10
PROBLEM_CHARS = 200


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a gateway's balance now: when it was read (ms), and for how many days it lasts."""

    balance: Balance | None
    at: int | None
    days_left: float | None
    problem: str | None


def ask_due(services: Services) -> list[str]:
    """Ask for the balances that are due, each in one process only; the accounts (accounts.label) that were asked.

    A balance that cannot be had or read is logged and kept as a problem, and changes nothing else. Raises
    LedgerUnavailable.
    """
    return [
        label(gateway.name, account.name)
        for gateway in services.settings.gateways.values()
        for account in gateway.accounts
        if _ask_if_due(gateway, account, services)
    ]


def _ask_if_due(gateway: GatewaySettings, account: Account, services: Services) -> bool:
    provider, access, now = PROVIDERS[gateway.name], gateway.access(account), services.now()
    if not provider.balance_requests(access, now):
        return False
    name, balance_store = label(gateway.name, account.name), services.ledger.balances
    reading, health = balance_store.read(name), services.ledger.gateways.health(gateway.name, account.name)
    if not balances.is_due(reading, health, now) or not balance_store.take_lease(name, reading):
        return False
    _keep(gateway.name, account.name, ask(provider, access, services.http_client, now), services)
    return True


def ask(provider: Provider, access: Access, http_client: HttpClient, now: int) -> Balance | str:
    """Ask a gateway for the balance; the problem as text if it cannot be had. The key goes to its own origin only."""
    answer: Balance | str = "it tells none"
    for request in provider.balance_requests(access, now):
        if not access.owns(request.url):
            return f"{request.url} is not at its own address"
        try:
            response = http_client.send(request, deadline_s=DEADLINE_S)
        except (NotSent, AnswerLost) as lost:
            return f"not reached: {lost}"[:PROBLEM_CHARS]
        answer = read(provider, response, access)
        if response.status != 404:
            break
    return answer


def read(provider: Provider, response: Response, access: Access) -> Balance | str:
    """The balance in a response; the problem as text if there is none in it."""
    payload = json_object(response)
    if payload is None:
        return f"HTTP {response.status}, not JSON"
    status = effective_status(response.status, payload)
    if not 200 <= status < 300 or payload.get("success") is False:
        return f"HTTP {status}: {read_error_body(payload).message}"[:PROBLEM_CHARS]
    return provider.read_balance(payload, access) or "the answer names no balance"


def _keep(gateway: str, account: str, answer: Balance | str, services: Services) -> None:
    ledger, now, name = services.ledger, services.now(), label(gateway, account)
    if isinstance(answer, str):
        log.warning("balance not read", gateway=gateway, account=account, problem=answer)
        ledger.balances.keep_problem(name, answer, now)
        return
    ledger.balances.keep(name, answer, now)
    tried = ledger.balances.read(name).tried
    if not balances.is_paused(ledger.gateways.health(gateway, account), now):
        if tried:
            ledger.balances.keep_tried(name, None)
    elif balances.is_enough(answer, tried):
        # Written before the pause ends: were it lost in between, every pause would end at once.
        ledger.balances.keep_tried(name, answer)
        ledger.gateways.end_pause(gateway, Reason.BALANCE, services.settings.gateways, now, account)
        log.info("balance is there again: the pause ends", gateway=gateway, account=account)


def standings(ledger: Ledger, gateways: Mapping[str, GatewaySettings], now: int) -> dict[str, Standing]:
    """Account (accounts.label) → what is known of its balance, where one is told. Raises LedgerUnavailable."""
    spent = _spent_by_account(ledger, now)
    found = {}
    for name in [label(gateway.name, account.name) for gateway in gateways.values() for account in gateway.accounts]:
        reading = ledger.balances.read(name)
        if reading.asked_at:
            left = balances.days_left(reading.balance, money.from_units(spent[name]))
            found[name] = Standing(reading.balance, reading.at, left, reading.problem)
    return found


def first_to_end(standings: Mapping[str, Standing], gateway: GatewaySettings) -> Standing | None:
    """Of the accounts of a gateway the balance that ends first; None where none is told."""
    names = [label(gateway.name, account.name) for account in gateway.accounts]
    return min((standings[name] for name in names if name in standings), key=_rank, default=None)


def _rank(standing: Standing) -> tuple[float, float]:
    usd = standing.balance.usd if standing.balance else None
    far = float("inf")
    return far if standing.days_left is None else standing.days_left, far if usd is None else float(usd)


def spent_in_a_week(ledger: Ledger, now: int, account: str) -> Decimal:
    """What an account (accounts.label) spent in the last seven UTC days, today included, US dollars."""
    return money.from_units(_spent_by_account(ledger, now)[account])


def _spent_by_account(ledger: Ledger, now: int) -> Counter[str]:
    """Account → the same, in counter units."""
    spent: Counter[str] = Counter()
    for days_ago in range(balances.WEEK_DAYS):
        day = counters.day_of(now - days_ago * counters.DAY_MS)
        for (_, gateway), counts in counters.by_gateway(ledger.totals.usage(day), None).items():
            spent.update(counters.spent_by_account(gateway, counts))
    return spent
