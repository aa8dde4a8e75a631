"""Kling in the sandbox: an id is taken once, several tasks in one query, a signed callback at each change."""

from __future__ import annotations

import json

import pytest
from gateway_client import DOCUMENTED
from patience import wait_until
from standardwebhooks import Webhook

SECRET = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="
TEXT = {
    "prompt": "a pier in the rain",
    "settings": {"duration": 5, "resolution": "720p", "audio": "off", "aspect_ratio": "9:16"},
    "options": {"external_task_id": "job_1-1", "watermark_info": {"enabled": False}},
}
FRAMES = {
    "contents": [
        {"type": "first_frame", "url": "https://example.com/a.png"},
        {"type": "last_frame", "url": "https://example.com/z.png"},
    ],
    "settings": {"duration": 3, "resolution": "1080p", "audio": "native"},
}
MOTION = DOCUMENTED["kling"]
PATHS = {"text": "text-to-video/kling-3.0", "image": "image-to-video/kling-3.0", "motion": "motion-control/kling-3.0"}


def post(client, operation, body):
    return client.call("POST", f"/kling/{PATHS.get(operation, operation)}", body)


def asked(client, **query):
    name, ids = next(iter(query.items()))
    reply = client.call("GET", f"/kling/tasks?{name}={','.join(ids)}")
    assert (reply.status, reply.json["code"]) == (200, 0)
    return {task["id"]: task for task in reply.json["data"]}


def test_a_task_is_found_by_its_id_and_by_ours(client):
    task = post(client, "text", TEXT).json["data"]

    assert (task["status"], task["external_id"]) == ("submitted", "job_1-1")
    assert asked(client, task_ids=[task["id"]]) == asked(client, external_task_ids=["job_1-1"])


def test_several_are_asked_about_in_one_query_and_who_is_unknown_is_left_out(client):
    first, second = (post(client, "image", FRAMES).json["data"]["id"] for _ in range(2))

    assert set(asked(client, task_ids=[second, "nobody", first])) == {first, second}
    assert asked(client, task_ids=["nobody"]) == {}
    assert client.shown("violations") == []


def test_a_key_finds_its_own_tasks_alone(client):
    task = post(client, "text", TEXT).json["data"]["id"]
    client.key = "sandbox-another"

    assert (asked(client, task_ids=[task]), asked(client, external_task_ids=["job_1-1"])) == ({}, {})
    assert post(client, "text", TEXT).status == 200


@pytest.mark.parametrize("prompt", [TEXT["prompt"], "another"])
def test_an_id_of_ours_is_taken_once(client, prompt):
    post(client, "text", TEXT)
    again = post(client, "text", {**TEXT, "prompt": prompt})

    assert (again.status in (400, 409), again.json["code"]) == (True, 1201)
    assert len(client.shown("bills")) == 1


def test_a_call_that_was_not_taken_leaves_its_id_free(client):
    client.fault("kling", "html_502")

    assert [post(client, "text", TEXT).status for _ in range(2)] == [502, 200]


@pytest.mark.parametrize(
    ("path", "body", "usd"),
    [
        ("text-to-video/kling-3.0", TEXT, "0.42"),
        ("image-to-video/kling-3.0", FRAMES, "0.504"),
        ("motion-control/kling-3.0", MOTION, "1.344"),
        ("motion-control/kling-2.6", MOTION, "0.896"),
    ],
)
def test_a_task_is_billed_in_cash_as_its_answer_says(client, path, body, usd):
    task = asked(client, task_ids=[post(client, path, body).json["data"]["id"]]).popitem()[1]
    (bill,) = client.shown("bills")

    assert float(bill["usd"]) == float(usd)
    assert task["billing"] == [{"charge_type": "cash", "amount": bill["usd"], "currency": "USD"}]
    assert isinstance(task["outputs"][0]["duration"], str)


def changed(body, **changes):
    return {**body, **changes}


BROKEN = [
    ("text", changed(TEXT, contents=[]), "contents"),
    ("text", {name: value for name, value in TEXT.items() if name != "prompt"}, "prompt"),
    ("text", changed(TEXT, negative_prompt="fog"), "negative_prompt"),
    ("text", changed(TEXT, callback_url="https://example.com"), "callback_url"),
    ("text", changed(TEXT, settings={**TEXT["settings"], "duration": "5"}), "duration"),
    ("text", changed(TEXT, settings={**TEXT["settings"], "duration": 2}), "duration"),
    ("text", changed(TEXT, settings={**TEXT["settings"], "audio": "original"}), "audio"),
    ("text", changed(TEXT, options={"external_id": "x"}), "external_id"),
    ("image", changed(FRAMES, prompt="a pier"), "prompt"),
    ("image", changed(FRAMES, settings={**FRAMES["settings"], "aspect_ratio": "1:1"}), "aspect_ratio"),
    ("image", changed(FRAMES, contents=FRAMES["contents"][1:]), "first_frame"),
    ("image", changed(FRAMES, contents=FRAMES["contents"][:1] * 2), "one entry"),
    ("image", changed(FRAMES, contents=[{"type": "image", "url": "https://example.com/a.png"}]), "first_frame"),
    ("image", changed(FRAMES, contents=[{"type": "first_frame", "text": "a"}]), "url"),
    ("motion", changed(MOTION, contents=MOTION["contents"][:2]), "video"),
    ("motion", changed(MOTION, settings={**MOTION["settings"], "resolution": "4k"}), "resolution"),
    ("motion", changed(MOTION, settings={**MOTION["settings"], "audio": True}), "audio"),
    ("motion", changed(MOTION, settings={"audio": "off"}), "character_orientation"),
]


@pytest.mark.parametrize(("operation", "body", "named"), BROKEN)
def test_a_body_is_taken_exactly_as_documented(client, operation, body, named):
    reply = post(client, operation, body)

    assert (reply.status, reply.json["code"]) == (400, 1201)
    assert named in reply.json["message"]
    assert (len(client.shown("violations")), client.shown("bills")) == (1, [])


@pytest.mark.parametrize("path", ["text-to-video/kling-2.6", "image-to-video/kling-2.6", "omni-video/kling-3.0-omni"])
def test_what_is_not_offered_does_not_exist(client, path):
    assert (post(client, path, TEXT).status, client.shown("bills")) == (404, [])


@pytest.mark.parametrize("query", ["", "task_ids=1&external_task_ids=2", "task_id=1", "task_ids=1&page=2"])
def test_a_query_names_tasks_in_one_of_two_ways(client, query):
    assert client.call("GET", f"/kling/tasks?{query}").status == 400


@pytest.mark.parametrize(
    ("fault", "options", "status", "code"),
    [
        ("rate_limited", {}, 429, 1302),
        ("rate_limited", {"code": "1303"}, 429, 1303),
        ("throttled", {"status": 429}, 429, 1303),
        ("no_balance", {}, 429, 1102),
        ("no_balance", {"code": "1100"}, 429, 1100),
        ("unauthorized", {}, 401, 1002),
        ("http_500", {}, 500, 5000),
        ("refuse_503", {}, 503, 5001),
    ],
)
def test_refusals_have_klings_codes(client, fault, options, status, code):
    client.fault("kling", fault, **options)
    reply = post(client, "text", TEXT)

    assert (reply.status, reply.json["code"]) == (status, code)
    assert client.shown("bills") == []


def test_a_task_may_show_late(client):
    client.fault("kling", "shows_late", seconds=0.3)
    task = post(client, "text", TEXT).json["data"]["id"]

    assert asked(client, external_task_ids=["job_1-1"]) == {}
    wait_until(lambda: task in asked(client, external_task_ids=["job_1-1"]), "the task")
    assert len(client.shown("bills")) == 1


def test_a_callback_comes_at_each_change_and_is_signed(open_sandbox, receiver):
    client = open_sandbox(task_s=0.4, webhook_secret=SECRET, callback_deliveries=1).client
    task = post(client, "text", changed(TEXT, options={"callback_url": receiver.url})).json["data"]["id"]
    wait_until(lambda: len(receiver.bodies) >= 3, "three callbacks")

    # Each tells how the task stands when it leaves, which on a slow machine is later than when it was due.
    callbacks = [(body["id"], body["status"], bool(body.get("outputs"))) for body in receiver.bodies]
    assert (task, "succeeded", True) in callbacks
    assert {status for _, status, _ in callbacks} <= {"submitted", "processing", "succeeded"}
    assert {shown["outcome"] for shown in client.shown("tasks")[0]["callbacks"]} == {"200"}
    for _, headers, body in list(receiver.requests):
        Webhook(SECRET).verify(json.dumps(body, ensure_ascii=False), headers)


def test_a_forged_callback_is_not_signed(open_sandbox, receiver):
    client = open_sandbox(webhook_secret=SECRET, callback_deliveries=1).client
    client.fault("kling", "forged_first")
    post(client, "text", changed(TEXT, options={"callback_url": receiver.url}))
    wait_until(lambda: len(receiver.bodies) >= 4, "four callbacks")

    forged = [
        headers for body, headers in zip(receiver.bodies, receiver.headers, strict=True) if body["status"] == "failed"
    ]
    assert [name for headers in forged for name in headers if name.lower().startswith("webhook")] == []
