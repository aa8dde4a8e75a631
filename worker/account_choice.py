"""Chooses the account of a gateway that a submit goes through."""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile

from rushes.shared.domain import accounts, events
from rushes.shared.domain.accounts import AccountStanding
from rushes.shared.domain.events import Event
from rushes.shared.domain.job import AttemptStatus, Job
from rushes.shared.gateway_settings import Account, GatewaySettings
from rushes.shared.services import Services


class AccountChoice:
    """The accounts of gateways as they stand at the beginning of one batch, and what this batch takes of them.

    It only ranks: whether an account takes a submit is decided where the submit is written down (ledger/submits.py).
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._standings: dict[str, list[AccountStanding]] = {}

    def candidates(self, job: Job, gateway: GatewaySettings) -> list[Account]:
        """The accounts to try, in this order; raises AccountMissing for a job that is bound to a missing one."""
        if bound := bound_account(job, gateway.name):
            return [gateway.account(bound)]
        if len(gateway.open_accounts) < 2:
            return list(gateway.open_accounts)
        first, *others = self._ranked(gateway)
        self._count(gateway.name, first)
        return [gateway.account(standing.name) for standing in (first, *others)]

    def _ranked(self, gateway: GatewaySettings) -> list[AccountStanding]:
        now = self._services.now()
        if gateway.name not in self._standings:
            health = self._services.ledger.gateways
            self._standings[gateway.name] = health.standings(gateway.name, gateway.open_names, now)
        caps = gateway.max_in_flight, gateway.submits_per_minute
        return accounts.ranked(self._standings[gateway.name], *caps, now)

    def _count(self, gateway: str, taken: AccountStanding) -> None:
        """One more of this batch goes there. An account on trial has its one job with it."""
        more = replace(taken, in_flight=taken.in_flight + 1, submits=taken.submits + 1)
        if taken.strikes:
            more = replace(more, trial_until=self._services.now() + 1)
        self._standings[gateway] = [more if each is taken else each for each in self._standings[gateway]]


def with_other_account(outcome: Event, job: Job, services: Services) -> Event:
    """A refusal with whether an account of the gateway is left that has not refused the job just before."""
    gateway = services.settings.gateways.get(job.current.provider) if isinstance(outcome, events.Refused) else None
    if not isinstance(outcome, events.Refused) or gateway is None:
        return outcome
    refused = takewhile(lambda attempt: attempt.status is AttemptStatus.REJECTED, reversed(job.attempts[:-1]))
    tried = {attempt.account for attempt in refused if attempt.provider == gateway.name} | {job.current.account}
    return replace(outcome, other_account=not tried.issuperset(gateway.open_names))


def bound_account(job: Job, gateway: str) -> str | None:
    """The account that a job must go through at a gateway, None if any will do.

    A submit whose answer is lost may have been paid for: what is decided of it, also that it is sent anew, stays with
    its account. It is bound no longer once the account has surely refused that.
    """
    attempt = job.attempt
    is_in_doubt = attempt is not None and attempt.status is AttemptStatus.UNCONFIRMED
    return attempt.account if attempt and is_in_doubt and attempt.provider == gateway else None
