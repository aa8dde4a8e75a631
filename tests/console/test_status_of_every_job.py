"""The top of a job's page says what happens and what happens next: in every state, and for every error code."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from console_steps import visitor
from factories import DAY, HOUR, MINUTE, NOW, SECOND, job_in, link, rejected
from receiver_steps import MOTION, Web, parts_over

from rushes.shared import domain
from rushes.shared.domain import timing
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import AttemptStatus, Chore, Error, Job, Note, Nudge, State
from rushes.shared.intake.job_filters import ERROR_CODES
from rushes.shared.ledger import keys
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.webhook_receiver.console import labels
from rushes.webhook_receiver.console.explanations import EXPLAINERS, explain
from rushes.webhook_receiver.console.status_sentences import SENTENCES

LATER = NOW + 30 * SECOND


def asking(**fields: Any) -> dict[str, Any]:
    return {"request": {**job_in(State.QUEUED).request, **fields}}


def at(moment_ms: int) -> str:
    return datetime.fromtimestamp(moment_ms / 1000, UTC).isoformat()


def notified_in_vain(state: State, *chores: Chore, detail: str = "HTTP 500") -> Job:
    return job_in(state, chores=(*chores, Chore.RETIRE), due_at=LATER + MINUTE).noted(NOW, "notice failed", detail)


UNCONFIRMED = State.UNCONFIRMED
# Situation → the job, what the page says, and whether that is simply its way.
SITUATIONS: dict[str, tuple[Job, str, bool]] = {
    "just accepted": (job_in(State.QUEUED, created_at=LATER), "a worker submits it to apimart next", True),
    "inputs first": (job_in(State.QUEUED, created_at=LATER, request=MOTION), "before anything is paid", True),
    "not before": (job_in(State.QUEUED, **asking(not_before=at(NOW + HOUR))), "`not_before`, in 59 min 30 s", True),
    "start before": (
        job_in(State.QUEUED, created_at=LATER, **asking(start_before=at(NOW + HOUR))),
        "or canceled in 59 min 30 s (15:13 UTC) if it has not begun",
        True,
    ),
    "refused, tried again": (
        job_in(
            State.QUEUED, attempts=(rejected(error=Error("rate_limited", "slow down.")),), due_at=LATER + 5 * SECOND
        ),
        "apimart refused it: slow down. It is tried again in 5 s",
        False,
    ),
    "refused, and given up some time": (
        job_in(
            State.QUEUED, attempts=(rejected(error=Error("rate_limited", "slow down.")),), due_at=LATER + 5 * SECOND
        ),
        "If that goes on, the job fails in 23 h 59 min",
        False,
    ),
    "an input out of reach": (
        job_in(State.QUEUED, request=MOTION, due_at=LATER + 5 * SECOND),
        "An input could not be fetched yet. It is tried again in 5 s",
        False,
    ),
    "late": (job_in(State.QUEUED), "A worker should have taken it 30 s ago", False),
    "being submitted": (job_in(State.SUBMITTING), "The paid call to apimart is out", True),
    "a callback named a task": (
        job_in(UNCONFIRMED, {"task_id": "task-8"}, due_at=LATER + 4 * SECOND),
        "task-8; apimart is asked about it in 4 s, and its answer settles it",
        False,
    ),
    "asked by our own id": (
        job_in(UNCONFIRMED, {"askable": True}, due_at=LATER + 4 * SECOND),
        "asked in 4 s by our own id",
        False,
    ),
    "asked under its key": (
        job_in(UNCONFIRMED, {"body": {}}, due_at=LATER + 4 * SECOND),
        "asked again in 4 s under the same idempotency key",
        False,
    ),
    "only a callback or an operator": (
        job_in(UNCONFIRMED, {"callback": True}),
        "A callback settles it by itself; until then look for a task of 14:13 UTC in apimart's own list, and resolve "
        "it below. It is given up in 23 h 59 min (22 Sep, 14:13 UTC).",
        False,
    ),
    "only an operator": (job_in(UNCONFIRMED), "No callback was asked for: look for a task", False),
    "polled": (job_in(State.RUNNING, due_at=LATER + 15 * SECOND), "for 30 s now; it is polled in 15 s", True),
    "to be called": (
        job_in(State.RUNNING, {"callback": True}, due_at=LATER + MINUTE),
        "then it calls back, and is polled in 1 min",
        True,
    ),
    "called": (job_in(State.RUNNING, nudge=Nudge(NOW, 1)), "a callback has arrived, and apimart is asked", True),
    "no link": (job_in(State.RUNNING, history=(Note(NOW, "no link"),)), "gave no link to it", False),
    "being archived": (job_in(State.ARCHIVING), "apimart's link expires in 23 h 59 min (22 Sep, 14:13 UTC)", True),
    "bucket away": (
        job_in(State.ARCHIVING, history=(Note(NOW, "archive delayed", "no route"),)),
        "the bucket did not take it yet",
        False,
    ),
    "half a clip": (
        job_in(State.ARCHIVING, history=(Note(NOW, "download failed", "it breaks off"),), due_at=LATER + 4 * SECOND),
        "apimart's link did not give the whole of it yet. It is tried again in 4 s",
        False,
    ),
    "link refused": (
        job_in(State.ARCHIVING, history=(Note(NOW, "link refused", "an odd port"),)),
        "allow it in RUSHES_EGRESS_ALLOW",
        False,
    ),
    "completed": (
        job_in(State.COMPLETED, chores=(Chore.RETIRE,), due_at=LATER + 7 * DAY),
        "in the bucket; this record leaves Redis in 7 d (28 Sep, 14:13 UTC)",
        True,
    ),
    "caller to be notified": (job_in(State.COMPLETED), "its caller is notified next", True),
    "caller away": (
        notified_in_vain(State.COMPLETED, Chore.NOTICE),
        "The caller is tried again in 1 min (14:14 UTC)",
        False,
    ),
    "caller given up": (notified_in_vain(State.COMPLETED), "press Replay notification", False),
    "failed": (job_in(State.FAILED), "apimart could not make the clip", False),
    "failed, and its caller away": (
        job_in(State.FAILED, chores=(Chore.NOTICE,), due_at=LATER + MINUTE).noted(NOW, "notice failed", "HTTP 500"),
        "Its caller could not be notified. The caller is tried again in 1 min",
        False,
    ),
    "being erased": (job_in(State.FAILED, erase_asked_at=NOW), "bucket and journal follow now", True),
    "not erased everywhere yet": (
        job_in(State.COMPLETED, erase_asked_at=NOW).noted(NOW, "erasure delayed", "S3 is away"),
        "could not be erased in the bucket and the journal yet",
        False,
    ),
    "erased": (
        job_in(State.FAILED, erase_asked_at=NOW, erased_at=NOW + SECOND),
        "Erased on 21 Sep, 14:13:21 UTC: its clip, prompts, inputs and metadata are gone",
        True,
    ),
    "canceled": (job_in(State.CANCELED), "nothing was paid; its caller is notified next", True),
    "manifest owed": (
        job_in(State.CANCELED, chores=(Chore.MANIFEST, Chore.RETIRE)),
        "its manifest is written to the bucket next",
        True,
    ),
    "start deadline passed": (
        job_in(State.CANCELED, error=Error("start_deadline_passed", "no gateway took it")),
        "No gateway took it before its `start_before`",
        False,
    ),
}


def with_a_worker(web: Web, now: int = LATER) -> Web:
    web.parts.ledger.record_heartbeat("a worker", now)
    return web


@pytest.mark.parametrize("situation", SITUATIONS)
def test_what_happens_and_what_happens_next_is_said(web: Web, situation: str) -> None:
    job, words, is_its_way = SITUATIONS[situation]
    # 2026-09-21, 14:13:50: due a moment ago where the situation does not say when.
    explained = explain(job, with_a_worker(web).parts, LATER)

    assert words in " ".join([explained.problem, explained.next_step])
    assert (explained.tone == "") is is_its_way
    assert bool(explained.next_step) is not is_its_way  # its way is one sentence with what comes next in it
    assert explained.problem[0].isupper() or explained.problem.startswith("apimart")
    assert explained.problem.endswith((".", "?"))


def test_no_state_is_forgotten() -> None:
    assert set(EXPLAINERS) == set(SENTENCES) | {State.UNCONFIRMED, State.FAILED} == set(State)
    assert {job.state for job, _, _ in SITUATIONS.values()} == set(State)


def error_codes(web: Web) -> set[str]:
    """Every code that the API documents for a job's error."""
    document = (web.nobody.get("/openapi.json").json or {})["components"]["schemas"]["Failure"]
    return set(re.findall(r"`([a-z_]+)`", document["properties"]["code"]["description"]))


def test_no_line_of_the_history_is_forgotten() -> None:
    sources = [*Path(domain.__file__).parent.rglob("*.py")]
    lines = {line for source in sources for line in re.findall(r'noted\(\s*\w+, "([^"]+)"', source.read_text())}

    assert {"queued", "refused", "erased"} < lines | {"queued"}
    assert lines <= set(labels.NOTES)


def test_no_error_code_is_forgotten(web: Web) -> None:
    codes = error_codes(web)

    assert codes == set(ERROR_CODES)
    assert {reason.code for reason in Reason} < codes
    assert set(labels.FAILURES) == codes


@pytest.mark.parametrize("code", labels.FAILURES)
@pytest.mark.parametrize("gateway", ["apimart", None])
def test_every_failure_says_what_happened_and_what_to_do(web: Web, code: str, gateway: str | None) -> None:
    attempts = job_in(State.FAILED).attempts if gateway else ()
    explained = explain(job_in(State.FAILED, error=Error(code, "why", gateway), attempts=attempts), web.parts, LATER)

    for text in (explained.problem, explained.next_step):
        assert text.endswith(".")
        assert not re.search(r"[{}]|None", text)
        assert text[0].isupper() or text.startswith("apimart")
    assert explained.message == "why"
    assert explained.money_at_stake


@pytest.mark.parametrize("state", [State.SUBMITTING, State.UNCONFIRMED, State.RUNNING, State.ARCHIVING])
def test_a_job_that_nobody_works_on_says_so(web: Web, state: State) -> None:
    plan = {"askable": True} if state is State.UNCONFIRMED else None
    explained = explain(job_in(state, plan, due_at=NOW), web.parts, LATER)

    assert "no worker is running" in explained.problem
    assert "Start `worker`" in explained.next_step


def test_a_submit_that_policy_sends_again_says_when_and_at_what_risk() -> None:
    web = with_a_worker(Web(parts_over(MemoryStore(), RUSHES_UNCONFIRMED="resubmit")))

    explained = explain(job_in(UNCONFIRMED, {"callback": True}, due_at=LATER + 150 * SECOND), web.parts, LATER)

    assert "sent again in 2 min 30 s (14:16 UTC)" in explained.next_step
    assert "paid for twice" in explained.next_step


def test_a_tenant_that_has_all_its_places_says_so(tmp_path: Any) -> None:
    tenants = tmp_path / "tenants.toml"
    tenants.write_text("[tenant.acme]\nmax_in_flight = 1\n")
    web = with_a_worker(Web(parts_over(MemoryStore(), RUSHES_TENANTS_FILE=str(tenants))))
    web.standing(State.RUNNING)

    explained = explain(job_in(State.QUEUED, due_at=LATER), web.parts, LATER)

    assert "gateways have 1 of them, which is its `max_in_flight`" in explained.problem


def test_a_gateway_that_somebody_has_to_mend_is_said_with_what_to_do(web: Web) -> None:
    web.parts.ledger.gateways.strike("apimart", Reason.BALANCE, None, LATER)
    refused = rejected(error=Error("insufficient_balance", "no money"))

    explained = explain(job_in(State.QUEUED, attempts=(refused,)), with_a_worker(web).parts, LATER)

    assert "apimart gets no new jobs meanwhile. Top it up; it is tried again by itself." in explained.next_step
    assert "refused it: no money. It is tried again in 30 s" in explained.problem  # not before the pause ends


def test_a_gateway_that_an_operator_paused_is_said_so(web: Web) -> None:
    web.parts.ledger.gateways.pause("apimart", "operator", LATER + 999 * DAY)

    explained = explain(job_in(State.QUEUED), with_a_worker(web).parts, LATER)

    assert explained.problem.startswith("Waits for apimart, which an operator has paused.")
    assert "until somebody resumes it" in explained.next_step


def test_submits_that_are_held_say_why() -> None:
    web = with_a_worker(Web(parts_over(MemoryStore(), RUSHES_JOURNAL="true")))

    assert "until a scheduler has compared the ledger" in explain(job_in(State.QUEUED), web.parts, LATER).problem


def learned(web: Web, job: Job, *times_s: float) -> None:
    """Twenty jobs like this one took as long as each of these."""
    field = timing.kind(job).partition("|")[2]
    counts = {f"{field}|{timing.bucket(time_s)}": 20 for time_s in times_s}
    web.parts.ledger.store.increase(keys.times(str(job.provider)), counts)


@pytest.mark.parametrize(
    ("age_ms", "words"),
    [(0, "about 1 min more"), (70 * SECOND, "about 30 s more"), (150 * SECOND, "longer than usual")],
)
def test_the_list_and_the_page_say_how_much_longer_a_job_likely_takes(web: Web, age_ms: int, words: str) -> None:
    job = web.standing(State.RUNNING)
    learned(web, job, 60, 62, 100)
    moment = job.current.submitted_at + age_ms
    web.parts.now.stand(moment)  # type: ignore[attr-defined]
    with_a_worker(web, moment)
    person = visitor(web)

    assert [words in person.reads(path) for path in ("/", f"/jobs/{job.id}")] == [True, True]


def test_a_job_far_older_than_any_like_it_says_so(web: Web) -> None:
    job = web.standing(State.RUNNING)
    learned(with_a_worker(web, NOW + HOUR), job, 60)

    explained = explain(job, web.parts, NOW + HOUR)

    assert "far longer than any such job took" in explained.problem
    assert "given up in 23 h" in explained.next_step


CHANCES: list[Callable[[], Job]] = [
    lambda: job_in(State.ARCHIVING, {"link": link(expires_at=None)}),
    lambda: job_in(State.QUEUED, route=()),
    lambda: job_in(State.FAILED, error=Error("a_code_of_tomorrow", "why")),
    lambda: job_in(State.RUNNING, {"status": AttemptStatus.RUNNING}, due_at=None),
]


@pytest.mark.parametrize("made", CHANCES)
def test_an_odd_record_is_explained_too(web: Web, made: Callable[[], Job]) -> None:
    assert explain(made(), web.parts, LATER).problem
