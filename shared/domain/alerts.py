"""Alerts: what stands now against what stood, and what has to be said to whom.

An episode of a cause begins when it is first seen. It is said once that it stands, after `after_s`, and once that it is
over, when it was not seen for OVER_AFTER_S: what comes and goes within that time is one episode. The period of a budget
is its day or month, which is part of its cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from rushes.shared.domain import schedule

# How often it is looked what stands.
EVERY_S = 30
OVER_AFTER_S = 300
# That a thing is over is no news after a day.
OVER_GIVE_UP_S = 86_400
# An address that does not take an alert is tried again after pauses that double.
RETRY_FIRST_S, RETRY_MAX_S = 30, 600
CODES = (
    *("budget_80", "budget_100", "gateway_paused", "account_missing", "balance_low", "cost_drift", "price_unknown"),
    *("unconfirmed_waiting", "links_at_risk", "oldest_overdue"),
)
CRITICAL, WARNING, INFO = "critical", "warning", "info"


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that stands, and what is said of it. `value` and `limit` are in what `text` says."""

    code: str
    severity: str
    text: str
    value: str
    limit: str | None = None
    gateway: str | None = None
    tenant: str | None = None
    detail: str = ""
    """What else tells this cause from others of its code: a day, a kind of work."""
    path: str = "/"
    """The page of the console that shows it."""
    after_s: int = 0
    """It is said only where it stands for so long."""

    @property
    def cause(self) -> str:
        return "|".join((self.code, self.gateway or "", self.tenant or "", self.detail))


@dataclass(frozen=True, slots=True)
class Episode:
    """A cause from when it was first seen (`since`, ms) to its end, and the receivers that have heard of each."""

    alert: Alert
    since: int
    seen: int
    ended: int = 0
    notified: tuple[str, ...] = ()
    notified_of_end: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Unlike that of any other episode; a receiver that gets a message twice knows it by this."""
        return f"{self.alert.cause}|{self.since}"

    def stands(self, now: int) -> bool:
        """Whether it has stood for long enough to be said."""
        return not self.ended and now >= schedule.after(self.since, self.alert.after_s)


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be said of an episode to a receiver: that it stands, or that it is over."""

    episode: Episode
    receiver: str
    is_over: bool

    def delivered(self, episode: Episode) -> Episode:
        """The episode, as it is now, after the receiver has taken this."""
        if self.is_over:
            return replace(episode, notified_of_end=(*episode.notified_of_end, self.receiver))
        return replace(episode, notified=(*episode.notified, self.receiver))


def follow(known: Iterable[Episode], standing: Iterable[Alert], now: int) -> list[Episode]:
    """The episodes after a look at what stands; those of which nothing more is to be said are left out."""
    alerts = {alert.cause: alert for alert in standing}
    episodes = []
    for episode in known:
        alert = None if episode.ended else alerts.pop(episode.alert.cause, None)
        if alert:
            episodes.append(replace(episode, alert=alert, seen=now))
        else:
            episodes.append(_unseen(episode, now))
    begun = [Episode(alert, now, now) for alert in alerts.values()]
    return [episode for episode in (*episodes, *begun) if not _is_done(episode, now)]


def _unseen(episode: Episode, now: int) -> Episode:
    is_over = not episode.ended and now >= schedule.after(episode.seen, OVER_AFTER_S)
    return replace(episode, ended=now) if is_over else episode


def _is_done(episode: Episode, now: int) -> bool:
    if not episode.ended:
        return False
    return set(episode.notified) <= set(episode.notified_of_end) or now >= schedule.after(episode.ended, OVER_GIVE_UP_S)


def messages(episodes: Iterable[Episode], receivers: Mapping[str, Iterable[str]], now: int) -> list[Message]:
    """What is to be said now; `receivers` are those of each tenant, under "" those of every alert.

    That a thing is over hears only who heard that it stood.
    """
    found = []
    for episode in episodes:
        if episode.ended:
            found += [Message(episode, name, True) for name in episode.notified if name not in episode.notified_of_end]
        elif episode.stands(now):
            names = dict.fromkeys((*receivers.get("", ()), *receivers.get(episode.alert.tenant or "", ())))
            found += [Message(episode, name, False) for name in names if name not in episode.notified]
    return found


def retry_at(failures: int, now: int) -> int:
    """When an address that failed so often in a row is tried again."""
    return schedule.after(now, min(RETRY_FIRST_S * 2.0 ** min(failures - 1, 16), RETRY_MAX_S))
