"""The log: one line for each move of a job, with which everything about it is found again, and nothing secret."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import structlog
from factories import CALLER, NOW, link, result
from ledger_steps import created, engaged
from receiver_steps import TEXT, Web, parts_over
from structlog.testing import capture_logs

from rushes.shared import logs, notifications
from rushes.shared.domain import events, trace_context
from rushes.shared.domain.events import Reason
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.settings import Settings

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setattr(logs, "log", structlog.get_logger())  # one that nobody has used and tied to other processors
    return Ledger(MemoryStore(), policy(), logs.log_move)


def policy() -> Any:
    held: Settings = parts_over(MemoryStore()).settings
    return held.policy


def test_each_move_is_a_line(ledger: Ledger) -> None:
    with capture_logs() as lines:
        created(ledger)
        subject, _ = engaged(ledger, NOW)
        ledger.apply(subject.id, events.Accepted("task-1", attempt=1), NOW)
        ledger.apply(subject.id, events.Progressed(50), NOW)
        ledger.apply(subject.id, events.Succeeded(link()), NOW)
        ledger.apply(subject.id, events.Succeeded(link()), NOW)
        ledger.apply(subject.id, events.Archived(result()), NOW)

    assert [(line["was"], line["state"], line["by"]) for line in lines] == [
        (None, "queued", "Created"),
        ("queued", "submitting", "Begun"),
        ("submitting", "running", "Accepted"),
        ("running", "archiving", "Succeeded"),
        ("archiving", "completed", "Archived"),
    ]
    assert {(line["job"], line["tenant"], line["trace"]) for line in lines} == {
        (subject.id, "acme", trace_context.trace_id(subject))
    }
    assert (lines[2]["attempt"], lines[2]["provider"], lines[2]["task"]) == (1, "apimart", "task-1")


def test_no_line_holds_a_body_or_an_address(ledger: Ledger) -> None:
    with capture_logs() as lines:
        created(ledger, request={**TEXT, "callback_url": CALLER + "?key=secret"})
        subject, _ = engaged(ledger, NOW)
        ledger.apply(subject.id, events.Succeeded(link(video_url="https://files.example/clip.mp4?sig=secret")), NOW)
        ledger.apply(subject.id, events.ArchiveFailed("archive_failed", "https://x?sig=secret", final=True), NOW)

    text = repr(lines)
    assert (lines[-1]["state"], lines[-1]["error"]) == ("failed", "archive_failed")
    assert [word for word in ("secret", "https://", TEXT["prompt"]) if word in text] == []


def test_a_job_stays_in_the_trace_of_who_submitted_it(web_on_each: Web) -> None:
    web = web_on_each
    subject = web.now(web.submitted({**TEXT, "callback_url": CALLER}, traceparent=TRACEPARENT)["id"])
    own = web.now(web.submitted({**TEXT, "callback_url": CALLER})["id"])

    assert (trace_context.trace_id(subject), own.trace) == (TRACE, None)
    ended = replace(subject, ended_at=NOW)
    assert notifications.notification(ended, [], NOW).headers["traceparent"] == trace_context.traceparent(subject)
    assert trace_context.traceparent(subject).startswith(f"00-{TRACE}-")
    assert web.submitted(traceparent="nonsense")["status"] == "queued"


def test_a_refused_move_is_no_line(ledger: Ledger) -> None:
    (subject,) = created(ledger)
    ledger.apply(subject.id, events.Canceled(), NOW)
    with capture_logs() as lines:
        ledger.apply(subject.id, events.Canceled(), NOW)
        ledger.apply(subject.id, events.Failed(Reason.INPUT, "no"), NOW)
    assert lines == []
