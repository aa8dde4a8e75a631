"""The doctor's checks of the gateways: their pauses, and the balances of our accounts there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from rushes.shared.domain import gateway_pauses
from rushes.shared.domain.accounts import label
from rushes.shared.domain.balances import LOW_DAYS, Balance, days_left, duration_text
from rushes.shared.domain.events import Reason
from rushes.shared.domain.http_messages import Request
from rushes.shared.domain.money import text
from rushes.shared.gateway_settings import Account, GatewaySettings
from rushes.shared.http import AnswerLost, Forbidden, HttpClient, NotSent
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.operations import balances
from rushes.shared.operations.accounts import MissingAccount, missing_accounts
from rushes.shared.operations.connection_diagnosis import Cause, Diagnosis, diagnose, endpoints
from rushes.shared.operations.finding import BAD, OK, WARN, Finding
from rushes.shared.providers import PROVIDERS
from rushes.shared.settings import Settings

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
    """Report the accounts that are paused, why, and what to do."""
    for gateway, account in _accounts(settings):
        health: Mapping[str, str] = {}
        with suppress(LedgerUnavailable):
            health = ledger.gateways.health(gateway.name, account.name)
        if int(health.get("paused_until", 0)) > now:
            why = health.get("why", "")
            verdict = BAD if why in NEEDS_OPERATOR else WARN
            advice = gateway_pauses.advice(gateway.name, why, gateway.key_name)
            yield Finding(f"{finding_name(gateway.name, account.name)}.pause", verdict, f"paused: {why}", advice)


def check_accounts(settings: Settings, ledger: Ledger) -> Iterator[Finding]:
    """Report the accounts that have jobs and are in no setting."""
    missing: list[MissingAccount] = []
    with suppress(LedgerUnavailable):
        missing = missing_accounts(ledger, settings.gateways)
    for each in missing:
        jobs = "1 job of it waits" if each.jobs == 1 else f"{each.jobs} jobs of it wait"
        name, what = f"gateway.{each.gateway}.accounts", f"account {each.account} is in no setting: {jobs}"
        yield Finding(name, BAD, what, each.advice)


def _accounts(settings: Settings) -> Iterator[tuple[GatewaySettings, Account]]:
    return ((gateway, account) for gateway in settings.gateways.values() for account in gateway.accounts)


def finding_name(gateway: str, account: str) -> str:
    """What the findings of an account begin with."""
    return f"gateway.{label(gateway, account)}"


def check_balances(settings: Settings, http_client: HttpClient, ledger: Ledger | None, now: int) -> Iterator[Finding]:
    """Ask each gateway that tells it for the balance; without a ledger nothing is known of how long it lasts."""
    for gateway, account in _accounts(settings):
        provider, access = PROVIDERS[gateway.name], gateway.access(account)
        if provider.balance_requests(access, now):
            answer = balances.ask(provider, access, http_client, now)
            yield _balance(label(gateway.name, account.name), answer, ledger, now)


def _balance(account: str, answer: Balance | str, ledger: Ledger | None, now: int) -> Finding:
    name = f"gateway.{account}.balance"
    if isinstance(answer, str):
        return Finding(name, WARN, f"could not be read: {answer}", "check its key and address; jobs are not affected")
    if answer.is_unlimited:
        return Finding(name, OK, "unlimited")
    if answer.units == 0:
        return Finding(name, WARN, "no package with units left", "buy one, unless the account pays in cash")
    amount = f"{text(answer.units)} units" if answer.units else f"{text(answer.usd)} USD"
    advice = f"top it up: submits to {account} fail without money"
    if answer.usd is not None and answer.usd <= 0:
        return Finding(name, BAD, amount, advice)
    left = None
    with suppress(LedgerUnavailable):
        left = days_left(answer, balances.spent_in_a_week(ledger, now, account)) if ledger else None
    if left is None:
        return Finding(name, OK, amount)
    what = f"{amount}, for {duration_text(left)} at this week's rate"
    return Finding(name, WARN, what, advice) if left < LOW_DAYS else Finding(name, OK, what)
