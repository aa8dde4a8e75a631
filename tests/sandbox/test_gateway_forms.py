"""Each gateway answers in the forms its document shows."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from gateway_client import DOCUMENTED, GATEWAYS

HALF = 30.0


@pytest.fixture
def halfway(open_sandbox):
    """halfway(gateway): what a query answers in the middle of a task of a minute."""
    running = open_sandbox(task_s=2 * HALF)

    def ask(gateway, after_s=HALF):
        model = running.sandbox.gateways[gateway]
        task = running.sandbox.context.billing.task(gateway, running.client.submitted(gateway))
        return task.id, model.query_body(task, model.status(task, task.accepted_at + after_s))

    return ask


def failed(client, gateway, **options):
    client.fault(gateway, "fail_task", **options)
    task = client.submitted(gateway)
    return task, client.query(gateway, task).json


@pytest.mark.parametrize("gateway", ["apimart", "apimaster"])
def test_the_apimart_kind_accepts_with_a_list_of_one(client, gateway):
    answer = client.submit(gateway).json

    assert answer == {"code": 200, "data": [{"status": "submitted", "task_id": answer["data"][0]["task_id"]}]}
    assert answer["data"][0]["task_id"].startswith("task_")


def test_apimodels_accepts_as_pending(client):
    answer = client.submit("apimodels").json

    assert answer == {
        "code": 200,
        "msg": "success",
        "data": {"taskId": answer["data"]["taskId"], "state": "pending", "model": "kling-video/kling-v2-6"},
    }


def test_evolink_accepts_with_its_task_object(client):
    answer = client.submit("evolink").json

    assert re.fullmatch(r"task-unified-\d{10}-[a-z0-9]{8}", answer["id"])
    assert answer == {
        "id": answer["id"],
        "created": answer["created"],
        "model": "kling-v3-motion-control",
        "object": "video.generation.task",
        "progress": 0,
        "status": "pending",
        "type": "video",
        "task_info": {"can_cancel": True, "estimated_time": 0, "video_duration": 8},
        "usage": {"billing_rule": "per_second", "credits_reserved": 653184, "user_group": "default"},
    }


def test_newapi_accepts_with_both_names_of_the_id(client):
    answer = client.submit("newapi").json

    assert re.fullmatch(r"task_\w{32}", answer["id"])
    assert answer == {
        "id": answer["id"],
        "task_id": answer["id"],
        "object": "video",
        "model": "kling-v3-std-silent",
        "status": "queued",
        "progress": 0,
        "created_at": answer["created_at"],
    }


def test_apimart_tells_of_a_running_task_in_its_envelope(halfway):
    task, answer = halfway("apimart")

    assert answer["code"] == 200
    assert answer["data"].items() >= {"id": task, "status": "processing", "progress": 50}.items()
    assert "result" not in answer["data"]


def test_apimaster_tells_progress_as_a_string_and_nothing_of_it_while_queued(halfway):
    task, running = halfway("apimaster")
    _, queued = halfway("apimaster", after_s=0)

    model = "kling-v3-motion-control"
    assert running == {"id": task, "object": "video", "model": model, "status": "in_progress", "progress": "50%"}
    assert queued["status"] == "queued"
    assert "progress" not in queued


def test_apimodels_tells_no_progress_at_all(halfway):
    task, answer = halfway("apimodels")

    assert answer["data"] == {"taskId": task, "state": "processing", "model": "kling-video/kling-v2-6"}


def test_evolink_tells_progress_as_a_number(halfway):
    task, answer = halfway("evolink")

    assert answer.items() >= {"id": task, "status": "processing", "progress": 50, "type": "video"}.items()
    assert "results" not in answer


def test_newapi_tells_of_a_running_task_in_capitals(halfway):
    _, answer = halfway("newapi")

    assert answer["code"] == "success"
    assert answer["data"].items() >= {"status": "IN_PROGRESS", "progress": "50%", "result_url": ""}.items()


def test_apimart_ends_with_a_list_of_addresses_and_their_end(client):
    data = client.query("apimart", client.submitted("apimart")).json["data"]

    assert (data["status"], data["progress"]) == ("completed", 100)
    assert data["result"]["videos"][0]["url"][0].startswith(f"{client.url}/files/apimart/")
    assert data["result"]["videos"][0]["expires_at"] - data["completed"] in range(86399, 86403)
    assert data["cost"] == float(client.shown("bills")[0]["usd"])


def test_apimaster_ends_with_an_address_of_its_own(client):
    task = client.submitted("apimaster")

    assert client.query("apimaster", task).json == {
        "id": task,
        "object": "video",
        "model": "kling-v3-motion-control",
        "status": "completed",
        "progress": "100%",
        "url": f"{client.url}/apimaster/v1/videos/{task}/content",
    }


def test_apimodels_ends_with_times_in_milliseconds(client):
    data = client.query("apimodels", client.submitted("apimodels")).json["data"]

    assert data["state"] == "completed"
    assert len(data["resultUrls"]) == 1
    assert data["completeTime"] >= data["createTime"] > 1e12


def test_evolink_ends_with_plain_addresses(client):
    answer = client.query("evolink", client.submitted("evolink")).json

    assert (answer["status"], answer["progress"], answer["task_info"]) == ("completed", 100, {"can_cancel": False})
    assert answer["results"][0].startswith(f"{client.url}/files/evolink/")


def test_newapi_ends_with_a_result_url(client):
    data = client.query("newapi", client.submitted("newapi")).json["data"]

    assert (data["status"], data["progress"], data["fail_reason"]) == ("SUCCESS", "100%", "")
    assert data["result_url"].startswith(f"{client.url}/files/newapi/")


def test_apimart_fails_inside_a_successful_envelope(client):
    _, answer = failed(client, "apimart")

    assert answer["code"] == 200
    assert answer["data"]["status"] == "failed"
    assert answer["data"]["error"] == {"code": 500, "message": "video generation failed", "type": "task_error"}


def test_apimaster_hands_no_reason_on(client):
    task, answer = failed(client, "apimaster", policy=True)

    assert answer == {
        "id": task,
        "object": "video",
        "model": "kling-v3-motion-control",
        "status": "failed",
        "progress": "100%",
        "error": {"code": "task_failed", "message": "Video generation failed"},
    }


def test_apimodels_fails_with_a_message(client):
    _, answer = failed(client, "apimodels", policy=True)

    assert answer["data"].items() >= {"state": "failed", "failMsg": "Content policy violation"}.items()


def test_evolink_fails_with_a_code_from_its_list(client):
    _, answer = failed(client, "evolink", policy=True)

    assert (answer["status"], answer["error"]["code"]) == ("failed", "content_policy_violation")


def test_newapi_puts_the_failure_where_the_address_would_be(client):
    _, answer = failed(client, "newapi", message="upstream is tired")

    assert answer["data"]["status"] == "FAILURE"
    assert answer["data"]["result_url"] == answer["data"]["fail_reason"] == "upstream is tired"


UNAUTHORIZED = {
    "apimart": {"error": {"code": 401, "message": "invalid API key", "type": "authentication_error"}},
    "evolink": {"error": {"code": 401, "message": "invalid API key", "type": "authentication_error"}},
    "apimodels": {"code": 401, "msg": "invalid API key"},
    "kling": {"code": 1002, "message": "invalid API key"},
}


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_wrong_key_is_refused_in_the_gateways_own_form(client, gateway):
    client.key = "sk-real"
    reply = client.submit(gateway)

    assert reply.status == 401
    if gateway in UNAUTHORIZED:
        assert UNAUTHORIZED[gateway].items() <= reply.json.items()
    else:
        assert reply.json["error"]["type"] == "new_api_error"
    assert client.shown("bills") == []


@pytest.mark.parametrize(
    ("gateway", "status"), [("apimart", 404), ("apimaster", 400), ("apimodels", 404), ("evolink", 404), ("newapi", 400)]
)
def test_an_unknown_task_has_the_gateways_own_status(client, gateway, status):
    reply = client.query(gateway, "task_nobody")

    assert reply.status == status
    if status == 400:
        assert reply.json == {"code": "task_not_exist", "message": "task_not_exist", "data": None}


def test_a_task_is_shown_to_the_key_that_made_it_only(client):
    task = client.submitted("apimart")
    client.key = "sandbox-other"

    assert client.query("apimart", task).status == 404


def test_a_set_key_is_the_only_one(open_sandbox):
    client = open_sandbox(keys=("the-key",)).client

    assert client.submit("apimart").status == 401
    client.key = "the-key"
    assert client.submit("apimart").status == 200


PRICES = [
    ("apimaster", {}, "0.82304"),
    ("apimaster", {"mode": "pro"}, "1.09696"),
    ("evolink", {}, "0.9072"),
    ("evolink", {"quality": "1080p"}, "1.2096"),
    ("apimodels", {}, "0.0159"),
    ("apimodels", {"mode": "pro", "duration": "10", "sound": "on", "voice_list": [{"voice_id": "v"}]}, "0.1275"),
    ("apimodels", {"model": "kling-v3", "duration": "7", "sound": "on"}, "0.6692"),
]


@pytest.mark.parametrize(("gateway", "changes", "usd"), PRICES)
def test_a_submit_is_billed_at_the_documented_price(client, gateway, changes, usd):
    client.submitted(gateway, {**DOCUMENTED[gateway], **changes})

    assert Decimal(client.shown("bills")[0]["usd"]) == Decimal(usd)
