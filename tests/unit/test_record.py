from __future__ import annotations

import json
import string
from dataclasses import fields
from decimal import Decimal
from typing import Any

from factories import NOW, job, job_in
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rushes.shared.domain.job import (
    Attempt,
    AttemptStatus,
    Chore,
    CostSource,
    Error,
    Job,
    Link,
    Note,
    Nudge,
    Result,
    State,
)
from rushes.shared.ledger import record

# Half surrogate pairs too: JSON of a caller or a gateway may hold them.
anything = st.text(st.characters(exclude_categories=()), max_size=20)
words = st.text(string.ascii_letters + "-", min_size=1, max_size=8)
moments = st.integers(0, 2**43)
money = st.decimals(0, 10**6, allow_nan=False, places=8) | st.sampled_from([Decimal("1E-7"), Decimal("0E+2")])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | anything,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(anything, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(anything, values, max_size=4)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


errors = st.builds(Error, words, anything, maybe(words))
links = st.builds(Link, anything, maybe(anything), maybe(moments))
ATTEMPT: dict[str, st.SearchStrategy[Any]] = {
    "number": st.integers(1, 99),
    "provider": words,
    "base_url": anything,
    "key_name": words,
    "account": words,
    "submitted_at": moments,
    "status": st.sampled_from(AttemptStatus),
    "callback": st.booleans(),
    "adopted": st.booleans(),
    "let_go": st.booleans(),
    "askable": st.booleans(),
    "resent_at": moments,
    "lost_at": moments,
    "key": maybe(words),
    "body": maybe(objects),
    "task_id": maybe(anything),
    "ended_at": maybe(moments),
    "heard_by": maybe(words),
    "polls": st.integers(0, 10**6),
    "asked_at": moments,
    "estimated_usd": maybe(money),
    "cost_usd": maybe(money),
    "cost_source": maybe(st.sampled_from(CostSource)),
    "reserved_usd": maybe(money),
    "made_s": maybe(money),
    "bad_downloads": st.integers(0, 99),
    "link": maybe(links),
    "error": maybe(errors),
}
results = st.builds(
    Result,
    *[anything] * 3,
    st.integers(0, 2**40),
    words,
    words,
    thumbnail_key=maybe(anything),
    duration_s=maybe(money),
    width=maybe(st.integers(0, 9999)),
    height=maybe(st.integers(0, 9999)),
)
nudges = st.builds(Nudge, moments, st.integers(1, 99), maybe(anything.filter(bool)), maybe(anything.filter(bool)))
notes = st.builds(Note, moments, anything, maybe(anything))
JOB: dict[str, st.SearchStrategy[Any]] = {
    "idempotency": maybe(words),
    "batch_id": maybe(words),
    "batch_budget_usd": maybe(money),
    "id": words,
    "tenant": words,
    "request": objects,
    "route": st.lists(words, max_size=4).map(tuple),
    "created_at": moments,
    "updated_at": moments,
    "state": st.sampled_from(State),
    "version": st.integers(0, 10**9),
    "due_at": maybe(moments),
    "tries": st.integers(0, 10**6),
    "parked": st.booleans(),
    "waits_until": maybe(moments),
    "setbacks": st.integers(0, 10**6),
    "attempts": st.lists(st.builds(Attempt, **ATTEMPT), max_size=3).map(tuple),
    "estimated_usd": maybe(money),
    "inputs": objects,
    "progress": st.integers(0, 100),
    "nudge": maybe(nudges),
    "result": maybe(results),
    "error": maybe(errors),
    "ended_at": maybe(moments),
    "chores": st.lists(st.sampled_from(Chore), max_size=3).map(tuple),
    "retry_of": maybe(words),
    "trace": maybe(words),
    "history": st.lists(notes, max_size=3).map(tuple),
    "erase_asked_at": maybe(moments),
    "erased_at": maybe(moments),
}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(job(request={"prompt": "half a pair: \ud83d", "\u2028": "\x00"}))
@given(st.builds(Job, **JOB))
def test_a_job_comes_back_from_its_record_as_it_went_in(subject: Job) -> None:
    written = record.encode(subject, "0a1b2c")
    assert record.decode(written) == subject
    written.encode("utf-8")


def test_no_field_is_left_out_of_the_round_trip() -> None:
    assert set(JOB) == {field.name for field in fields(Job)}
    assert set(ATTEMPT) == {field.name for field in fields(Attempt)}


@example(Nudge(NOW, 1, "\ud83d half a pair: \n"))
@given(nudges)
def test_a_hint_stays_one_word_whatever_the_task_is_called(nudge: Nudge) -> None:
    written = record.encode_nudge(nudge)
    assert record.decode_nudge(written) == nudge
    assert len(written.split()) == 1
    assert written.isascii()


def test_the_header_is_what_the_programs_read() -> None:
    live = record.encode(job(version=7, tries=2), "0a1b2c")
    over = record.encode(job_in(State.FAILED, nudge=Nudge(NOW, 3, "a b:c\n")), "0a1b2c")
    assert live.partition("\n")[0] == "7 0a1b2c 2 1 - -"
    assert over.partition("\n")[0] == f"0 0a1b2c 0 0 {NOW}:3:a%20b%3Ac%0A -"


def test_what_is_at_its_default_is_left_out() -> None:
    body = json.loads(record.encode(job(), "0a1b2c").partition("\n")[2])
    assert set(body) == {"id", "tenant", "request", "route", "created_at", "updated_at", "due_at"}


def test_a_record_without_the_newest_fields_can_still_be_read() -> None:
    header, _, body = record.encode(job_in(State.RUNNING), "0a1b2c").partition("\n")
    fields = json.loads(body)
    for name in ("due_at", "estimated_usd", "history", "inputs"):
        fields.pop(name, None)
    assert record.decode(header + "\n" + json.dumps(fields)).state is State.RUNNING
