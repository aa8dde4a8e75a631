"""Several accounts of a gateway: who takes a submit, and that everything after it goes through the same one."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from account_steps import account_key, continued, fault, submitted_by
from world import World, why

from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import AttemptStatus, State
from rushes.shared.operations import balances, recovery
from rushes.shared.operations.accounts import MissingAccount, missing_accounts
from rushes.worker import steps

Open = Callable[..., World]


def accounts(world: World, job_id: str) -> list[tuple[str, str]]:
    return [(attempt.account, attempt.status.value) for attempt in world.job(job_id).attempts]


def shown(world: World, gateway: str) -> dict[str, Any]:
    documents = world.api("GET", "/v1/gateways").json["data"]
    found: dict[str, Any] = next(each for each in documents if each["name"] == gateway)
    return found


def account(world: World, gateway: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in shown(world, gateway)["accounts"] if each["name"] == name)
    return found


# --- who takes a submit


def test_accounts_take_turns_and_each_is_asked_for_its_own(opened: Open) -> None:
    world = opened("apimart", "a", "b")
    jobs = [world.submit(world.request_for("apimart")) for _ in range(4)]
    ended = [world.finish(job_id) for job_id in jobs]

    assert [job.state for job in ended] == [State.COMPLETED] * 4
    assert sorted(submitted_by(world, "apimart")) == ["a", "a", "b", "b"]
    documents = [world.api("GET", f"/v1/jobs/{job_id}").json for job_id in jobs]
    assert {each["attempts"][0]["account"] for each in documents} == {"a", "b"}
    assert world.key not in world.api("GET", "/v1/gateways").text
    assert world.manifest(ended[0])["job"]["attempts"][0]["account"] in ("a", "b")


def test_a_batch_of_jobs_is_spread_over_the_accounts(opened: Open) -> None:
    world = opened("newapi", "a", "b", "c")
    for _ in range(6):
        world.submit(world.request_for("newapi"))
    steps_of_one_batch(world)

    assert sorted(submitted_by(world, "newapi")) == ["a", "a", "b", "b", "c", "c"]


def steps_of_one_batch(world: World) -> None:
    steps.run(world.claim(), world.services)


def test_the_caps_are_of_each_account(opened: Open) -> None:
    world = opened("newapi", "a", "b", NEWAPI_MAX_IN_FLIGHT="1")
    jobs = [world.submit(world.request_for("newapi")) for _ in range(3)]
    steps_of_one_batch(world)
    world.exhaust()

    assert sorted(world.job(job_id).state.value for job_id in jobs) == ["queued", "running", "running"]
    assert sorted(submitted_by(world, "newapi")) == ["a", "b"]
    gateway = shown(world, "newapi")
    assert (gateway["in_flight"], gateway["max_in_flight"], gateway["submits_left_this_minute"]) == (2, 2, 118)
    world.run_until(lambda: all(world.job(job_id).state is State.COMPLETED for job_id in jobs))


def test_a_drained_account_takes_nothing_new_and_ends_what_it_has(opened: Open) -> None:
    before = opened("newapi", "a", "b")
    job_id = before.submit(before.request_for("newapi"))
    before.exhaust()
    assert submitted_by(before, "newapi") == ["a"]

    world = opened("newapi", "a:drain", "b", after=before)
    others = [world.submit(world.request_for("newapi")) for _ in range(2)]
    assert account(world, "newapi", "a")["jobs"] == 1
    assert [world.finish(each).state for each in (job_id, *others)] == [State.COMPLETED] * 3
    assert submitted_by(world, "newapi") == ["a", "b", "b"]
    assert (account(world, "newapi", "a")["state"], account(world, "newapi", "a")["jobs"]) == ("drain", 0)


def test_a_gateway_whose_accounts_are_all_to_go_takes_no_new_job(opened: Open) -> None:
    before = opened("newapi", "a")
    running, waiting = (before.submit(before.text, provider=["newapi", "apimodels"]) for _ in range(2))
    before.perform([ticket for ticket in before.claim() if ticket.job_id == running])

    world = opened("newapi", "a:drain", after=before)
    answer = world.api("POST", "/v1/jobs", world.request_for("newapi"))
    assert (answer.status_code, answer.json["error"]["code"]) == (422, "no_provider")
    assert "each of its accounts is to go" in answer.text
    assert [world.finish(each).provider for each in (running, waiting)] == ["newapi", "apimodels"]


# --- refusals


@pytest.mark.parametrize(
    ("what", "reason"),
    [("no_balance", "insufficient_balance"), ("unauthorized", "key_rejected"), ("rate_limited", "rate_limited")],
)
def test_a_refusal_of_an_account_pauses_it_and_the_job_goes_through_the_next(
    opened: Open, what: str, reason: str
) -> None:
    world = opened("newapi", "a", "b")
    fault(world, "newapi", "a", what, stage="submit", times=-1)
    jobs = [world.submit(world.request_for("newapi")) for _ in range(3)]
    ended = [world.finish(job_id) for job_id in jobs]

    assert [job.state for job in ended] == [State.COMPLETED] * 3
    assert accounts(world, jobs[0])[0] == ("a", "rejected")
    assert submitted_by(world, "newapi") == ["b", "b", "b"]
    health = world.ledger.gateways.health("newapi", "a")
    assert health["why"] == reason
    assert shown(world, "newapi")["paused_until"] is None
    assert world.ledger.gateways.paused_until("newapi", "b") == 0


def test_a_dearer_gateway_is_asked_only_when_every_account_has_refused(opened: Open) -> None:
    world = opened("apimodels", "a", "b")
    fault(world, "apimodels", "a", "no_balance", stage="submit", times=-1)
    first = world.finish(world.submit(world.text, provider=["apimodels", "newapi"]))
    fault(world, "apimodels", "b", "no_balance", stage="submit", times=-1)
    second = world.finish(world.submit(world.text, provider=["apimodels", "newapi"]))

    assert [(each.provider, each.account) for each in first.attempts] == [("apimodels", "a"), ("apimodels", "b")]
    assert [(each.provider, each.account) for each in second.attempts] == [("apimodels", "b"), ("newapi", "default")]


def test_a_gateway_is_paused_when_all_its_accounts_are_and_resumed_with_them(opened: Open) -> None:
    world = opened("newapi", "a", "b")
    for name in ("a", "b"):
        fault(world, "newapi", name, "no_balance", stage="submit", times=-1)
    job_id = world.submit(world.request_for("newapi"))
    world.run_until(lambda: shown(world, "newapi")["paused_until"] is not None)

    assert [account(world, "newapi", name)["why"] for name in ("a", "b")] == ["insufficient_balance"] * 2
    assert {name for name, _ in accounts(world, job_id)} == {"a", "b"}
    text = world.api("GET", "/metrics").text
    assert 'rushes_gateway_paused{gateway="newapi",why="insufficient_balance"} 1.0' in text
    assert 'rushes_account_paused{account="b",gateway="newapi",why="insufficient_balance"} 1.0' in text
    world.mend()
    resumed = world.api("POST", "/v1/gateways/newapi/resume", key="admin-key").json
    assert [each["paused_until"] for each in resumed["accounts"]] == [None, None]
    assert world.finish(job_id).state is State.COMPLETED


def test_one_job_shows_whether_an_account_is_well_again(opened: Open) -> None:
    world = opened("newapi", "a", "b")
    fault(world, "newapi", "a", "no_balance", stage="submit", times=2)
    world.finish(world.submit(world.request_for("newapi")))
    world.advance(40)
    for _ in range(4):
        world.submit(world.request_for("newapi"))
    steps_of_one_batch(world)

    attempts = [attempt for job in world.ledger.overview.newest(None, 9) for attempt in job.attempts]
    refused = [attempt for attempt in attempts if attempt.status is AttemptStatus.REJECTED]
    assert [attempt.account for attempt in refused] == ["a", "a"]  # the first, and one after the pause


def test_a_top_up_ends_the_pause_of_its_account(opened: Open) -> None:
    world = opened("apimart", "a", "b")
    fault(world, "apimart", "a", "no_balance", stage="submit")
    world.finish(world.submit(world.request_for("apimart")))
    balance = {"gateway": "apimart", "api_key": account_key(world, "a"), "usd": "12.5"}
    world.control("POST", "/balances", balance)
    asked = balances.ask_due(world.services)

    assert {"apimart/a", "apimart/b"} < set(asked)
    assert world.ledger.gateways.paused_until("apimart", "a") == 0
    assert account(world, "apimart", "a")["balance"]["usd"] == "12.5"
    assert account(world, "apimart", "b")["balance"]["usd"] != "12.5"


def test_days_left_are_told_by_what_the_account_itself_spent(opened: Open) -> None:
    world = opened("apimart", "a", "b").begin_a_day()
    jobs = [world.finish(world.submit(world.request_for("apimart"))) for _ in range(2)]
    assert {job.current.account for job in jobs} == {"a", "b"}
    for name, usd in (("a", "1"), ("b", "1000")):
        world.control("POST", "/balances", {"gateway": "apimart", "api_key": account_key(world, name), "usd": usd})
    balances.ask_due(world.services)

    days = [account(world, "apimart", name)["balance"]["days_left"] for name in ("a", "b")]
    assert days[0] * 900 < days[1]
    assert shown(world, "apimart")["balance"]["usd"] == "1"  # of several the one that ends first


# --- lost answers

IDEMPOTENT, HELD, ASKED = "apimart", "newapi", "kling"


@pytest.mark.parametrize("gateway", [IDEMPOTENT, ASKED])
def test_a_lost_answer_is_settled_through_its_own_account(opened: Open, gateway: str) -> None:
    """The other one would not know the id, and make the clip a second time."""
    world = opened(gateway, "a", "b")
    fault(world, gateway, "a", "answer_lost", stage="submit")
    job_id = world.submit(world.request_for(gateway))
    world.exhaust()
    drained = opened(gateway, "b", "a:drain", after=world)

    assert drained.finish(job_id).state is State.COMPLETED
    assert submitted_by(drained, gateway) == ["a"]
    assert accounts(drained, job_id) == [("a", "completed")]


def test_what_was_surely_not_taken_is_sent_again_through_its_own_account(opened: Open) -> None:
    world = opened("kling", "a", "b")
    fault(world, "kling", "a", "answer_lost", stage="submit", accepted=False)
    job_id = world.submit(world.request_for("kling"))

    assert world.finish(job_id).state is State.COMPLETED
    assert submitted_by(world, "kling") == ["a"]
    assert world.job(job_id).current.resent_at


@pytest.mark.parametrize("gateway", [IDEMPOTENT, HELD, ASKED])
def test_a_lost_answer_of_a_missing_account_waits_and_is_never_sent_through_another(opened: Open, gateway: str) -> None:
    before = opened(gateway, "a", "b", RUSHES_UNCONFIRMED="resubmit")
    fault(before, gateway, "a", "answer_lost", stage="submit", accepted=False, times=-1)
    job_id = before.submit(before.request_for(gateway))
    before.step()
    assert before.job(job_id).state is State.UNCONFIRMED

    world = opened(gateway, "b", after=before, RUSHES_UNCONFIRMED="resubmit")
    world.mend()
    sent = len(world.http_client.sent)
    for _ in range(20):
        world.advance(3600)
        world.exhaust()
    assert (world.job(job_id).state, world.posts(), len(world.http_client.sent)) == (State.UNCONFIRMED, 0, sent)
    back = opened(gateway, "b", "a:drain", after=before, RUSHES_UNCONFIRMED="resubmit")
    if gateway != HELD:
        back.run_until(lambda: back.job(job_id).ended)
    assert set(submitted_by(back, gateway)) <= {"a"}


@pytest.mark.parametrize("by", ["policy", "operator"])
def test_a_submit_that_is_sent_anew_by_decision_stays_with_its_account(opened: Open, by: str) -> None:
    settings = {"RUSHES_UNCONFIRMED": "resubmit"} if by == "policy" else {}
    world = opened("newapi", "a", "b", "c", **settings)
    fault(world, "newapi", "a", "answer_lost", stage="submit", accepted=False)
    job_id = world.submit(world.request_for("newapi"))
    world.exhaust()
    if by == "operator":
        assert world.api("POST", f"/v1/jobs/{job_id}/resolve", {"action": "resubmit"}).status_code == 200
    world.ledger.gateways.strike("newapi", Reason.RATE, 900, world.clock(), "a")

    assert world.finish(job_id).state is State.COMPLETED
    assert accounts(world, job_id) == [("a", "unconfirmed"), ("a", "completed")]
    assert submitted_by(world, "newapi") == ["a"]


# --- an account that is taken out of the settings


def test_a_job_of_a_missing_account_waits_is_named_and_goes_on_when_it_is_back(opened: Open) -> None:
    before = opened("newapi", "a", "b")
    job_id = before.submit(before.request_for("newapi"))
    before.exhaust()

    world = opened("newapi", "b", after=before)
    world.advance(7 * 86_400)
    world.exhaust()
    assert (world.job(job_id).state, world.http_client.sent) == (State.RUNNING, [])
    assert missing_accounts(world.ledger, world.services.settings.gateways) == [MissingAccount("newapi", "a", 1)]
    named = account(world, "newapi", "a")
    assert (named["state"], named["jobs"], named["in_flight"]) == ("missing", 1, 1)
    assert "add a:<its key> to NEWAPI_API_KEYS" in named["advice"]
    assert 'rushes_account_missing_jobs{account="a",gateway="newapi"} 1.0' in world.api("GET", "/metrics").text

    back = opened("newapi", "b", "a:drain", after=before)
    assert back.finish(job_id).state is State.COMPLETED
    assert missing_accounts(back.ledger, back.services.settings.gateways) == []


def test_a_finished_clip_is_fetched_by_its_link_without_an_account(opened: Open) -> None:
    """The link needs no key, and it expires."""
    before = opened("apimart", "a")
    job_id = before.submit(before.request_for("apimart"))
    before.until(job_id, State.ARCHIVING)

    world = opened("apimart", "b", after=before)
    assert world.finish(job_id).state is State.COMPLETED


def test_a_dead_link_of_a_missing_account_waits_for_it(opened: Open) -> None:
    before = opened("newapi", "a")
    before.fault("newapi", "expired_link")
    job_id = before.submit(before.request_for("newapi"))
    before.until(job_id, State.ARCHIVING)

    world = opened("newapi", "b", after=before)
    world.advance(43_200)
    world.exhaust()
    assert world.job(job_id).state is State.ARCHIVING
    back = opened("newapi", "a", after=before)
    assert back.until(job_id, State.COMPLETED, State.FAILED).error is None


def test_a_gateway_that_is_switched_off_keeps_its_jobs_waiting(open_world: Open) -> None:
    before = open_world()
    job_id = before.submit(before.request_for("newapi"))
    before.exhaust()

    world = continued(open_world(NEWAPI_API_KEY=""), before)
    world.advance(86_400)
    world.exhaust()
    assert (world.job(job_id).state, world.http_client.sent) == (State.RUNNING, [])
    assert missing_accounts(world.ledger, world.services.settings.gateways) == [MissingAccount("newapi", "default", 1)]


def test_jobs_of_a_single_key_go_on_when_it_becomes_one_of_several(open_world: Open) -> None:
    before = open_world()
    job_id = before.submit(before.request_for("newapi"))
    before.exhaust()

    key = before.key
    world = continued(open_world(NEWAPI_API_KEY="", NEWAPI_API_KEYS=f"default:{key},b:{key}-b"), before)
    other = world.submit(world.request_for("newapi"))
    assert [world.finish(each).state for each in (job_id, other)] == [State.COMPLETED] * 2
    assert [world.job(each).current.account for each in (job_id, other)] == ["default", "b"]


def test_a_job_that_redis_has_lost_comes_back_with_its_account(opened: Open) -> None:
    world = opened("newapi", "a", "b", RUSHES_S3_PREFIX=f"{uuid.uuid4().hex}/")  # the bucket is everybody's
    fault(world, "newapi", "a", "no_balance", stage="submit")
    job_id = world.submit(world.request_for("newapi"))
    world.exhaust()
    world.services.journal.flush()
    world.redis.flushdb()
    recovery.recover(world.services)

    assert world.job(job_id).current.account == "b"
    assert world.finish(job_id).state is State.COMPLETED


# --- decisions of people


def test_a_retry_adopts_through_the_account_that_submitted(opened: Open) -> None:
    world = opened("newapi", "a", "b", RUSHES_JOB_TIMEOUT_S="60")
    world.fault("newapi", "unknown_status", times=-1)
    job_id = world.submit(world.request_for("newapi"))
    assert why(world.finish(job_id)) == "timed_out"
    world.mend()
    missing = opened("newapi", "b", after=world)
    refused = missing.api("POST", f"/v1/jobs/{job_id}/retry")
    assert (refused.status_code, "account a of newapi is missing" in refused.text) == (503, True)

    retried = world.api("POST", f"/v1/jobs/{job_id}/retry").json["id"]
    assert world.finish(retried).state is State.COMPLETED
    assert accounts(world, retried) == [("a", "completed")]
    assert submitted_by(world, "newapi") == ["a"]


def test_a_task_that_an_operator_adopts_is_asked_for_through_its_account(opened: Open) -> None:
    world = opened("newapi", "a", "b")
    fault(world, "newapi", "a", "answer_lost", stage="submit")
    job_id = world.submit(world.request_for("newapi"))
    world.exhaust()
    (task,) = world.tasks("newapi")
    adopted = world.api("POST", f"/v1/jobs/{job_id}/resolve", {"action": "adopt", "task_id": task["id"]})

    assert adopted.status_code == 200
    assert world.finish(job_id).state is State.COMPLETED
    assert accounts(world, job_id) == [("a", "completed")]


def test_several_tasks_in_one_query_are_of_one_account(opened: Open) -> None:
    """A gateway that is asked for another account's task records a broken rule, which the world's audit finds."""
    world = opened("kling", "a", "b")
    jobs = [world.submit(world.request_for("kling")) for _ in range(4)]
    steps_of_one_batch(world)
    world.await_gateways()
    world.advance(60)
    steps_of_one_batch(world)
    queries = [request.url for request in world.http_client.sent if "task_ids=" in request.url]
    assert [url.count(",") + url.count("%2C") for url in queries] == [1, 1]
    world.run_until(lambda: all(world.job(job_id).state is State.COMPLETED for job_id in jobs))
    assert sorted(submitted_by(world, "kling")) == ["a", "a", "b", "b"]
