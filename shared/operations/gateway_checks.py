"""The doctor's checks of the gateways: their pauses, and the balances of our accounts there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from rushes.shared.domain import gateway_pauses
from rushes.shared.domain.balances import LOW_DAYS, Balance, days_left, duration_text
from rushes.shared.domain.events import Reason
from rushes.shared.domain.http_messages import Request
from rushes.shared.domain.money import text
from rushes.shared.http import AnswerLost, Forbidden, HttpClient, NotSent
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.operations import balances
from rushes.shared.operations.connection_diagnosis import Cause, Diagnosis, diagnose, endpoints
from rushes.shared.operations.finding import BAD, OK, WARN, Finding
from rushes.shared.providers import PROVIDERS
from rushes.shared.providers.base import Access
from rushes.shared.settings import GatewaySettings, Settings

REACH_S = 5
# What a server answers to plain HTTP on its port for TLS.
PLAIN_ON_TLS = 400
NEEDS_OPERATOR = frozenset({Reason.KEY.value, Reason.BALANCE.value, Reason.MOVED.value})


TLS_ADVICE: Mapping[Cause, str] = {
    Cause.AUTHORITY: "trust its authority: RUSHES_CA_FILE",
    Cause.NO_TLS: "correct the scheme or the port in {name}_BASE_URL",
    Cause.NEEDS_TLS: "write https:// in {name}_BASE_URL",
    **dict.fromkeys((Cause.NAME, Cause.REFUSED, Cause.SILENT), "check {name}_BASE_URL and the network"),
}


def check_reach(settings: Settings, http_client: HttpClient, authorities: str) -> Iterator[Finding]:
    """Call each gateway once without a key, which costs nothing; any answer will do."""
    with ThreadPoolExecutor(len(settings.gateways) or 1) as pool:
        yield from pool.map(
            lambda gateway: _reach(gateway, settings, http_client, authorities), settings.gateways.values()
        )


def _reach(gateway: GatewaySettings, settings: Settings, http_client: HttpClient, authorities: str) -> Finding:
    name = f"gateway.{gateway.name}.reached"
    problem = None
    try:
        status = http_client.send(Request("GET", gateway.base_url), deadline_s=REACH_S).status
    except Forbidden as refused:
        return Finding(
            name, BAD, f"not reached: {refused}", "add its network to RUSHES_EGRESS_ALLOW, or correct its URL"
        )
    except (NotSent, AnswerLost) as failure:
        problem = str(failure)
    else:
        if status != PLAIN_ON_TLS:
            return Finding(name, OK, "it answers")
    if settings.egress_proxy is None and (diagnosis := _diagnose(gateway, authorities)):
        return Finding(name, BAD, f"not reached: {diagnosis.text}", diagnosis.advice)
    if problem is None:
        return Finding(name, OK, "it answers")
    return Finding(name, BAD, f"not reached: {problem}", f"check {gateway.name.upper()}_BASE_URL and the network")


def _diagnose(gateway: GatewaySettings, authorities: str) -> Diagnosis | None:
    advice = {cause: text.format(name=gateway.name.upper()) for cause, text in TLS_ADVICE.items()}
    found = (diagnose(endpoint, advice) for endpoint in endpoints(gateway.base_url, authorities))
    return next(filter(None, found), None)


def check_pauses(settings: Settings, ledger: Ledger, now: int) -> Iterator[Finding]:
    """Report the gateways that are paused, why, and what to do."""
    for name in settings.gateways:
        health: Mapping[str, str] = {}
        with suppress(LedgerUnavailable):
            health = ledger.gateways.health(name)
        if int(health.get("paused_until", 0)) > now:
            why = health.get("why", "")
            verdict = BAD if why in NEEDS_OPERATOR else WARN
            yield Finding(f"gateway.{name}.pause", verdict, f"paused: {why}", gateway_pauses.advice(name, why))


def check_balances(settings: Settings, http_client: HttpClient, ledger: Ledger | None, now: int) -> Iterator[Finding]:
    """Ask each gateway that tells it for the balance; without a ledger nothing is known of how long it lasts."""
    for name, gateway in settings.gateways.items():
        access = Access(gateway.base_url, gateway.key, gateway.quota_per_usd)
        if PROVIDERS[name].balance_requests(access, now):
            answer = balances.ask(PROVIDERS[name], access, http_client, now)
            yield _balance(gateway, answer, ledger, now)


def _balance(gateway: GatewaySettings, answer: Balance | str, ledger: Ledger | None, now: int) -> Finding:
    name = f"gateway.{gateway.name}.balance"
    if isinstance(answer, str):
        return Finding(name, WARN, f"could not be read: {answer}", "check its key and address; jobs are not affected")
    if answer.is_unlimited:
        return Finding(name, OK, "unlimited")
    if answer.units == 0:
        return Finding(name, WARN, "no package with units left", "buy one, unless the account pays in cash")
    amount = f"{text(answer.units)} units" if answer.units else f"{text(answer.usd)} USD"
    advice = f"top it up: submits to {gateway.name} fail without money"
    if answer.usd is not None and answer.usd <= 0:
        return Finding(name, BAD, amount, advice)
    left = None
    with suppress(LedgerUnavailable):
        left = days_left(answer, balances.spent_in_a_week(ledger, now, gateway.name)) if ledger else None
    if left is None:
        return Finding(name, OK, amount)
    what = f"{amount}, for {duration_text(left)} at this week's rate"
    return Finding(name, WARN, what, advice) if left < LOW_DAYS else Finding(name, OK, what)
