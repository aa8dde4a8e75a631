"""What older code has written must be read for ever: records in Redis, and lines of the journal in the bucket.

`stored/` holds such texts as an earlier release wrote them, one job in each state. They are never made anew: a change
that cannot read them would lose the jobs of every running installation.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from rushes.shared.domain.job import State
from rushes.shared.intake.job_document import document
from rushes.shared.ledger import compression, keys, record
from rushes.shared.storage import journal

STORED = [json.loads(path.read_text("utf-8")) for path in sorted(Path(__file__).with_name("stored").glob("*.json"))]
RECORDS = [pytest.param(entry, id=entry["state"]) for stored in STORED for entry in stored["records"]]
INTENTS = [line for stored in STORED for entry in stored["records"] for line in entry.get("journal", ())]
OUTCOMES = [pytest.param(each, id=each["event"]) for stored in STORED for each in stored["outcomes"]]


def with_later_fields(stored: dict[str, Any]) -> dict[str, Any]:
    """The document as it is written today: what older code did not know is null or a default in it."""
    return {
        **stored,
        "attempts": [{"account": "default", **attempt, "cost_source": None} for attempt in stored["attempts"]],
    }


def test_there_is_one_of_each_state() -> None:
    assert {entry["state"] for stored in STORED for entry in stored["records"]} == {state.value for state in State}
    assert INTENTS
    assert OUTCOMES


@pytest.mark.parametrize("entry", RECORDS)
def test_a_stored_record_is_the_job_that_it_was(entry: dict[str, Any]) -> None:
    job = record.decode(entry["record"])

    assert job.state.value == entry["state"]
    assert document(job) == with_later_fields(entry["document"])
    assert job.history[1].detail == "task-ä"
    assert record.decode(record.encode(job, "0")) == job


@pytest.mark.parametrize("entry", RECORDS)
def test_a_stored_record_that_is_compressed_can_be_unpacked(entry: dict[str, Any]) -> None:
    assert compression.unpack(base64.b64decode(entry["packed"]), record.decode(entry["record"]).id) == entry["record"]


@pytest.mark.parametrize("entry", RECORDS)
def test_a_stored_record_is_listed_where_it_was(entry: dict[str, Any]) -> None:
    job = record.decode(entry["record"])
    gateway = "apimart" if job.attempts else "-"
    assert keys.index(job) == f"{{rushes}}:index:acme:{entry['state']}:{gateway}"
    assert keys.record(job.id) == f"{{rushes}}:job:{job.id}"


@pytest.mark.parametrize("text", INTENTS)
def test_a_stored_intent_of_the_journal_brings_its_job_back(text: str) -> None:
    intent = journal._decode_line(text)

    assert isinstance(intent, journal.Intent)
    assert (intent.job.state, intent.job.current.body) == (State.SUBMITTING, {"prompt": "a red kite", "n": 1.5})
    assert intent.sent == {"prompt": "a red kite"}


@pytest.mark.parametrize("entry", OUTCOMES)
def test_a_stored_outcome_of_the_journal_is_the_event_that_it_was(entry: dict[str, Any]) -> None:
    line = {"kind": "answer", "job": "job_1", "attempt": 1, "submitted_at": 1, "at": 2, "answer": None}
    answer = journal._decode_line(json.dumps({**line, "outcome": entry["outcome"]}))

    assert isinstance(answer, journal.Outcome)
    event = {"Unclear": "Lost"}.get(entry["event"], entry["event"])  # without an answer it is in doubt either way
    assert type(answer.event).__name__ in (event, entry["event"])
