from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest
from factories import DAY, HOUR, NOW, POLICY, attempt, failed, job, job_in, link, rejected, result
from hypothesis import given, settings
from hypothesis import strategies as st

from rushes.shared.domain import counters, events, money, schedule
from rushes.shared.domain.events import Event, Reason
from rushes.shared.domain.job import AttemptStatus, Error, Job, Nudge, State
from rushes.shared.domain.transitions import transition
from rushes.shared.ledger import record

# --- money


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (None, None),
        ("0", "0"),
        ("0.00", "0"),
        ("1E+2", "100"),
        ("0.82304", "0.82304"),
        ("1E-7", "0.0000001"),
        ("10", "10"),
    ],
)
def test_money_is_written_as_a_plain_decimal_string(usd: str | None, text: str | None) -> None:
    assert money.text(None if usd is None else Decimal(usd)) == text


def test_a_price_a_second_times_milliseconds_is_exact_in_counters() -> None:
    cost = Decimal("0.08231") * Decimal("5.041")
    assert money.from_units(money.units(cost)) == cost
    assert (money.units(None), money.units(Decimal("0.000000005"))) == (0, 1)


def test_seconds_are_billed_rounded_up() -> None:
    assert money.whole_seconds_up(Decimal("5.001")) == 6
    assert money.whole_seconds_up(Decimal("5.000")) == 5


HELD = [
    (attempt(), "0.42"),
    (attempt(status=AttemptStatus.UNCONFIRMED), "0.42"),
    (attempt(status=AttemptStatus.RUNNING, estimated_usd=None), None),
    (attempt(status=AttemptStatus.COMPLETED), "0.42"),
    (attempt(status=AttemptStatus.COMPLETED, cost_usd=Decimal("0.39")), "0.39"),
    (failed(), "0"),
    (failed(cost_usd=Decimal("0.1")), "0.1"),
    (rejected(), "0"),
    (attempt(adopted=True), "0"),
]


@pytest.mark.parametrize(("subject", "usd"), HELD)
def test_an_attempt_holds_its_estimate_until_it_is_settled(subject: object, usd: str | None) -> None:
    assert money.held(subject) == (None if usd is None else Decimal(usd))  # type: ignore[arg-type]


def test_what_is_not_known_is_not_zero() -> None:
    assert money.spent([attempt(), attempt(2)]) is None
    assert money.spent([attempt(), failed(2, cost_usd=Decimal(0))]) == 0
    assert money.committed([attempt(), attempt(2, estimated_usd=None), rejected(3)]) == Decimal("0.42")


# --- books


@pytest.mark.parametrize("state", State)
def test_a_job_has_a_place_at_its_gateway_only_while_it_is_there(state: State) -> None:
    places = counters.entries(job_in(state))["inflight", "apimart"]
    assert places == int(state in (State.SUBMITTING, State.UNCONFIRMED, State.RUNNING))


def test_a_submit_that_was_in_doubt_for_long_holds_no_place() -> None:
    assert counters.entries(job_in(State.UNCONFIRMED, {"let_go": True}))["inflight", "apimart"] == 0


def test_a_day_begins_at_midnight_utc() -> None:
    midnight = NOW - NOW % DAY
    assert [counters.day_of(at) for at in (midnight - 1, midnight)] == ["2026-09-20", "2026-09-21"]


def test_a_finished_clip_is_in_the_usage_of_the_day_of_its_submit() -> None:
    plan = {"cost_usd": Decimal("0.39"), "made_s": Decimal("5.041"), "submitted_at": NOW - DAY}
    lines = counters.entries(job_in(State.COMPLETED, plan))
    day = ("usage", "2026-09-20", "acme", "apimart")
    assert {line[-1]: lines[line] for line in lines if line[:4] == day and lines[line]} == {
        "jobs": 1,
        "completed": 1,
        "made_ms": 5041,
        "estimated": 42_000_000,
        "actual": 39_000_000,
    }
    assert lines["held", "2026-09-20", "acme"] == 39_000_000


def test_a_refusal_is_in_nobodys_usage() -> None:
    lines = counters.entries(job(attempts=(rejected(),)))
    assert not any(lines.values())


def test_an_attempt_without_a_price_is_counted_as_such() -> None:
    lines = counters.entries(job_in(State.RUNNING, {"estimated_usd": None}))
    assert lines["usage", "2026-09-21", "acme", "apimart", "unpriced"] == 1


def wasted_of(subject: Job) -> int:
    return sum(count for line, count in counters.entries(subject).items() if line[-1] == "wasted")


def test_what_a_failed_attempt_cost_is_wasted_although_another_made_the_clip() -> None:
    plans = (failed(1, cost_usd=Decimal("0.10")), attempt(2, status=AttemptStatus.COMPLETED, cost_usd=Decimal("0.39")))
    assert wasted_of(job(state=State.COMPLETED, attempts=plans)) == 10_000_000


def test_a_clip_that_was_made_and_never_archived_is_wasted() -> None:
    made = {"status": AttemptStatus.COMPLETED, "cost_usd": Decimal("0.39")}
    assert wasted_of(job_in(State.FAILED, made)) == 39_000_000
    assert wasted_of(job_in(State.ARCHIVING, made)) == wasted_of(job_in(State.COMPLETED, made)) == 0


def test_a_failure_that_cost_nothing_wastes_nothing() -> None:
    assert [wasted_of(job_in(State.FAILED, {"cost_usd": cost})) for cost in (None, Decimal(0))] == [0, 0]


# --- whatever happens, the books stay right

usd = st.none() | st.decimals(0, 5, allow_nan=False, places=5)
reasons = st.sampled_from(Reason)
numbers = st.integers(0, 3)
links = st.just(link()) | st.builds(link, expires_at=st.none() | st.just(NOW + HOUR))
tasks = st.none() | st.just("task-1")
EVENTS = st.one_of(
    st.builds(events.Measured, st.just({}), st.permutations(["a", "b", "c"]).map(tuple), usd),
    st.builds(events.Deferred, st.integers(NOW, NOW + DAY), st.just("window")),
    st.builds(events.Rerouted, st.just(("b", "a")), st.just("paused")),
    st.builds(events.Barred, st.just(Error("no_provider", "none"))),
    st.builds(events.Accepted, st.just("task-1"), attempt=numbers),
    st.builds(events.Refused, reasons, st.just("no"), st.none() | st.floats(0, 10**9)),
    st.builds(events.Lost, st.just("reset"), asked_at=st.just(NOW)),
    st.builds(events.Unclear, st.just("?"), missing=st.booleans(), attempt=numbers),
    st.builds(events.Progressed, st.none() | st.integers(-1, 200)),
    st.builds(events.Succeeded, links, usd, usd, tasks),
    st.builds(events.Failed, reasons, st.just("no"), usd, tasks),
    st.just(events.Canceled()),
    st.builds(events.Resolved, st.sampled_from(["resubmit", "fail", "adopt"]), tasks),
    st.builds(events.Archived, st.just(result()), usd),
    st.builds(events.ArchiveFailed, st.just("archive_failed"), st.just("S3"), final=st.booleans()),
    st.just(events.Manifested()),
    st.just(events.Notified()),
    st.builds(events.NoticeFailed, st.just("500"), final=st.booleans()),
)
# Canceled and Barred end most walks at once; a paid call in between lets them live.
STEPS = st.lists(st.tuples(EVENTS | st.just("begin"), st.integers(0, 3 * HOUR), st.booleans()), max_size=40)


def begun(subject: Job, now: int) -> Event:
    number = subject.current.number + 1 if subject.attempts else 1
    return events.Begun(attempt(number, provider=subject.route[0], submitted_at=now))


def walk(steps: list[tuple[Event | str, int, bool]]) -> Iterator[tuple[Job, Job]]:
    """Each state of a job to which all this happens, with the one before."""
    old, now = job(route=("a", "b", "c")), NOW
    for fact, wait, called in [("begin", 0, False), *steps]:
        now += wait
        event = begun(old, now) if isinstance(fact, str) else fact
        hinted = replace(old, nudge=Nudge(now, 1, "task-1")) if called and not old.ended else old
        new = transition(hinted, event, now, POLICY)
        yield old, new
        old = new


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_the_differences_of_a_life_add_up_to_what_it_comes_to(steps: list[tuple[Event | str, int, bool]]) -> None:
    counted, last = Counter[counters.Line](), job()
    for old, new in walk(steps):
        counted.update(counters.difference(old, new))
        last = new
    assert {line: count for line, count in counted.items() if count} == counters.difference(None, last)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_whatever_happens_no_counter_goes_astray(steps: list[tuple[Event | str, int, bool]]) -> None:
    for old, new in walk(steps):
        lines = counters.entries(new)
        places = [count for line, count in lines.items() if line[0] == "inflight"]
        assert sum(places) in (0, 1)
        assert not (new.ended and any(places))
        assert all(count >= 0 for count in lines.values())
        usage = {what: sum(n for line, n in lines.items() if line[-1] == what) for what in ("wasted", "actual")}
        assert usage["wasted"] <= usage["actual"]
        assert len([each for each in new.attempts if each.paid]) <= 3
        assert not old.ended or new.state is old.state


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_whatever_happens_an_unfinished_job_is_due_in_a_lane(steps: list[tuple[Event | str, int, bool]]) -> None:
    for _, new in walk(steps):
        assert new.due_at is not None
        assert schedule.lane(new) is not None
        assert record.decode(record.encode(new, "0a")) == new
        assert len(new.attempts) <= 36
