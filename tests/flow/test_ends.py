"""What an end leaves behind: a manifest, a notice to the caller, a way to try again, and at last an empty ledger."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from itertools import pairwise

import pytest
from outsiders import Listener
from standardwebhooks import Webhook, WebhookVerificationError
from world import World, digest

from rushes.shared.domain.job import Job, State
from rushes.shared.intake.job_document import document
from rushes.shared.settings import SettingsError

SECRET = "whsec_" + base64.b64encode(b"a secret of at least 24 bytes").decode()
WEEK_S, DAY_S = 604_800, 86_400


# --- cancel


def test_a_queued_job_that_is_canceled_leaves_a_manifest(world: World) -> None:
    job_id = world.submit(world.text)
    answer = world.api("POST", f"/v1/jobs/{job_id}/cancel")
    job = world.finish(job_id)

    told = world.manifest(job)
    assert (answer.status_code, answer.json["status"]) == (200, "canceled")
    assert (told["job"], told["files"]) == (document(world.job(job_id)) | {"updated_at": told["job"]["updated_at"]}, [])
    assert world.bucket(job).keys() == {"manifest.json"}
    assert world.posts() == 0


def test_a_job_that_a_gateway_has_is_not_canceled(world: World) -> None:
    job = world.until(world.submit(world.text), State.RUNNING)
    answer = world.api("POST", f"/v1/jobs/{job.id}/cancel")

    assert (answer.status_code, answer.json["error"]["code"]) == (409, "not_cancelable")
    assert world.finish(job.id).state is State.COMPLETED


def test_a_cancel_that_comes_before_the_submit_is_written_down_saves_the_money(world: World) -> None:
    job_id = world.submit(world.text)
    with world.before(world.ledger, "begin_submits", lambda: world.api("POST", f"/v1/jobs/{job_id}/cancel")):
        world.exhaust()

    assert world.job(job_id).state is State.CANCELED
    assert (world.posts(), world.bills()) == (0, [])


def test_a_cancel_that_comes_after_the_submit_was_written_down_is_refused(world: World) -> None:
    job_id = world.submit(world.text)
    answers = []
    with world.before(
        world.http_client, "send", lambda: answers.append(world.api("POST", f"/v1/jobs/{job_id}/cancel").status_code)
    ):
        world.exhaust()

    assert answers == [409]
    assert world.finish(job_id).state is State.COMPLETED


# --- failed


def test_a_failed_job_leaves_a_manifest_that_says_why(world: World) -> None:
    world.fault("newapi", "fail_task")
    job = world.finish(world.submit(world.request_for("newapi")))

    told = world.manifest(job)
    assert (told["schema"], told["files"], told["job"]["status"]) == ("rushes.manifest/1", [], "failed")
    assert told["job"]["error"] == {
        "code": "provider_error",
        "message": "upstream generation failed",
        "provider": "newapi",
    }
    assert told["job"]["ended_at"] == document(job)["ended_at"]


# --- tell the caller


def notified(open_world: Callable[..., World], caller: Listener) -> tuple[World, Job]:
    """A completed job whose caller has not been told yet."""
    world = open_world(RUSHES_WEBHOOK_SECRETS=f"acme:{SECRET}")
    job_id = world.submit(world.text, callback_url=f"{caller.url}/heard", metadata={"order": "17"})
    world.until(job_id, State.COMPLETED)
    return world, world.job(job_id)


def test_the_caller_is_told_once_and_can_check_who_says_it(open_world: Callable[..., World], caller: Listener) -> None:
    world, job = notified(open_world, caller)
    world.finish(job.id)

    (letter,) = caller.letters
    told = Webhook(SECRET).verify(letter.body, letter.headers)
    assert (told["type"], told["data"]["id"], told["data"]["metadata"]) == ("job.completed", job.id, {"order": "17"})
    assert told["data"]["result"]["sha256"] == digest(job)
    assert letter.headers["webhook-id"] == f"msg_{job.id.removeprefix('job_')}"


@pytest.mark.parametrize(("end", "kind"), [("canceled", "job.canceled"), ("failed", "job.failed")])
def test_the_caller_is_told_of_other_ends_too(
    open_world: Callable[..., World], caller: Listener, end: str, kind: str
) -> None:
    world = open_world()
    world.fault("newapi", "fail_task", times=1 if end == "failed" else -1)
    job_id = world.submit(world.request_for("newapi"), callback_url=f"{caller.url}/heard")
    if end == "canceled":
        world.api("POST", f"/v1/jobs/{job_id}/cancel")
    job = world.finish(job_id)

    (letter,) = caller.letters
    assert (job.state.value, json.loads(letter.body)["type"]) == (end, kind)
    assert world.bucket(job).keys() == {"manifest.json"}


def test_a_caller_in_trouble_is_told_again_at_growing_pauses(
    open_world: Callable[..., World], caller: Listener
) -> None:
    caller.answers = [500] * 5
    world, job = notified(open_world, caller)
    world.finish(job.id)

    at = [int(letter.headers["webhook-timestamp"]) for letter in caller.letters]
    pauses = [later - earlier for earlier, later in pairwise(at)]
    assert len(caller.letters) == 6
    assert {letter.headers["webhook-id"] for letter in caller.letters} == {f"msg_{job.id.removeprefix('job_')}"}
    assert pauses == sorted(pauses)
    assert (pauses[0] < 20, pauses[-1] > 1000) == (True, True)
    Webhook(SECRET).verify(caller.letters[0].body, caller.letters[0].headers)


def test_a_caller_who_wants_no_more_is_left_alone(open_world: Callable[..., World], caller: Listener) -> None:
    caller.answers = [410]
    world, job = notified(open_world, caller)
    world.finish(job.id)
    world.advance(DAY_S)
    world.exhaust()

    assert len(caller.letters) == 1


def test_a_caller_who_never_answers_well_is_given_up_after_a_day(
    open_world: Callable[..., World], caller: Listener
) -> None:
    caller.answers = [500] * 1000
    world, job = notified(open_world, caller)
    ended = world.finish(job.id)

    at = [int(letter.headers["webhook-timestamp"]) for letter in caller.letters]
    assert DAY_S * 0.8 < at[-1] - at[0] < DAY_S * 1.2
    assert ended.state is State.COMPLETED


def test_a_worker_that_dies_while_it_tells_tells_again_under_the_same_id(
    open_world: Callable[..., World], caller: Listener
) -> None:
    world, job = notified(open_world, caller)
    with world.after(world.http_client, "send", world.die):
        world.step()
    world.finish(job.id)

    assert [letter.headers["webhook-id"] for letter in caller.letters] == [f"msg_{job.id.removeprefix('job_')}"] * 2


def test_a_notice_that_breaks_a_step_of_ours_is_put_off(open_world: Callable[..., World], caller: Listener) -> None:
    world, job = notified(open_world, caller)
    with world.before(world.http_client, "send", lambda: 1 / 0):
        world.step()
    put_off = world.job(job.id)
    world.finish(job.id)

    assert (put_off.setbacks, len(caller.letters)) == (1, 1)


def test_every_try_to_tell_is_shown_and_the_caller_is_told_again_by_hand(
    open_world: Callable[..., World], caller: Listener
) -> None:
    caller.answers = [500, 410]
    world, job = notified(open_world, caller)
    world.finish(job.id)
    answer = world.api("POST", f"/v1/jobs/{job.id}/notify")
    world.finish(job.id)

    lines = world.api("GET", f"/v1/jobs/{job.id}/history").json["data"]
    told = [(line["what"], (line["detail"] or "").partition(" at ")[0]) for line in lines if "noti" in line["what"]]
    assert (answer.status_code, answer.json["id"]) == (202, job.id)
    assert told == [
        ("notice failed", "HTTP 500, next try"),
        ("notice failed", "HTTP 410; given up"),
        ("to be notified again", ""),
        ("notified", ""),
    ]
    assert len({letter.headers["webhook-id"] for letter in caller.letters}) == 1
    Webhook(SECRET).verify(caller.letters[-1].body, caller.letters[-1].headers)


def test_a_notice_that_was_tampered_with_does_not_verify(open_world: Callable[..., World], caller: Listener) -> None:
    world, job = notified(open_world, caller)
    world.finish(job.id)
    (letter,) = caller.letters
    late = {**letter.headers, "webhook-timestamp": str(int(letter.headers["webhook-timestamp"]) + 1)}

    Webhook(SECRET).verify(letter.body, letter.headers)
    for body, headers in [
        (letter.body.replace(b"completed", b"failed", 1), letter.headers),
        (letter.body, late),
        (letter.body, {**letter.headers, "webhook-id": "msg_other"}),
    ]:
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(body, headers)


def test_a_job_that_has_not_ended_or_names_nobody_is_not_told_of(world: World, caller: Listener) -> None:
    running = world.until(world.submit(world.text, callback_url=f"{caller.url}/heard"), State.RUNNING)
    early = world.api("POST", f"/v1/jobs/{running.id}/notify")
    quiet = world.finish(world.submit(world.text))
    nobody = world.api("POST", f"/v1/jobs/{quiet.id}/notify")
    foreign = world.api("POST", f"/v1/jobs/{quiet.id}/notify", key="rival-key")

    assert (early.status_code, early.json["error"]["code"]) == (409, "not_ended")
    assert (nobody.status_code, nobody.json["error"]["code"]) == (409, "no_callback_url")
    assert foreign.status_code == 404
    assert {letter.headers["webhook-id"] for letter in caller.letters} <= {f"msg_{running.id.removeprefix('job_')}"}


def test_a_secret_that_signs_nothing_is_found_at_the_start(open_world: Callable[..., World]) -> None:
    with pytest.raises(SettingsError, match="RUSHES_WEBHOOK_SECRETS"):
        open_world(RUSHES_WEBHOOK_SECRETS="acme:whsec_not base64!")


# --- leave


def test_after_its_retention_a_job_leaves_redis_and_stays_in_s3(world: World) -> None:
    job = world.finish(world.submit(world.text))
    stored = world.bucket(job)
    world.advance(WEEK_S - 60)
    world.exhaust()
    shown = world.api("GET", f"/v1/jobs/{job.id}").status_code
    world.advance(120)
    world.exhaust()

    assert shown == 200
    assert world.api("GET", f"/v1/jobs/{job.id}").status_code == 404
    assert not [key for key in world.redis.scan_iter("*") if job.id in key or job.id in held(world, key)]
    assert world.bucket(job) == stored


def held(world: World, key: str) -> str:
    """What stands under a key, as far as job ids may stand there."""
    kind = world.redis.type(key)
    if kind == "zset":
        return str(world.redis.zrange(key, 0, -1))
    return str(world.redis.hgetall(key)) if kind == "hash" else ""


# --- try again


def timed_out(open_world: Callable[..., World]) -> tuple[World, Job]:
    """A job that we stopped waiting for, and that its gateway has finished."""
    world = open_world(RUSHES_JOB_TIMEOUT_S="600")
    world.fault("newapi", "unknown_status", times=-1)
    failed = world.finish(world.submit(world.request_for("newapi"), metadata={"order": "17"}))
    world.mend()
    return world, failed


def test_the_retry_of_a_timed_out_job_adopts_its_task_and_pays_nothing(open_world: Callable[..., World]) -> None:
    world, failed = timed_out(open_world)
    answer = world.api("POST", f"/v1/jobs/{failed.id}/retry")
    job = world.finish(answer.json["id"])

    assert (answer.status_code, answer.json["retry_of"], answer.json["status"]) == (202, failed.id, "running")
    assert answer.headers["Location"] == f"/v1/jobs/{job.id}"
    assert (job.state, job.current.task_id) == (State.COMPLETED, failed.current.task_id)
    assert (world.posts(), len(world.bills())) == (1, 1)
    assert world.manifest(job)["job"]["cost_usd"] == "0"
    assert world.job(failed.id) == failed


def test_a_retry_that_cannot_learn_whether_the_task_stands_pays_nothing(open_world: Callable[..., World]) -> None:
    world, failed = timed_out(open_world)
    world.fault("newapi", "http_500", stage="query")
    answer = world.api("POST", f"/v1/jobs/{failed.id}/retry")
    again = world.api("POST", f"/v1/jobs/{failed.id}/retry")

    assert (answer.status_code, answer.json["error"]["code"]) == (503, "unavailable")
    assert world.finish(again.json["id"]).current.task_id == failed.current.task_id
    assert (world.posts(), len(world.bills())) == (1, 1)


def test_the_retry_of_a_failed_task_is_a_new_paid_one(world: World) -> None:
    world.fault("newapi", "fail_task")
    failed = world.finish(world.submit(world.request_for("newapi")))
    job = world.finish(world.api("POST", f"/v1/jobs/{failed.id}/retry").json["id"])

    assert (job.state, job.retry_of) == (State.COMPLETED, failed.id)
    assert len(world.bills()) == 2


def test_a_retry_under_a_key_is_one_new_job_and_without_one_each_is_new(world: World) -> None:
    world.ledger.continuity.set_mark(world.ledger.continuity.server(), world.clock())  # as a scheduler does
    world.fault("newapi", "fail_task")
    failed = world.finish(world.submit(world.request_for("newapi")))
    other = world.submit(world.text)
    path = f"/v1/jobs/{failed.id}/retry"
    first = world.api("POST", path, Idempotency_Key="again-1")
    second = world.api("POST", path, Idempotency_Key="again-1")
    clash = world.api("POST", "/v1/jobs", world.text, Idempotency_Key="again-1")
    others = world.api("POST", f"/v1/jobs/{other}/retry", Idempotency_Key="again-1")
    unkeyed = [world.api("POST", path).json["id"] for _ in range(2)]

    assert (first.status_code, second.status_code) == (202, 200)
    assert (second.json["id"], second.headers["Idempotent-Replayed"]) == (first.json["id"], "true")
    assert [(one.status_code, one.json["error"]["code"]) for one in (clash, others)] == [
        (409, "idempotency_conflict")
    ] * 2
    assert len({first.json["id"], *unkeyed}) == 3


def test_the_retry_of_an_expired_clip_does_not_adopt_the_dead_task_again(world: World) -> None:
    world.http_client.retouch = lambda body: re.sub(rb'/files/[^"]+', b"/files/gone", body)
    job = world.until(world.submit(world.request_for("evolink")), State.ARCHIVING)
    world.advance(1.1 * DAY_S)
    failed = world.finish(job.id)
    world.http_client.retouch = bytes
    again = world.finish(world.api("POST", f"/v1/jobs/{failed.id}/retry").json["id"])

    assert failed.error is not None
    assert (failed.error.code, again.state) == ("result_expired", State.COMPLETED)
    assert again.current.task_id != failed.current.task_id


def test_only_a_failed_job_is_tried_again(world: World) -> None:
    job = world.finish(world.submit(world.text))
    answer = world.api("POST", f"/v1/jobs/{job.id}/retry")

    assert (answer.status_code, answer.json["error"]["code"]) == (409, "not_retryable")
