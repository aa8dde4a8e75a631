"""What the pages say, and to whom."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from console_steps import Visitor, asking_for, visitor
from factories import HOUR, NOW, REQUEST, SECOND, attempt, failed, job_in, link
from receiver_steps import Web, parts_over

from rushes.shared.domain import events, timing
from rushes.shared.domain.job import AttemptStatus, Error, Note, State
from rushes.shared.ledger import keys
from rushes.shared.ledger.learned_times import FRESH_MS
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.webhook_receiver.console import labels
from rushes.webhook_receiver.console.explanations import explain

CODES = [
    "input_rejected",
    "no_provider",
    "insufficient_balance",
    "content_policy",
    "provider_error",
    "rate_limited",
    "budget_exceeded",
    "timed_out",
    "submit_unconfirmed",
    "result_expired",
    "result_invalid",
    "archive_failed",
]


# --- who sees what


@pytest.mark.parametrize("path", ["/jobs/{id}", "/jobs/{id}/calls"])
def test_another_tenants_job_is_not_there(web: Web, path: str) -> None:
    job = web.standing(State.COMPLETED)

    answer = visitor(web, "other").get(path.format(id=job.id))

    assert answer.status_code == 404
    assert REQUEST["prompt"] not in answer.text


@pytest.mark.parametrize(("action", "state"), [("cancel", "queued"), ("retry", "failed"), ("resolve", "unconfirmed")])
def test_nothing_can_be_done_to_another_tenants_job(web: Web, action: str, state: str) -> None:
    job = web.standing(State(state))

    answer = visitor(web, "other").send(f"/jobs/{job.id}/{action}", action="fail", looked_up="yes")

    assert answer.status_code == 404
    assert web.now(job.id) == job


def test_a_tenant_sees_its_own_jobs_and_the_admin_all(web: Web) -> None:
    web.standing(State.COMPLETED, **asking_for("ours"))
    web.standing(State.COMPLETED, tenant="other", **asking_for("theirs"))

    seen = {who: visitor(web, who).reads("/") for who in ("acme", "other", "admin")}

    assert ("ours" in seen["acme"], "theirs" in seen["acme"]) == (True, False)
    assert ("ours" in seen["other"], "theirs" in seen["other"]) == (False, True)
    assert ("ours" in seen["admin"], "theirs" in seen["admin"]) == (True, True)


def test_the_filter_for_tenants_is_the_admins_alone(web: Web) -> None:
    web.standing(State.COMPLETED, tenant="other", **asking_for("theirs"))
    web.standing(State.COMPLETED, **asking_for("ours"))

    assert "theirs" not in visitor(web).reads("/?tenant=other")
    assert "ours" not in visitor(web, "admin").reads("/?tenant=other")


# --- all jobs


def test_the_numbers_on_top_count_what_stands_in_the_ledger(web: Web) -> None:
    for state in (*State, State.FAILED):
        web.standing(state)

    told = re.findall(r'tile-name">(\w+)</span>\s*<span class="tile-count">(\d+)<', visitor(web).page("/"))

    assert dict(told) == {"Running": "4", "Completed": "1", "Failed": "2", "Unconfirmed": "1"}


def test_filters_narrow_the_list_by_state_gateway_and_text(web: Web) -> None:
    web.standing(State.COMPLETED, **asking_for("a red kite"))
    web.standing(State.FAILED, **asking_for("a blue kite"))
    web.standing(State.RUNNING, {"provider": "evolink"}, **asking_for("a green boat"))
    person = visitor(web)

    assert listed(person, "/") == ["a green boat", "a blue kite", "a red kite"]
    assert listed(person, "/?state=failed") == ["a blue kite"]
    assert listed(person, "/?state=open") == ["a green boat"]
    assert listed(person, "/?gateway=evolink") == ["a green boat"]
    assert listed(person, "/?text=KITE+red") == ["a red kite"]


@pytest.mark.parametrize("text", ["task-77", "shot-12b", "the moon is closed"])
def test_text_is_looked_for_in_ids_metadata_and_errors_too(web: Web, text: str) -> None:
    web.standing(
        State.FAILED,
        {"task_id": "task-77"},
        error=Error("provider_error", "the moon is closed"),
        **asking_for("wanted", metadata={"shot": "shot-12b"}),
    )
    web.standing(State.FAILED, **asking_for("not wanted"))

    assert listed(visitor(web), f"/?text={text}") == ["wanted"]


def test_a_whole_id_leads_straight_to_the_job_and_never_to_anothers(web: Web) -> None:
    job = web.standing(State.COMPLETED)

    mine, theirs = (visitor(web, who).get(f"/?text={job.id}") for who in ("acme", "other"))

    assert mine.headers["Location"] == f"/jobs/{job.id}"
    assert theirs.status_code == 200


def test_older_jobs_are_a_page_away(web: Web) -> None:
    for number in range(45):
        web.standing(State.COMPLETED, **asking_for(f"shot {number}"))
    person = visitor(web)

    older = re.search(r'href="(/\?before=[^"]+)"', person.page("/"))

    assert older
    assert len(listed(person, "/")) == 40
    assert listed(person, older[1]) == [f"shot {number}" for number in (4, 3, 2, 1, 0)]


@pytest.mark.parametrize(
    "query", ["state=nonsense", "gateway=nobody", "before=../x", "tenant=%00", "text=%F0%9F%AA%81"]
)
def test_a_query_that_means_nothing_breaks_nothing(web: Web, query: str) -> None:
    assert visitor(web, "admin").get(f"/?{query}").status_code == 200


def listed(person: Visitor, path: str) -> list[str]:
    return re.findall(r'class="row-link"[^>]*>([^<]+)<', person.page(path))


# --- a job


@pytest.mark.parametrize("state", list(State))
def test_every_state_has_its_page(web: Web, state: State) -> None:
    job = web.standing(state)

    told = visitor(web).reads(f"/jobs/{job.id}")

    assert labels.STATES[state][0] in told
    assert job.id in told


@pytest.mark.parametrize("code", CODES)
def test_a_failure_is_explained_with_the_money_at_stake_and_what_to_do(web: Web, code: str) -> None:
    job = web.standing(State.FAILED, error=Error(code, "said by the gateway", "apimart"))

    told = visitor(web).reads(f"/jobs/{job.id}")

    what, do = (text.replace("{gateway}", "apimart").partition(" {retry}")[0] for text in labels.FAILURES[code])
    assert what in told
    assert do.replace("`", "") in told.replace(" . ", ". ").replace(" ; ", "; ").replace("`", "")
    assert "said by the gateway" in told
    assert "nothing was charged" in told


def test_the_money_at_stake_is_what_was_charged_and_what_may_have_been(web: Web) -> None:
    doubtful = job_in(State.UNCONFIRMED)
    paid = failed(cost_usd=attempt().estimated_usd)
    lost = replace(doubtful, attempts=(paid, replace(doubtful.current, number=2)))

    explained = explain(lost, web.parts, NOW + SECOND)

    assert explained
    assert explained.money_at_stake == "$0.42 was charged. Up to $0.42 may have been charged."


def test_an_unconfirmed_job_names_the_minute_to_look_for_at_the_gateway(web: Web) -> None:
    explained = explain(job_in(State.UNCONFIRMED), web.parts, NOW + HOUR)

    assert explained
    assert "14:13 UTC" in explained.next_step
    assert "given up in 23 h" in explained.next_step


def test_a_job_that_waits_for_a_paused_gateway_says_so(web: Web) -> None:
    job = web.standing(State.QUEUED, route=("apimart",))
    web.parts.ledger.store.remember("{rushes}:gateway:apimart", {"why": "insufficient_balance"})
    web.parts.ledger.store.remember("{rushes}:gateway:apimart", {"paused_until": job.created_at + HOUR})

    explained = explain(job, web.parts, job.created_at + 30 * SECOND)

    assert explained
    assert "apimart, which is paused for 59 min" in explained.problem
    assert "insufficient balance" in explained.problem


def test_a_job_that_waits_though_no_worker_lives_says_so(web: Web) -> None:
    job = web.standing(State.QUEUED)

    explained = explain(job, web.parts, job.created_at + 30 * SECOND)

    assert explained
    assert "Start `worker` and `scheduler`" in explained.problem


def test_the_timeline_tells_each_event_with_its_time_in_order(web: Web) -> None:
    history = (
        Note(NOW, "queued"),
        Note(NOW + SECOND, "submitting", "apimart"),
        Note(NOW + 2 * SECOND, "accepted", "task-1"),
        Note(NOW + 90 * SECOND, "finished", "heard by callback"),
        Note(NOW + 95 * SECOND, "completed"),
        Note(NOW + 96 * SECOND, "notified"),
    )
    job = web.standing(State.COMPLETED, {"asked_at": NOW + 60 * SECOND, "polls": 3}, history=history)

    told = visitor(web).reads(f"/jobs/{job.id}").partition("Timeline")[2]

    order = [
        "14:13:20 Accepted",
        "14:13:21 Submitted to apimart",
        "14:13:22 The gateway took it, as task task-1",
        "14:14:20 apimart was polled 3 times",
        "14:14:50 The clip is made: heard by callback",
        "14:14:55 Archived",
        "14:14:56 The caller was notified",
    ]
    assert [told.index(line) for line in order] == sorted(told.index(line) for line in order)


@pytest.mark.parametrize(("left_ms", "shown"), [(20 * HOUR, True), (30 * 60 * SECOND, True), (-HOUR, False)])
def test_the_life_of_a_link_is_shown_while_the_clip_is_not_saved(web: Web, left_ms: int, shown: bool) -> None:
    plan = {"status": AttemptStatus.COMPLETED, "link": link(expires_at=web.parts.now() + left_ms)}
    job = web.standing(State.FAILED, plan, error=Error("archive_failed", "no bucket"))
    saved = web.standing(State.COMPLETED, plan)
    person = visitor(web)

    assert ("link expires" in person.reads(f"/jobs/{job.id}")) is shown
    assert "link expires" not in person.reads(f"/jobs/{saved.id}")


def test_a_job_that_a_gateway_has_tells_when_such_jobs_are_usually_done() -> None:
    web = Web(parts_over(MemoryStore()))
    running = web.running("evolink")
    assert "Usually done" not in visitor(web).page(f"/jobs/{running.id}")

    field = timing.kind(running).partition("|")[2]
    known = {f"{field}|{timing.bucket(60)}": 80, f"{field}|{timing.bucket(600)}": 20}
    web.parts.ledger.store.increase(keys.times("evolink"), known)
    web.parts.now.at(NOW + FRESH_MS + SECOND)  # type: ignore[attr-defined]
    assert re.search(
        r"<dt>Usually done</dt><dd>within 1 min( \d s)?; nine in ten within 10 min( \d+ s)?<",
        visitor(web).page(f"/jobs/{running.id}"),
    )

    web.parts.ledger.apply(running.id, events.Succeeded(link(), attempt=1), NOW + HOUR)
    assert "Usually done" not in visitor(web).page(f"/jobs/{running.id}")
