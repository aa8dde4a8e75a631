"""Callbacks come at the end, more than once, and again where they did not arrive."""

from __future__ import annotations

import json

import pytest
from gateway_client import DOCUMENTED
from patience import wait_until

from rushes.deploy.sandbox.gateways.apimart import Apimart
from rushes.deploy.sandbox.gateways.apimodels import ApiModels
from rushes.deploy.sandbox.gateways.billing import Callback
from rushes.deploy.sandbox.gateways.callback_sender import next_due
from rushes.deploy.sandbox.gateways.evolink import EvoLink

ENDED_AT = 1000.0


def told(client, gateway, receiver):
    return client.submitted(gateway, {**DOCUMENTED[gateway], "callback_url": receiver.url})


def arrivals(receiver, count):
    wait_until(lambda: len(receiver.bodies) >= count, f"callback {count}")
    return receiver.bodies


def deliveries(client, count):
    wait_until(lambda: len(client.shown("tasks")[0]["callbacks"]) >= count, f"delivery {count}")
    return client.shown("tasks")[0]["callbacks"]


def test_apimodels_calls_back_with_json_strings_inside_json(client, receiver):
    task = told(client, "apimodels", receiver)
    body = arrivals(receiver, 1)[0]
    data = body["data"]

    assert (body["code"], body["msg"]) == (200, "success")
    assert set(data) == {
        *("taskId", "model", "state", "param", "resultJson", "failCode", "failMsg"),
        *("costTime", "completeTime", "createTime"),
    }
    assert (data["taskId"], data["state"], data["failCode"], data["failMsg"]) == (task, "completed", None, None)
    assert json.loads(data["param"])["prompt"] == DOCUMENTED["apimodels"]["prompt"]
    assert data["costTime"] == data["completeTime"] - data["createTime"]
    result = json.loads(data["resultJson"])
    assert result["videoDuration"] == 5
    assert result["videoSize"] == "1280x720"
    assert client.fetch(result["thumbnailUrl"]).body.startswith(b"\xff\xd8")
    assert receiver.headers[0]["Content-Type"] == "application/json"
    assert "Authorization" not in receiver.headers[0]


def test_apimodels_calls_back_of_a_failure_without_a_result(client, receiver):
    client.fault("apimodels", "fail_task", policy=True)
    told(client, "apimodels", receiver)
    data = arrivals(receiver, 1)[0]["data"]

    assert (data["state"], data["resultJson"], data["failMsg"]) == ("failed", None, "Content policy violation")
    assert isinstance(data["failCode"], str)


def test_evolink_calls_back_with_what_a_query_would_say(client, receiver):
    task = told(client, "evolink", receiver)
    body = arrivals(receiver, 1)[0]
    answer = client.query("evolink", task).json

    assert body["results"][0].split("?")[0] == answer["results"][0].split("?")[0]
    assert {**body, "results": []} == {**answer, "results": []}


@pytest.mark.parametrize("slash", ["", "/"])
def test_apimart_calls_back_below_the_webhook_with_what_a_query_would_say(client, receiver, slash):
    task = client.submitted("apimart", {**DOCUMENTED["apimart"], "webhook": f"{receiver.origin}/told{slash}"})
    body = arrivals(receiver, 1)[0]
    answer = client.query("apimart", task).json

    assert receiver.paths[0] == "/told/callback"
    for each in (body, answer):
        each["data"]["result"]["videos"][0] = {}
    assert body == answer


@pytest.mark.parametrize(
    ("webhook", "status"),
    [
        *[("https://rushes.example/x", 200), ("http://rushes.example:80/x", 200), ("https://8.8.8.8:443", 200)],
        *[("https://rushes.example:8443/x", 400), ("http://10.0.0.7/x", 400), ("http://inside/x", 400)],
    ],
)
def test_apimart_calls_public_hosts_on_their_usual_ports(client, webhook, status):
    client.fault("apimart", "no_callback", times=-1)
    assert client.submit("apimart", {**DOCUMENTED["apimart"], "webhook": webhook}).status == status


@pytest.mark.parametrize("status", [302, 400, 404, 413, 429])
def test_to_apimart_a_4xx_ends_it_for_good(open_sandbox, receiver, status):
    running = open_sandbox(callback_deliveries=1)
    receiver.statuses = [status]
    running.client.submitted("apimart", {**DOCUMENTED["apimart"], "webhook": receiver.origin})

    assert [delivery["outcome"] for delivery in deliveries(running.client, 1)] == [str(status)]
    assert running.sandbox.context.billing.next_callback_at() is None


@pytest.mark.parametrize("status", [500, 503])
def test_apimart_tries_again_after_a_5xx(open_sandbox, receiver, status):
    running = open_sandbox(callback_deliveries=1)
    receiver.statuses = [status]
    running.client.submitted("apimart", {**DOCUMENTED["apimart"], "webhook": receiver.origin})
    deliveries(running.client, 1)

    assert running.sandbox.context.billing.next_callback_at() is not None


def test_a_delivered_callback_comes_once_more(client, receiver):
    told(client, "apimodels", receiver)
    first, second = arrivals(receiver, 2)

    assert first["data"]["taskId"] == second["data"]["taskId"]
    assert [delivery["outcome"] for delivery in deliveries(client, 2)] == ["200", "200"]


def test_how_often_a_callback_arrives_can_be_set(open_sandbox, receiver):
    running = open_sandbox(callback_deliveries=1)
    told(running.client, "evolink", receiver)
    deliveries(running.client, 1)

    assert running.sandbox.context.billing.next_callback_at() is None


def test_a_callback_that_is_refused_comes_again(client, receiver):
    receiver.statuses = [500]
    told(client, "apimodels", receiver)

    assert [delivery["outcome"] for delivery in deliveries(client, 2)] == ["500", "200"]


def test_no_callback_is_sent_where_none_was_asked_for(sandbox):
    sandbox.client.submitted("apimodels")

    assert sandbox.sandbox.context.billing.next_callback_at() is None


def pauses(sandbox_player, arrived=False, tries=range(5), now=ENDED_AT + 100):
    def due(n):
        callback = Callback(1, sandbox_player.name, "task", "http://x", forged=False, tries=n, delivered=0)
        return next_due(sandbox_player, callback, ENDED_AT, now, arrived, deliveries=2)

    return [None if due(n) is None else due(n) - now for n in tries]


PAUSES = [
    (ApiModels, [1, 2, 4, 30, 30]),
    (Apimart, [10, 30, 60, None, None]),
    (EvoLink, [1, 2, 4, None, None]),
]


@pytest.mark.parametrize(("gateway", "expected"), PAUSES)
def test_a_callback_that_does_not_arrive_is_repeated_at_the_documented_pauses(gateway, expected):
    assert pauses(gateway) == expected


def test_apimodels_gives_up_half_an_hour_after_the_end():
    assert pauses(ApiModels, tries=[70], now=ENDED_AT + 1769) == [30]
    assert pauses(ApiModels, tries=[70], now=ENDED_AT + 1771) == [None]


@pytest.mark.parametrize("arrived", [True, False])
def test_a_forgery_is_sent_once(arrived):
    forgery = Callback(1, "apimodels", "task", "http://x", forged=True, tries=0, delivered=0)

    assert next_due(ApiModels, forgery, ENDED_AT, ENDED_AT, arrived, deliveries=2) is None


def test_a_callback_whose_sender_died_comes_due_again(open_sandbox, receiver):
    running = open_sandbox(task_s=60)
    told(running.client, "evolink", receiver)
    billing = running.sandbox.context.billing
    now = billing.next_callback_at()

    assert len(billing.claim(now, lease_s=30, limit=9)) == 1
    assert billing.claim(now + 29, lease_s=30, limit=9) == []
    assert len(billing.claim(now + 30, lease_s=30, limit=9)) == 1
