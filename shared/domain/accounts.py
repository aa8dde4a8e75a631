"""The accounts of a gateway: what names each in the ledger, how each stands, and which takes the next submit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# The account of a gateway's single key. It keeps the names that the ledger had before there were accounts.
DEFAULT = "default"


def label(gateway: str, account: str) -> str:
    """What an account is called in the ledger and for people: `apimart`, or `apimart/b` for another than the default.

    A `/` is in no name of a gateway or an account, and in no other key of the ledger.
    """
    return gateway if account == DEFAULT else f"{gateway}/{account}"


def of_label(text: str) -> tuple[str, str]:
    """Gateway and account of a label."""
    gateway, _, account = text.partition("/")
    return gateway, account or DEFAULT


@dataclass(frozen=True, slots=True)
class AccountStanding:
    """What the ledger knows of an account now; moments in ms. Pauses by an operator are of the whole gateway."""

    name: str
    paused_until: int = 0
    why: str = ""
    strikes: int = 0
    trial_until: int = 0
    """Until when one call is out that shows whether an account that refused of late is well again."""
    in_flight: int = 0
    submits: int = 0
    """In the last minute."""

    def has_room(self, max_in_flight: int, submits_per_minute: int, now: int) -> bool:
        """Whether it may be given one more job."""
        is_open = self.paused_until <= now and not (self.strikes and self.trial_until > now)
        return is_open and self.in_flight < max_in_flight and self.submits < submits_per_minute


@dataclass(frozen=True, slots=True)
class GatewayPause:
    """Until when (ms) a gateway gets no new job, and why; 0 where it does."""

    until: int = 0
    why: str | None = None


def gateway_pause(standings: Iterable[AccountStanding], stopped_until: int, stopped_why: str | None) -> GatewayPause:
    """A gateway is paused by an operator, or while all its accounts are: until the first of them is not."""
    first = min(standings, key=lambda standing: standing.paused_until, default=None)
    if first is None or stopped_until > first.paused_until:
        return GatewayPause(stopped_until, stopped_why)
    return GatewayPause(first.paused_until, first.why or None)


def ranked(
    standings: Sequence[AccountStanding], max_in_flight: int, submits_per_minute: int, now: int
) -> list[AccountStanding]:
    """The accounts in the order in which a submit tries them: with room first, then by the share of the caps in use.

    Where they are alike, the order of the settings decides.
    """

    def rank(standing: AccountStanding) -> tuple[bool, float, float]:
        shares = standing.in_flight / max_in_flight, standing.submits / submits_per_minute
        return not standing.has_room(max_in_flight, submits_per_minute, now), max(shares), sum(shares)

    return sorted(standings, key=rank)
