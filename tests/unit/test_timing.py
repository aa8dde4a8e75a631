from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from factories import NOW, attempt, job, job_in
from hypothesis import given, settings
from hypothesis import strategies as st

from rushes.shared.domain import timing
from rushes.shared.domain.job import Attempt, AttemptStatus, Job, State
from rushes.shared.domain.timing import BUCKETS, GAP_S, SHORTEST_S, Timing, Timings

SHAPES: dict[str, Callable[[random.Random], float]] = {
    "narrow": lambda dice: dice.lognormvariate(4.1, 0.25),
    "wide": lambda dice: dice.lognormvariate(4.1, 0.8),
    "two humps": lambda dice: dice.lognormvariate(dice.choice((3.4, 5.2)), 0.15),
    "heavy tail": lambda dice: 40 * dice.paretovariate(1.8),
    "short": lambda dice: dice.lognormvariate(1.8, 0.4),
}
histograms = st.dictionaries(st.integers(0, BUCKETS), st.integers(1, 300), min_size=1, max_size=8)
ages = st.floats(0, 200_000)


def known(*times_s: float) -> Timing:
    return Timing(Counter(map(timing.bucket, times_s)))


def drawn(shape: str, count: int = 300) -> Timing:
    dice = random.Random(5)
    return known(*(SHAPES[shape](dice) for _ in range(count)))


def questions(subject: Timing) -> list[float]:
    """The ages at which a task that never ends is asked for."""
    asked = [0.0]
    while (then_s := subject.next_s(asked[-1])) is not None:
        asked.append(then_s)
    return asked[1:]


# --- buckets


@given(st.floats(SHORTEST_S, 70_000))
def test_a_time_lies_within_a_twentieth_below_the_edge_of_its_bucket(seconds: float) -> None:
    edge_s = timing.edge_s(timing.bucket(seconds))
    assert seconds * 0.999_999 <= edge_s <= seconds * timing.WIDTH * 1.000_001


@pytest.mark.parametrize("seconds", [-1, 0, 0.01, SHORTEST_S])
def test_what_is_shorter_than_the_shortest_falls_into_the_first_bucket(seconds: float) -> None:
    assert timing.bucket(seconds) == 0


@pytest.mark.parametrize("seconds", [90_000, 10**9, float("1e300")])
def test_what_is_longer_than_the_longest_falls_into_the_last_bucket(seconds: float) -> None:
    assert timing.bucket(seconds) == BUCKETS


# --- quantiles


def test_half_of_the_jobs_are_finished_by_the_median() -> None:
    subject = known(*range(1, 101))
    assert subject.quantile_s(0.5) == pytest.approx(50, rel=0.05)
    assert subject.quantile_s(0.9) == pytest.approx(90, rel=0.05)


@given(histograms, st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_larger_share_is_not_finished_earlier(counts: dict[int, int], one: float, other: float) -> None:
    subject = Timing(counts)
    assert subject.quantile_s(min(one, other)) <= subject.quantile_s(max(one, other))
    done = sum(count for number, count in counts.items() if timing.edge_s(number) <= subject.quantile_s(one))
    assert done >= one * subject.total * 0.999_999


def test_of_nothing_there_is_no_median() -> None:
    assert Timing({}).quantile_s(0.5) == 0


@pytest.mark.parametrize(("age_s", "left_s"), [(0, 50), (50, 25), (90, 5), (99, 1), (120, None)])
def test_what_is_left_is_the_median_of_those_that_took_longer(age_s: float, left_s: float | None) -> None:
    left = known(*map(float, range(1, 101))).left_s(age_s)

    assert left == (None if left_s is None else pytest.approx(left_s, abs=6))
    assert left is None or left > 0


# --- smoothing


@given(histograms)
@settings(max_examples=40, deadline=None)
def test_smoothing_loses_no_job(counts: dict[int, int]) -> None:
    subject = Timing(counts)
    assert sum(subject._spread().values()) == pytest.approx(subject.total)
    edges, masses = subject._masses()
    assert sum(masses) == pytest.approx(1)
    assert len(edges) == len(masses) + 1
    assert all(early < late for early, late in pairwise(edges))


def test_two_humps_are_not_washed_into_one() -> None:
    spread = drawn("two humps")._spread()
    first, between, second = (spread.get(timing.bucket(seconds), 0) for seconds in (30, 74, 181))
    assert between < min(first, second) / 3


def test_a_few_that_took_very_long_do_not_blur_the_rest() -> None:
    spread = known(*(range(55, 65)), *(range(55, 65)), 3000.0)._spread()
    near = sum(spread.get(number, 0) for number in range(timing.bucket(50), timing.bucket(72)))
    assert near > 19.9


# --- when to ask


@given(histograms, ages)
@settings(max_examples=150, deadline=None)
def test_the_next_question_is_past_now_or_there_is_none(counts: dict[int, int], age_s: float) -> None:
    then_s = Timing(counts).next_s(age_s)
    assert then_s is None or then_s >= age_s + GAP_S


@given(histograms)
@settings(max_examples=40, deadline=None)
def test_the_last_question_is_past_all_that_was_seen(counts: dict[int, int]) -> None:
    subject = Timing(counts)
    last_s = questions(subject)[-1]
    assert last_s > timing.edge_s(max(counts))
    assert subject.next_s(last_s) is None


@pytest.mark.parametrize("seconds", [0.01, 0.25, 1, 60, 3600, 86_400])
def test_where_all_took_equally_long_the_first_question_comes_right_after(seconds: float) -> None:
    asked = questions(known(*[seconds] * 200))
    longest_s = min(max(seconds, GAP_S), timing.edge_s(BUCKETS))
    assert longest_s <= asked[0] <= longest_s * 1.5
    assert len(asked) < 15


def test_nobody_is_asked_before_anything_can_be_finished() -> None:
    assert questions(drawn("narrow"))[0] > 30


def test_a_plan_is_made_once() -> None:
    subject = drawn("wide")
    assert subject._plan is subject._plan


# --- the plan costs least


def fixed(pause_s: float, first_s: float = 0) -> Callable[[float], float]:
    return lambda age_s: max(first_s, pause_s) if age_s == 0 else age_s + pause_s


def growing(first_s: float, factor: float) -> Callable[[float], float]:
    return lambda age_s: age_s + first_s + age_s * (factor - 1)


def planned(subject: Timing) -> Callable[[float], float]:
    edges, following = subject._plan
    then = dict(zip(edges, (edges[at] for at in following), strict=False))
    return then.__getitem__


def cost(subject: Timing, policy: Callable[[float], float]) -> float:
    """Lag and questions, in seconds, that this policy is expected to cost on the smoothed histogram.

    A policy may ask between two edges; the jobs of a bucket are taken to end in its middle, as the plan takes them.
    """
    edges, masses = subject._masses()
    price_s, total, asked = timing.PRICE * subject.quantile_s(0.5), 0.0, [0.0]
    while asked[-1] < edges[-1]:
        asked.append(min(policy(asked[-1]), edges[-1]))
    for mass, (low_s, high_s) in zip(masses, pairwise(edges), strict=True):
        for part in range(PARTS):  # a bucket's jobs end evenly within it
            end_s = low_s + (high_s - low_s) * (part + 0.5) / PARTS
            number = next(number for number, at_s in enumerate(asked) if at_s >= end_s)
            total += mass / PARTS * (asked[number] - end_s + price_s * number)
    return total


PARTS = 4
POLICIES = {
    **{f"every {pause} s": fixed(pause) for pause in (1, 2, 4, 8, 15, 30, 60)},
    **{f"every {pause} s after {first} s": fixed(pause, first) for pause in (2, 5, 10, 20, 40) for first in (5, 30)},
    **{f"from {first} s by {by}": growing(first, by) for first in (1, 4, 8, 15) for by in (1.1, 1.25, 1.5, 2)},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_no_simpler_policy_costs_less_than_the_plan(shape: str) -> None:
    subject = drawn(shape)
    ours = cost(subject, planned(subject))
    better = {name: cost(subject, policy) for name, policy in POLICIES.items() if cost(subject, policy) < ours * 0.999}
    assert better == {}


@given(histograms)
@settings(max_examples=25, deadline=None)
def test_no_single_step_of_the_plan_can_be_bettered(counts: dict[int, int]) -> None:
    subject = Timing(counts)
    edges, _ = subject._plan
    ours = cost(subject, planned(subject))
    dice, plan = random.Random(3), planned(subject)
    for _ in range(5):
        where, other = sorted(dice.sample(edges, 2))
        assert cost(subject, lambda age_s, w=where, o=other: o if age_s == w else plan(age_s)) >= ours * 0.999_999  # type: ignore[misc]


# --- what a finished attempt teaches

FINISHED = {"status": AttemptStatus.COMPLETED, "task_id": "task-1", "ended_at": NOW + 60_000}


def finished(heard_by: str = "poll", **changes: Any) -> Attempt:
    return attempt(**{**FINISHED, "heard_by": heard_by, **changes})


def test_a_callback_tells_how_long_it_took() -> None:
    assert timing.finished_s(finished("callback", asked_at=NOW + 20_000)) == 60


def test_between_two_questions_the_middle_is_taken() -> None:
    assert timing.finished_s(finished(asked_at=NOW + 20_000)) == 40


def test_what_the_first_question_finds_finished_ended_some_time_before() -> None:
    seen = [timing.finished_s(finished(task_id=f"task-{number}")) for number in range(200)]
    assert all(took_s is not None and 30 <= took_s <= 60 for took_s in seen)
    assert len({timing.bucket(took_s) for took_s in seen if took_s}) > 8
    assert timing.finished_s(finished()) == timing.finished_s(finished())


@pytest.mark.parametrize(
    ("took_s", "learned_s"),
    [(33.5, 33.5), (60.5, 60), (5, 20)],
    ids=["between", "rounded up to past the end", "it was still running then"],
)
@pytest.mark.parametrize("heard_by", ["poll", "callback"])
def test_the_gateways_own_word_is_taken_where_it_fits(heard_by: str, took_s: float, learned_s: float) -> None:
    assert timing.finished_s(finished(heard_by, asked_at=NOW + 20_000), took_s) == learned_s


@pytest.mark.parametrize("took_s", [-5, 0, 62, 10**12, float("inf"), float("nan")])
def test_a_word_that_cannot_be_true_is_not_taken(took_s: float) -> None:
    assert timing.finished_s(finished(asked_at=NOW + 20_000), took_s) == 40


@pytest.mark.parametrize(
    "changes",
    [{"adopted": True}, {"status": AttemptStatus.FAILED}, {"ended_at": None}],
    ids=["adopted", "failed", "not ended"],
)
def test_what_was_not_made_for_this_submit_teaches_nothing(changes: dict[str, Any]) -> None:
    assert timing.finished_s(finished(**{"heard_by": "callback", **changes}), 30) is None


def test_a_clock_that_was_put_back_gives_no_negative_time() -> None:
    assert timing.finished_s(finished("callback", ended_at=NOW - 5_000)) == 0
    assert timing.finished_s(finished(ended_at=NOW - 5_000, asked_at=NOW + 10_000)) == 0


def descent(true_s: float) -> list[float]:
    """When the first question was put, round after round of twenty jobs, where nothing but questions teaches."""
    history: Counter[int] = Counter()
    firsts = [15.0]
    for number in range(10):
        for one in range(20):
            asked_s = [0.0, firsts[-1]]
            while asked_s[-1] < true_s:
                asked_s.append(Timing(history).next_s(asked_s[-1]) or asked_s[-1] * 1.25)
            moments: dict[str, Any] = {
                "asked_at": NOW + round(asked_s[-2] * 1000),
                "ended_at": NOW + round(asked_s[-1] * 1000),
            }
            took_s = timing.finished_s(finished(task_id=f"{number}/{one}", **moments))
            history[timing.bucket(took_s or 0)] += 1
        firsts.append(Timing(history).next_s(0) or 15)
    return firsts


@pytest.mark.parametrize("true_s", [1.0, 6.0])
def test_where_all_are_finished_at_the_first_question_it_soon_comes_earlier(true_s: float) -> None:
    firsts = descent(true_s)
    assert firsts[2] < 12
    assert true_s * 0.5 < firsts[-1] < true_s * 1.5 + 2


@pytest.mark.parametrize(
    ("longest_s", "age_s", "stuck"),
    [(60, 590, False), (60, 610, True), (300, 850, False), (300, 960, True)],
)
def test_what_is_far_older_than_the_longest_seen_is_stuck(longest_s: float, age_s: int, stuck: bool) -> None:
    known_now = known(*[30.0] * 100, longest_s)
    subject, now = job_in(State.RUNNING), NOW + age_s * 1000
    assert Timings(of=lambda kind: known_now).is_stuck(subject, now) is stuck
    assert not Timings(of=lambda kind: known(30.0)).is_stuck(subject, now)


# --- kinds, and what is known of them


def test_what_takes_equally_long_is_of_one_kind() -> None:
    assert timing.kind(job_in(State.RUNNING)) == "apimart|kling-v3|std|5"


def test_the_length_of_a_motion_is_its_references_in_whole_seconds() -> None:
    subject = job_in(State.RUNNING, inputs={"video_url": {"duration_s": "8.2"}})
    assert timing.kind(subject) == "apimart|kling-v3|std|9"


def test_too_few_jobs_teach_nothing() -> None:
    def for_job(count: int) -> Timing | None:
        return Timings(of=lambda kind: Timing({40: count})).for_job(job_in(State.RUNNING))

    assert for_job(timing.FEWEST - 1) is None
    assert for_job(timing.FEWEST) is not None


def test_a_job_without_a_kind_of_its_own_knows_nothing() -> None:
    subject: Job = job()
    assert Timings().for_job(subject) is None


@pytest.mark.parametrize(("ends", "silent"), [(0, False), (timing.SILENT - 1, False), (timing.SILENT, True)])
def test_a_gateway_is_silent_after_three_ends_without_a_callback(ends: int, silent: bool) -> None:
    timings = Timings(silent=lambda gateway: ends)
    assert timings.is_silent("evolink") is silent
    assert not timings.is_silent(None)
