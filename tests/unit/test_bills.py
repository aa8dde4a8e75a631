"""Bills against estimates: what counts as a bill, and what differs."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from factories import NOW, POLICY, attempt, job, job_in, link, result

from rushes.shared.domain import bills, changes, counters, events
from rushes.shared.domain.bills import Bill
from rushes.shared.domain.events import Event, Reason
from rushes.shared.domain.job import AttemptStatus, CostSource, Job, State
from rushes.shared.domain.transitions import transition

SAID = {"cost_source": CostSource.REPORTED, "status": AttemptStatus.COMPLETED}
BILLS = [
    ({**SAID, "cost_usd": Decimal("0.5")}, Bill(Decimal("0.5"), Decimal("0.42"))),
    ({**SAID, "cost_usd": Decimal("0.5"), "cost_source": CostSource.SETTLED}, None),
    ({**SAID, "cost_usd": Decimal("0.5"), "cost_source": None}, None),
    ({**SAID, "cost_usd": Decimal("0.5"), "estimated_usd": None}, None),
    ({**SAID, "cost_usd": Decimal("0.5"), "estimated_usd": Decimal(0)}, None),
    ({**SAID, "cost_usd": Decimal("0.5"), "adopted": True}, None),
    ({**SAID, "cost_usd": Decimal(0), "status": AttemptStatus.FAILED}, None),
    ({"reserved_usd": Decimal("0.5")}, Bill(Decimal("0.5"), Decimal("0.42"))),
    ({}, None),
]


@pytest.mark.parametrize(("plan", "expected"), BILLS)
def test_a_bill_is_the_gateways_own_word_where_there_is_an_estimate(
    plan: dict[str, Any], expected: Bill | None
) -> None:
    assert bills.bill(attempt(**plan)) == expected


@pytest.mark.parametrize(
    ("usd", "differs", "ratio"),
    [("1", False, 10**6), ("1.05", False, 1_050_000), ("1.0501", True, 1_050_100), ("0.9499", True, 949_900),
     ("0.95", False, 950_000), ("99999", True, 1000 * 10**6)],
)  # fmt: skip
def test_more_than_five_per_cent_is_a_difference(usd: str, differs: bool, ratio: int) -> None:
    found = Bill(Decimal(usd), Decimal(1))
    assert (found.differs, found.ratio) == (differs, ratio)


def moved(before: Job, event: Event) -> tuple[Job, dict[counters.Line, int]]:
    after = transition(before, event, NOW + 1000, POLICY)
    return after, dict(changes.moved(before, after, event, NOW + 1000, POLICY).counts)


def told(counts: dict[counters.Line, int], *beginning: str) -> dict[counters.Line, int]:
    size = len(beginning)
    return {line[size:]: count for line, count in counts.items() if line[:size] == beginning}


SUCCEEDED = events.Succeeded(link(), Decimal("0.63"))


def test_a_bill_is_counted_in_the_move_that_brings_it_and_once() -> None:
    running = job_in(State.RUNNING)
    archiving, counts = moved(running, SUCCEEDED)
    _, later = moved(archiving, events.Archived(result(), Decimal(9)))

    assert archiving.current.cost_source is CostSource.REPORTED
    assert told(counts, "tally", "bills") == {("apimart", "kling-v3", "std", "silent", "differs"): 1}
    assert told(counts, "bills", "apimart") == {
        ("kling-v3|std|silent|weight",): 10**6,
        ("kling-v3|std|silent|ratio",): 1_500_000,
    }
    kind = "kling-v3/std/silent"
    assert told(counts, "usage", "2026-09-21", "acme", "apimart") == {
        ("completed",): 1,
        ("actual",): 63_000_000,
        ("reported",): 63_000_000,
        (f"differs.jobs:{kind}",): 1,
        (f"differs.estimated:{kind}",): 42_000_000,
        (f"differs.billed:{kind}",): 63_000_000,
    }
    assert not told(later, "tally", "bills")
    assert not told(later, "bills")
    assert not told(later, "usage")


def test_a_bill_that_agrees_is_counted_as_that() -> None:
    _, counts = moved(job_in(State.RUNNING), events.Succeeded(link(), Decimal("0.43")))
    assert told(counts, "tally", "bills") == {("apimart", "kling-v3", "std", "silent", "agrees"): 1}
    assert not [line for line in counts if "differs" in line[-1]]


def test_what_is_reserved_is_compared_and_is_no_cost() -> None:
    running, counts = moved(job_in(State.SUBMITTING), events.Accepted("task-1", Decimal("0.9")))
    archiving, _ = moved(running, events.Succeeded(link(), None, Decimal(5)))
    completed, later = moved(archiving, events.Archived(result(), Decimal("0.4")))

    assert told(counts, "tally", "bills") == {("apimart", "kling-v3", "std", "silent", "differs"): 1}
    assert (running.current.cost_usd, running.current.reserved_usd) == (None, Decimal("0.9"))
    assert (completed.current.cost_usd, completed.current.cost_source) == (Decimal("0.4"), CostSource.SETTLED)
    assert told(later, "usage", "2026-09-21", "acme", "apimart") == {("actual",): 40_000_000}


@pytest.mark.parametrize(
    ("settled", "usd", "source"),
    [(Decimal("0.4"), "0.4", CostSource.SETTLED), (None, "0.42", CostSource.ESTIMATED)],
)
def test_without_a_bill_a_clip_is_settled_or_its_estimate_stands(
    settled: Decimal | None, usd: str, source: CostSource
) -> None:
    archiving, _ = moved(job_in(State.RUNNING), events.Succeeded(link()))
    completed, _ = moved(archiving, events.Archived(result(), settled))
    assert (archiving.current.cost_usd, archiving.current.cost_source) == (None, None)
    assert (completed.current.cost_usd, completed.current.cost_source) == (Decimal(usd), source)


def test_without_an_estimate_either_the_cost_stays_unknown() -> None:
    archiving, _ = moved(job_in(State.RUNNING, {"estimated_usd": None}), events.Succeeded(link()))
    completed, _ = moved(archiving, events.Archived(result(), None))
    assert (completed.current.cost_usd, completed.current.cost_source) == (None, None)


def test_a_clip_that_was_made_and_never_archived_costs_its_estimate() -> None:
    failed, counts = moved(job_in(State.ARCHIVING), events.ArchiveFailed("result_expired", "late", final=True))
    assert (failed.current.cost_usd, failed.current.cost_source) == (Decimal("0.42"), CostSource.ESTIMATED)
    assert told(counts, "usage", "2026-09-21", "acme", "apimart") == {("actual",): 42_000_000, ("wasted",): 42_000_000}


def test_a_bill_that_comes_with_a_new_link_is_taken() -> None:
    renewed, counts = moved(job_in(State.ARCHIVING), SUCCEEDED)
    assert (renewed.current.cost_usd, renewed.current.cost_source) == (Decimal("0.63"), CostSource.REPORTED)
    assert told(counts, "tally", "bills") == {("apimart", "kling-v3", "std", "silent", "differs"): 1}
    again, counts = moved(renewed, events.Succeeded(link(), Decimal(7)))
    assert again.current.cost_usd == Decimal("0.63")
    assert not told(counts, "tally", "bills")


@pytest.mark.parametrize(
    ("told_usd", "usd", "source"),
    [(None, 0, CostSource.SETTLED), (Decimal(0), 0, CostSource.REPORTED), (Decimal("0.1"), "0.1", CostSource.REPORTED)],
)
def test_a_failed_task_costs_what_the_gateway_says_or_nothing(
    told_usd: Decimal | None, usd: str, source: CostSource
) -> None:
    failed, counts = moved(job_in(State.RUNNING), events.Failed(Reason.INPUT, "no", told_usd))
    assert (failed.current.cost_usd, failed.current.cost_source) == (Decimal(usd), source)
    assert not told(counts, "tally", "bills")


def test_an_adopted_task_was_paid_by_another_job() -> None:
    archiving, counts = moved(job_in(State.RUNNING, {"adopted": True}), SUCCEEDED)
    assert (archiving.current.cost_usd, archiving.current.cost_source) == (0, CostSource.SETTLED)
    assert not told(counts, "tally", "bills")


def test_the_second_attempt_of_a_job_has_its_own_bill() -> None:
    first = attempt(1, **SAID, cost_usd=Decimal(1))
    both = job(state=State.RUNNING, attempts=(first, attempt(2, status=AttemptStatus.RUNNING, task_id="task-2")))
    _, counts = moved(both, SUCCEEDED)
    assert told(counts, "tally", "bills") == {("apimart", "kling-v3", "std", "silent", "differs"): 1}


@pytest.mark.parametrize("change", [{"cost_source": CostSource.REPORTED}, {"reserved_usd": Decimal(9)}])
def test_all_that_a_bill_is_read_from_changes_what_is_counted(change: dict[str, Any]) -> None:
    plan = {"status": AttemptStatus.COMPLETED, "cost_usd": Decimal("0.5"), "cost_source": CostSource.SETTLED}
    old = job_in(State.COMPLETED, plan)
    new = replace(old, attempts=(attempt(**{**plan, **change}),))
    assert dict(counters.difference(old, new)) == dict(counters.entries(new) - counters.entries(old))
    assert counters.difference(old, new)


def test_differences_are_told_by_kind() -> None:
    counts = {
        "jobs": 9,
        "differs.jobs:a/std/silent": 2,
        "differs.billed:a/std/silent": 7,
        "differs.jobs:b/pro/sound": 0,
    }
    assert counters.differences_by_kind(counts) == {("a", "std", "silent"): {"jobs": 2, "billed": 7}}
