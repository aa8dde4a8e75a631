"""What is said of a cause: once that it stands, and once that it is over."""

from __future__ import annotations

from dataclasses import replace

import pytest
from factories import NOW, SECOND

from rushes.shared.domain.alerts import CODES, OVER_AFTER_S, OVER_GIVE_UP_S, Alert, Episode, follow, messages, retry_at

EMPTY = Alert("gateway_paused", "critical", "evolink is paused", "key_rejected", gateway="evolink")
SLOW = Alert("unconfirmed_waiting", "warning", "2 calls wait", "2", after_s=600)
BUDGET = Alert("budget_80", "warning", "acme is at 80 %", "8", "10", tenant="acme", detail="2026-11-30")
OPERATORS = {"": ("ops",)}


def said(
    episodes: list[Episode], now: int, receivers: dict[str, tuple[str, ...]] = OPERATORS
) -> list[tuple[str, bool]]:
    return [(message.receiver, message.is_over) for message in messages(episodes, receivers, now)]


def delivered(episodes: list[Episode], now: int) -> list[Episode]:
    """After everybody has taken what there is to say."""
    by_id = {episode.id: episode for episode in episodes}
    for message in messages(episodes, OPERATORS, now):
        by_id[message.episode.id] = message.delivered(by_id[message.episode.id])
    return list(by_id.values())


def at(seconds: float) -> int:
    return NOW + round(seconds * SECOND)


def test_what_stands_is_said_once() -> None:
    episodes = follow([], [EMPTY], NOW)
    assert said(episodes, NOW) == [("ops", False)]

    episodes = follow(delivered(episodes, NOW), [replace(EMPTY, value="changed")], at(30))
    assert said(episodes, at(30)) == []
    assert (episodes[0].since, episodes[0].alert.value) == (NOW, "changed")


def test_that_it_is_over_is_said_once_and_then_it_is_forgotten() -> None:
    episodes = delivered(follow([], [EMPTY], NOW), NOW)
    early = follow(episodes, [], at(OVER_AFTER_S - 1))
    over = follow(early, [], at(OVER_AFTER_S))

    assert said(early, at(OVER_AFTER_S - 1)) == []
    assert said(over, at(OVER_AFTER_S)) == [("ops", True)]
    assert follow(delivered(over, at(OVER_AFTER_S)), [], at(OVER_AFTER_S + 30)) == []


def test_what_comes_and_goes_is_one_episode() -> None:
    episodes = delivered(follow([], [EMPTY], NOW), NOW)
    for seconds in range(30, 3000, 60):
        episodes = follow(follow(episodes, [], at(seconds)), [EMPTY], at(seconds + 30))
        assert said(episodes, at(seconds + 30)) == []

    assert [episode.since for episode in episodes] == [NOW]


def test_what_comes_back_after_its_end_is_said_again() -> None:
    episodes = follow(delivered(follow([], [EMPTY], NOW), NOW), [], at(OVER_AFTER_S))
    both = follow(episodes, [EMPTY], at(OVER_AFTER_S + 30))  # that the first is over was not taken yet

    assert said(both, at(OVER_AFTER_S + 30)) == [("ops", True), ("ops", False)]


def test_what_passes_soon_is_not_said() -> None:
    episodes = follow([], [SLOW], NOW)
    late = follow(episodes, [SLOW], at(600))

    assert said(follow(episodes, [SLOW], at(599)), at(599)) == []
    assert said(late, at(600)) == [("ops", False)]
    assert follow(follow(episodes, [SLOW], at(599)), [], at(599 + OVER_AFTER_S)) == []


def test_a_budget_of_another_day_is_another_cause() -> None:
    episodes = delivered(follow([], [BUDGET], NOW), NOW)
    assert said(follow(episodes, [replace(BUDGET, detail="2026-12-01")], at(30)), at(30)) == [("ops", False)]


def test_a_tenant_hears_what_is_its_own_and_operators_hear_all() -> None:
    receivers = {"": ("ops",), "acme": ("acme-url", "ops"), "other": ("other-url",)}
    episodes = follow([], [BUDGET, EMPTY], NOW)

    assert said(episodes, NOW, receivers) == [("ops", False), ("acme-url", False), ("ops", False)]


def test_only_who_heard_that_it_stood_hears_that_it_is_over() -> None:
    episodes = delivered(follow([], [EMPTY], NOW), NOW)
    over = follow(episodes, [], at(OVER_AFTER_S))

    assert said(over, at(OVER_AFTER_S), {"": ("ops", "new")}) == [("ops", True)]
    assert follow(follow([], [EMPTY], NOW), [], at(OVER_AFTER_S)) == []


def test_an_address_that_is_gone_does_not_keep_an_episode_for_ever() -> None:
    over = follow(delivered(follow([], [EMPTY], NOW), NOW), [], at(OVER_AFTER_S))
    assert follow(over, [], at(OVER_AFTER_S + OVER_GIVE_UP_S - 1)) == over
    assert follow(over, [], at(OVER_AFTER_S + OVER_GIVE_UP_S)) == []


@pytest.mark.parametrize(("failures", "pause_s"), [(1, 30), (2, 60), (5, 480), (6, 600), (10_000, 600)])
def test_an_address_that_takes_nothing_is_tried_ever_more_seldom(failures: int, pause_s: int) -> None:
    assert retry_at(failures, NOW) == at(pause_s)


def test_the_codes_are_the_contracts() -> None:
    assert {EMPTY.code, SLOW.code, BUDGET.code} < set(CODES)
    assert len(set(CODES)) == 10
