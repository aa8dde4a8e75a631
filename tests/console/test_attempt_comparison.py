"""Two attempts of a job side by side."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal

import pytest
from console_steps import visitor
from factories import NOW, SECOND, attempt, failed
from receiver_steps import Web

from rushes.shared.domain.job import Error, Job, State
from rushes.webhook_receiver.console import attempt_comparison
from rushes.webhook_receiver.console.attempt_comparison import marked
from rushes.webhook_receiver.console.gateway_calls import Call

FIRST = failed(1, ended_at=NOW + 40 * SECOND, cost_usd=Decimal(0), error=Error("provider_error", "out of memory"))
SECOND_ONE = replace(attempt(2, task_id="task-2"), provider="evolink", estimated_usd=Decimal("0.6"))


def passed_on(web: Web) -> Job:
    return web.standing(State.RUNNING, attempts=(FIRST, SECOND_ONE))


def journal(monkeypatch: pytest.MonkeyPatch, *calls: Call) -> None:
    monkeypatch.setattr(attempt_comparison, "read_journal", lambda _: (list(calls), None))


def test_two_attempts_stand_side_by_side_and_what_differs_is_marked(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    journal(
        monkeypatch,
        Call("1", NOW, '{\n  "model": "kling-3.0",\n  "prompt": "a kite"\n}', "HTTP 200\n{}", attempt=1),
        Call("2", NOW, '{\n  "model": "kling-v3",\n  "prompt": "a kite"\n}', None, attempt=2),
    )
    job, person = passed_on(web), visitor(web)

    page, words = person.page(f"/jobs/{job.id}/compare"), person.reads(f"/jobs/{job.id}/compare")

    for fact in ("Gateway apimart evolink", "Task task-1 task-2", "Took 40 s not ended", "Estimated $0.42 $0.60"):
        assert fact in words
    assert "Error provider_error: out of memory none" in words
    assert [line.strip() for line in re.findall(r"<mark>(.*?)</mark>", page)] == [
        "&#34;model&#34;: &#34;kling-3.0&#34;,",
        "&#34;model&#34;: &#34;kling-v3&#34;,",
        "HTTP 200",
        "{}",
    ]
    assert words.count("None was recorded.") == 1
    assert "Compare two side by side" in person.reads(f"/jobs/{job.id}")


def test_the_query_chooses_the_attempts_and_nonsense_in_it_is_ignored(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal(monkeypatch)
    third = replace(SECOND_ONE, number=3, provider="newapi")
    path = f"/jobs/{web.standing(State.RUNNING, attempts=(FIRST, SECOND_ONE, third)).id}/compare"

    assert "Gateway evolink newapi" in visitor(web).reads(path)
    assert "Gateway newapi apimart" in visitor(web).reads(f"{path}?left=3&right=1")
    assert "Gateway evolink newapi" in visitor(web).reads(f"{path}?left=9&right=x")


def test_one_attempt_alone_is_not_compared(web: Web) -> None:
    job, person = web.standing(State.RUNNING), visitor(web)

    assert "Nothing to compare" in person.reads(f"/jobs/{job.id}/compare")
    assert "Compare two side by side" not in person.reads(f"/jobs/{job.id}")
    assert visitor(web, "other").get(f"/jobs/{job.id}/compare").status_code == 404


def test_only_lines_without_their_like_on_the_other_side_are_marked() -> None:
    ours, theirs = marked("a\nb\nc", "a\nc\nd")

    assert ours == [("a", False), ("b", True), ("c", False)]
    assert theirs == [("a", False), ("c", False), ("d", True)]
