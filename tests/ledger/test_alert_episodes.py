"""The episodes of alerts as the ledger keeps them, and the lease of who looks."""

from __future__ import annotations

from dataclasses import replace

from factories import MINUTE, NOW

from rushes.shared.domain.alerts import Alert, Episode
from rushes.shared.ledger.ledger import Ledger

ALERT = Alert("budget_80", "warning", "ä <b>", "8", "10", None, "acme", "2026-11-30", "/spend", 60)
EPISODE = Episode(ALERT, NOW, NOW + 1, notified=("ops",))


def test_an_episode_is_read_as_it_was_written(ledger: Ledger) -> None:
    second = replace(EPISODE, since=NOW - 1, ended=NOW, notified_of_end=("ops",))
    ledger.alert_episodes.replace([], [EPISODE, second])

    assert ledger.alert_episodes.all() == [second, EPISODE]


def test_what_is_left_out_is_forgotten_and_the_rest_is_written_over(ledger: Ledger) -> None:
    other = replace(EPISODE, alert=replace(ALERT, tenant="other"))
    ledger.alert_episodes.replace([], [EPISODE, other])
    seen = replace(EPISODE, seen=NOW + MINUTE)
    ledger.alert_episodes.replace([EPISODE, other], [seen])

    assert ledger.alert_episodes.all() == [seen]


def test_one_looks_on_from_each_look(ledger: Ledger) -> None:
    episodes = ledger.alert_episodes
    first = [episodes.take_lease(episodes.looked_at()) for _ in range(3)]
    episodes.finish(NOW)
    second = [episodes.take_lease(episodes.looked_at()) for _ in range(2)]

    assert (first, second, episodes.looked_at()) == ([True, False, False], [True, False], NOW)


def test_who_takes_nothing_is_remembered_until_it_does(ledger: Ledger) -> None:
    ledger.alert_episodes.keep_failure("ops", 3, NOW)
    failures = ledger.alert_episodes.failures()
    ledger.alert_episodes.keep_failure("ops", 0, 0)

    assert (failures, ledger.alert_episodes.failures()) == ({"ops": (3, NOW)}, {})
    assert ledger.alert_episodes.all() == []
