"""What the pages say, to whom, and what they never say."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from console_steps import BROWSERS_ACCEPT, Visitor, visitor
from factories import HOUR, NOW, REQUEST, SECOND, attempt, failed, job_in, link
from receiver_steps import KEYS, SECRET, Away, Web, callback_path, parts_over, secret_in

from rushes.shared.domain import events, timing
from rushes.shared.domain.job import AttemptStatus, Chore, Error, Note, State
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


def asking_for(prompt: str, **more: Any) -> dict[str, Any]:
    return {"request": {**REQUEST, "prompt": prompt, **more}}


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


# --- what never stands on a page


def test_a_prompt_is_words_and_never_a_script(web: Web) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    job = web.standing(
        State.FAILED,
        {"task_id": evil},
        error=Error("provider_error", evil),
        history=(Note(NOW, "task failed", evil), Note(NOW, evil, evil)),
        **asking_for(evil, metadata={evil: evil}),
    )
    person = visitor(web, "admin")

    for path in ("/", f"/?text={evil}", f"/jobs/{job.id}", f"/jobs/{job.id}/calls"):
        page = person.page(path)
        assert "<script>alert" not in page
        assert "<img src=x" not in page


def test_no_page_holds_a_secret(web_on_public: Web) -> None:
    web = web_on_public
    job = web.running("apimodels")
    person = visitor(web, "admin")

    told = "".join(person.page(path) for path in ("/", f"/jobs/{job.id}", f"/jobs/{job.id}/calls"))

    gateways = [account.key for gateway in web.parts.settings.gateways.values() for account in gateway.accounts]
    assert job.id in told
    for secret in (SECRET, *KEYS.values(), *gateways, secret_in(callback_path(job))):
        assert secret not in told


def test_the_signed_part_of_a_link_is_not_written_out(web: Web) -> None:
    signed = "https://files.example/ref.png?X-Amz-Signature=abcdef"
    job = web.standing(State.FAILED, **asking_for("a kite", image_url=signed))

    words_ = visitor(web).reads(f"/jobs/{job.id}")

    assert "https://files.example/ref.png" in words_
    assert "abcdef" not in words_


def test_of_what_lies_in_s3_a_tenant_is_shown_only_what_was_brought_through_the_console(web: Web) -> None:
    uploaded = "s3://clips/inputs/2026/11/20/01M7X6D7K9Q95YMEMP2FFFJ015.jpg"
    foreign = ["s3://clips/jobs/x/video.mp4", "s3://clips/journal/x.jsonl", "s3://another/inputs/ref.png"]
    pages = {
        address: visitor(web).page(f"/jobs/{web.standing(State.FAILED, **asking_for('x', image_url=address)).id}")
        for address in (uploaded, *foreign)
    }

    assert {address: "X-Amz-Signature" in page for address, page in pages.items()} == {
        uploaded: True,
        **dict.fromkeys(foreign, False),
    }


@pytest.mark.parametrize(
    "address", ["https://evil.example;script-src *", "https://x y/", "https://[::1/", "javascript:alert(1)", "data:,x"]
)
def test_an_input_cannot_widen_what_the_page_may_load(web: Web, address: str) -> None:
    job = web.standing(State.FAILED, **asking_for("x", image_url=address))

    answer = visitor(web).get(f"/jobs/{job.id}")
    policy = answer.headers["Content-Security-Policy"]

    assert answer.status_code == 200
    assert policy.count("script-src") == 1
    assert "script-src 'self';" in policy
    assert "evil" not in policy
    assert f'src="{address}' not in answer.text
    assert f'href="{address}' not in answer.text


def test_a_page_may_load_only_its_own_parts_and_what_it_shows(web: Web) -> None:
    job = web.standing(State.COMPLETED, **asking_for("x", image_url="https://files.example/ref.png?sig=1"))

    answer = visitor(web).get(f"/jobs/{job.id}")
    told = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))

    assert told["default-src"] == "'none'"
    assert told["frame-ancestors"] == "'none'"
    assert {"'self'", "data:", "https://files.example", "http://127.0.0.1:1"} <= set(told["img-src"].split())
    assert not {"*", "http:", "https:"} & set(told["img-src"].split())
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(r"<script(?![^>]*src=)|<style| style=| on\w+=", answer.text)


# --- when something is the matter


@pytest.mark.parametrize("path", ["/", "/jobs/job_x"])
def test_a_ledger_out_of_reach_is_a_page_that_says_so(path: str) -> None:
    answer = visitor(Web(parts_over(Away()))).get(path)

    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert "The ledger (Redis) is out of reach" in answer.text


def test_an_address_that_leads_nowhere_is_a_page_for_people_and_the_envelope_for_programs(web: Web) -> None:
    people = web.nobody.get("/nowhere", headers={"Accept": BROWSERS_ACCEPT})
    programs = [
        web.nobody.get("/nowhere"),
        web.acme.get("/v1/nowhere", headers={"Accept": BROWSERS_ACCEPT}),
        web.nobody.post("/callbacks/apimart/job_x/1-x", headers={"Accept": BROWSERS_ACCEPT}),
    ]

    assert (people.status_code, people.mimetype) == (404, "text/html")
    assert {(answer.status_code, answer.mimetype) for answer in programs} == {(404, "application/json")}


def test_a_page_that_breaks_says_so_and_logs_it(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    person = visitor(web)
    monkeypatch.setattr(web.parts.ledger.store, "index_names", lambda: 1 / 0)

    answer = person.get("/")

    assert answer.status_code == 500
    assert "The error was logged" in answer.text


def test_the_console_is_no_part_of_the_document_of_the_api(web: Web) -> None:
    paths = web.nobody.get("/openapi.json").json["paths"]  # type: ignore[index]

    assert "/v1/jobs" in paths
    assert all(
        path.startswith(("/v1/", "/callbacks/", "/healthz", "/readyz", "/metrics", "/openapi", "/docs"))
        for path in paths
    )


# --- what can be done


def test_canceling_takes_a_queued_job_back_and_says_so(web: Web) -> None:
    job, person = web.standing(State.QUEUED), visitor(web)

    answer = person.send(f"/jobs/{job.id}/cancel")

    assert web.now(job.id).state is State.CANCELED
    assert "nothing was paid" in person.reads(answer.headers["Location"])


def test_a_job_that_a_gateway_has_is_not_canceled_and_the_page_leads_back_to_it(web: Web) -> None:
    job = web.standing(State.RUNNING)

    answer = visitor(web).send(f"/jobs/{job.id}/cancel")

    assert answer.status_code == 409
    assert "it is paid for and will be archived" in answer.text
    assert f'href="/jobs/{job.id}"' in answer.text


def test_a_retry_leads_to_the_new_job(web: Web) -> None:
    failed_id, person = web.submitted()["id"], visitor(web)
    web.parts.ledger.apply(failed_id, events.Barred(Error("provider_error", "no luck")), web.parts.now())

    answer = person.send(f"/jobs/{failed_id}/retry")
    again = answer.headers["Location"].partition("?")[0].removeprefix("/jobs/")

    assert web.now(again).retry_of == failed_id
    assert failed_id in person.reads(answer.headers["Location"])


def test_an_ended_job_notifies_again_when_it_is_told_to(web: Web) -> None:
    job, person = web.standing(State.FAILED, chores=(Chore.RETIRE,)), visitor(web)

    offered = "Replay notification" in person.reads(f"/jobs/{job.id}")
    answer = person.send(f"/jobs/{job.id}/notify")

    assert offered
    assert Chore.NOTICE in web.now(job.id).chores
    assert "notified again" in person.reads(answer.headers["Location"])


def test_where_nobody_is_to_be_told_there_is_nothing_to_replay(web: Web) -> None:
    job = web.standing(State.FAILED, **asking_for("x"))

    assert "Replay notification" not in visitor(web).reads(f"/jobs/{job.id}")
    assert visitor(web).send(f"/jobs/{job.id}/notify").status_code == 409


@pytest.mark.parametrize(
    ("decision", "state"),
    [
        ({"action": "fail"}, State.FAILED),
        ({"action": "adopt", "task_id": " task-9 "}, State.RUNNING),
        ({"action": "resubmit"}, State.QUEUED),
    ],
)
def test_an_unconfirmed_job_is_resolved_once_somebody_says_that_they_looked(
    web: Web, decision: dict[str, str], state: State
) -> None:
    job, person = web.standing(State.UNCONFIRMED), visitor(web)

    unlooked = person.send(f"/jobs/{job.id}/resolve", **decision)
    before = web.now(job.id)
    looked = person.send(f"/jobs/{job.id}/resolve", looked_up="yes", **decision)

    assert (unlooked.status_code, before) == (422, job)
    assert looked.status_code == 303
    assert web.now(job.id).state is state
    assert web.now(job.id).current.task_id == ("task-9" if state is State.RUNNING else None)


@pytest.mark.parametrize(
    "decision", [{}, {"action": "pay"}, {"action": "adopt"}, {"action": "adopt", "task_id": "a b"}]
)
def test_a_decision_that_is_none_changes_nothing(web: Web, decision: dict[str, str]) -> None:
    job = web.standing(State.UNCONFIRMED)

    assert visitor(web).send(f"/jobs/{job.id}/resolve", looked_up="yes", **decision).status_code == 422
    assert web.now(job.id) == job


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
