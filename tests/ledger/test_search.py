"""Jobs found by what a filter says, over all that the ledger has, a bounded piece at each call."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from factories import HOUR, MINUTE, NOW, REQUEST
from ledger_steps import contents, created, running
from test_auditing import found, strays, write

from rushes.shared.domain import events
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import Error, Job, State
from rushes.shared.domain.job_filter import JobFilter
from rushes.shared.ledger import keys
from rushes.shared.ledger.inspection import Inspection
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.store import Store

LATER = NOW + MINUTE


def request(**fields: Any) -> dict[str, Any]:
    return {**REQUEST, **fields}


def ids(jobs: list[Job]) -> list[str]:
    return [job.id for job in jobs]


def every(ledger: Ledger, wanted: JobFilter, tenant: str | None = "acme", scanned: int = 5000) -> list[str]:
    """The ids of all pages; a page that is short must lead on."""
    seen, cursor = [], ""
    for _ in range(99):
        page = ledger.search.page(tenant, wanted, 3, cursor, scanned)
        seen += ids(page.jobs)
        if page.cursor is None:
            return seen
        cursor = page.cursor
    raise AssertionError("the pages have no end")


def failed(ledger: Ledger, reason: Reason = Reason.INPUT, at: int = NOW, **fields: Any) -> Job:
    subject = running(ledger, at, request=request(**fields), route=("apimart",))
    after = ledger.apply(subject.id, events.Failed(reason, "no luck"), at)
    assert after is not None
    assert after.state is State.FAILED
    return after


FILTERS = {
    "model": (JobFilter(model="kling-v2-6"), {"model": "kling-v2-6"}),
    "batch": (JobFilter(batch="autumn"), {"batch": "autumn"}),
    "metadata": (JobFilter(metadata={"order": "ä 17"}), {"metadata": {"order": "ä 17", "shop": "x"}}),
    "two of them": (
        JobFilter(metadata={"order": "17"}, batch="autumn"),
        {"metadata": {"order": "17"}, "batch": "autumn"},
    ),
}


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_finds_its_jobs_and_no_others(ledger: Ledger, name: str) -> None:
    wanted, fields = FILTERS[name]
    others = {"batch": "winter", "metadata": {"order": "18", "17": "order"}, "prompt": "autumn kling-v2-6 order 17"}
    created(ledger, 3, request=request(**others))
    mine = created(ledger, 5, LATER, request=request(**fields))
    theirs = created(ledger, 2, LATER + 9, tenant="zenith", request=request(**fields))

    assert every(ledger, wanted) == ids(mine)[::-1]
    assert every(ledger, wanted, tenant="zenith") == ids(theirs)[::-1]
    assert every(ledger, wanted, tenant=None) == ids(mine + theirs)[::-1]
    assert every(ledger, wanted, tenant="nobody") == []


def test_jobs_are_found_by_how_they_failed(ledger: Ledger) -> None:
    created(ledger, 2)
    rejected, unlucky = failed(ledger), failed(ledger, Reason.POLICY)

    assert every(ledger, JobFilter(error="input_rejected")) == [rejected.id]
    assert every(ledger, JobFilter(error="content_policy", provider="apimart")) == [unlucky.id]
    assert every(ledger, JobFilter(error="input_rejected", states=frozenset({State.QUEUED}))) == []
    assert every(ledger, JobFilter(error="input_rejected", provider="evolink")) == []


def test_jobs_are_found_by_when_they_were_accepted(ledger: Ledger) -> None:
    made = [created(ledger, at=NOW + hours * HOUR)[0] for hours in range(5)]

    assert every(ledger, JobFilter(since=NOW + HOUR, until=NOW + 3 * HOUR)) == ids(made[1:3])[::-1]
    assert every(ledger, JobFilter(since=NOW + 2 * HOUR)) == ids(made[2:])[::-1]
    assert every(ledger, JobFilter(until=NOW + 2 * HOUR)) == ids(made[:2])[::-1]


def test_a_search_reads_a_bounded_number_of_records_and_its_cursor_goes_on(ledger: Ledger, monkeypatch: Any) -> None:
    monkeypatch.setattr("rushes.shared.ledger.search.PIECE", 4)
    oldest = created(ledger, request=request(model="kling-v2-6"))
    created(ledger, 20, LATER)
    first = ledger.search.page("acme", JobFilter(model="kling-v2-6"), 3, "", 8)

    assert (first.jobs, first.cursor is not None) == ([], True)
    assert every(ledger, JobFilter(model="kling-v2-6"), scanned=8) == ids(oldest)


def test_of_a_rare_label_and_a_rare_state_the_shorter_set_is_read(ledger: Ledger, store: Store) -> None:
    created(ledger, 30, request=request(metadata={"shop": "x"}))
    rare = failed(ledger, at=LATER, metadata={"shop": "x"})
    order = created(ledger, at=LATER + 1, request=request(metadata={"shop": "x", "order": "17"}))[0]

    by_state = ledger.search._sets("acme", JobFilter(metadata={"shop": "x"}, states=frozenset({State.FAILED})))
    by_label = ledger.search._sets("acme", JobFilter(metadata={"shop": "x", "order": "17"}))
    assert (store.sizes(by_state), store.sizes(by_label)) == ([1], [1])
    assert every(ledger, JobFilter(metadata={"shop": "x"}, states=frozenset({State.FAILED}))) == [rare.id]
    assert every(ledger, JobFilter(metadata={"shop": "x", "order": "17"})) == [order.id]


def test_another_label_in_the_same_set_is_no_hit(ledger: Ledger, monkeypatch: Any) -> None:
    monkeypatch.setattr(keys, "label", lambda label: keys.LABELS + "0000")
    created(ledger, 2, request=request(batch="winter", metadata={"batch": "autumn"}))
    (mine,) = created(ledger, at=LATER, request=request(batch="autumn"))
    created(ledger, at=LATER + 1, tenant="zenith", request=request(batch="autumn"))
    created(ledger, 5, LATER + 2)  # so that the labels are the shorter set

    assert every(ledger, JobFilter(batch="autumn")) == [mine.id]


# --- the labels, kept with the job


def test_a_job_that_leaves_takes_its_labels_along(ledger: Ledger, store: Store) -> None:
    subject = created(ledger, request=request(batch="autumn", metadata={"order": "17"}))[0]
    canceled = ledger.apply(subject.id, events.Canceled(), NOW)
    assert canceled
    assert len(list(Inspection(store).label_names())) == 2
    ledger.retire(canceled)

    assert list(Inspection(store).label_names()) == []
    assert not [name for name in contents(store) if "label" in name]


def test_a_label_that_is_missing_is_found_again(ledger: Ledger, store: Store) -> None:
    subject = created(ledger, request=request(batch="autumn", metadata={"order": "17"}))[0]
    before = contents(store)
    for name in list(Inspection(store).label_names()):
        write(store, ("ZREM", name, subject.id))

    assert every(ledger, JobFilter(batch="autumn")) == []
    assert found(store, repair=True) == [(subject.id, "unindexed")]
    assert contents(store) == before
    assert every(ledger, JobFilter(batch="autumn")) == [subject.id]


def test_an_entry_under_a_label_that_the_job_does_not_have_is_taken_away(ledger: Ledger, store: Store) -> None:
    subject = created(ledger, request=request(batch="autumn"))[0]
    wrong = keys.LABELS + "ffff"
    write(store, ("ZADD", wrong, 0, subject.id), ("ZADD", wrong, 0, "job_gone"))
    told = [job_id for name in Inspection(store).label_names() for job_id in strays(store, name, repair=True)]

    assert sorted(told) == sorted([subject.id, "job_gone"])
    assert every(ledger, JobFilter(batch="autumn")) == [subject.id]


def test_a_label_that_stays_survives_one_in_the_same_set_that_goes(
    ledger: Ledger, store: Store, monkeypatch: Any
) -> None:
    monkeypatch.setattr(keys, "label", lambda label: keys.LABELS + "0000")
    subject = created(ledger, request=request(batch="autumn", metadata={"order": "17"}))[0]
    after = replace(subject, request=request(batch="autumn"), version=1, error=Error("timed_out", ""))
    store.commit([ledger._commit(subject, after, events.Event(), NOW)])

    assert every(ledger, JobFilter(batch="autumn")) == [subject.id]
