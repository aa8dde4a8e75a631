"""The books bill once, and neither they nor a promised callback are lost with the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from decimal import Decimal

import pytest
from gateway_client import DOCUMENTED, GATEWAYS, Client, task_id
from patience import PATIENCE_S, wait_until

from rushes.deploy.sandbox.ports import free_ports, http_status

KEY = "attempt-1"


def test_the_same_idempotency_key_is_the_same_task_billed_once(client):
    first = client.submit("apimart", Idempotency_Key=KEY)
    again = client.submit("apimart", Idempotency_Key=KEY)

    assert again.json == first.json
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(client.shown("bills")) == 1


def test_the_same_key_with_another_body_is_a_conflict(client):
    client.submitted("apimart", Idempotency_Key=KEY)
    reply = client.submit("apimart", {**DOCUMENTED["apimart"], "mode": "pro"}, Idempotency_Key=KEY)

    assert reply.status == 409
    assert len(client.shown("bills")) == 1
    assert "another body" in client.shown("violations")[0]["problem"]


def test_an_idempotency_key_belongs_to_the_api_key_it_came_with(client):
    client.submitted("apimart", Idempotency_Key=KEY)
    client.key = "sandbox-other"
    client.submitted("apimart", Idempotency_Key=KEY)

    assert len(client.shown("bills")) == 2


def test_of_two_submits_that_were_checked_before_either_was_accepted_one_is_billed(sandbox):
    gateway, billing = sandbox.sandbox.gateways["apimart"], sandbox.sandbox.context.billing
    first, second = (gateway._new("sandbox-test", KEY, DOCUMENTED["apimart"]) for _ in range(2))

    assert billing.accept(first) == (first, False)
    assert billing.accept(second) == (first, True)
    assert len(billing.bills()) == 1


@pytest.mark.parametrize("key", ["", "a key", "k" * 192])
def test_an_idempotency_key_is_short_and_visible(client, key):
    assert client.submit("apimart", Idempotency_Key=key).status == 400


@pytest.mark.parametrize("gateway", [name for name in GATEWAYS if name != "apimart"])
def test_elsewhere_an_idempotency_key_changes_nothing_and_each_submit_is_billed(client, gateway):
    first = client.submitted(gateway, Idempotency_Key=KEY)
    second = client.submitted(gateway, Idempotency_Key=KEY)

    assert first != second
    assert len(client.shown("bills", gateway)) == 2


def test_the_books_show_a_task_as_it_was_asked_for(client):
    task = client.submitted("apimart", Idempotency_Key=KEY)
    shown = client.shown("tasks")[0]

    assert (shown["gateway"], shown["id"], shown["api_key"]) == ("apimart", task, "sandbox-test")
    assert (shown["body"], shown["state"]) == (DOCUMENTED["apimart"], "completed")
    assert (shown["idempotency_key"], shown["callbacks"]) == (KEY, [])
    assert Decimal(shown["billed_usd"]) == Decimal("0.45696")


def test_the_books_leave_out_what_is_older_than_asked(client):
    first, second = (client.submitted("apimart", Idempotency_Key=key) for key in ("first", "second"))
    client.submit("apimart", {}, Idempotency_Key="third")
    since = {task["id"]: task["accepted_at"] for task in client.shown("tasks")}[second]
    found = {name: client.call("GET", f"/_sandbox/{name}?since={since}").json[name] for name in ("tasks", "bills")}
    broken = client.call("GET", f"/_sandbox/violations?since={client.shown('violations')[-1]['at'] + 1}").json

    assert first != second
    assert [task["id"] for task in found["tasks"]] == [bill["task_id"] for bill in found["bills"]] == [second]
    assert broken == {"violations": []}
    assert client.call("GET", "/_sandbox/bills?since=today").status == 400


def test_the_bills_are_added_up(client):
    client.submitted("apimaster")
    client.submitted("apimodels")
    bills = client.call("GET", "/_sandbox/bills").json

    assert (bills["count"], Decimal(bills["total_usd"])) == (2, Decimal("0.83894"))


class Process:
    """The gateways as a process of their own, as users run them."""

    def __init__(self, data_dir, **environment):
        self.port = free_ports(1)[0]
        command = [sys.executable, "-m", "rushes.deploy.sandbox.gateways"]
        self.argv = [*command, "--port", str(self.port), "--data", str(data_dir)]
        self.environment = {**os.environ, **environment}
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.argv, env=self.environment, stderr=subprocess.DEVNULL)
        wait_until(lambda: http_status(self.port, "/_sandbox/health") == 200, "the gateways")

    def end(self, number):
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def process(tmp_path):
    process = Process(tmp_path, SANDBOX_TASK_SECONDS="1.5")
    yield process
    process.end(signal.SIGKILL)


def test_a_task_that_was_accepted_before_a_kill_ends_after_it_billed_and_told_once(process, receiver):
    client = Client(process.port)
    told = client.submitted("apimodels", {**DOCUMENTED["apimodels"], "callback_url": receiver.url})
    asked = task_id(client.submit("apimart", Idempotency_Key=KEY).json)
    client.fault("apimart", "refuse_503", times=-1)
    process.end(signal.SIGKILL)
    process.start()

    wait_until(lambda: len(receiver.bodies) == 2, "the callback")
    assert {body["data"]["taskId"] for body in receiver.bodies} == {told}
    assert client.query("apimart", asked).json["data"]["status"] == "completed"
    assert client.submit("apimart", Idempotency_Key=KEY).status == 503
    client.call("DELETE", "/_sandbox/faults")
    assert client.submit("apimart", Idempotency_Key=KEY).headers["Idempotency-Replayed"] == "true"
    assert sorted(bill["gateway"] for bill in client.shown("bills")) == ["apimart", "apimodels"]


def test_the_gateways_end_when_they_are_asked_to(process):
    assert process.end(signal.SIGTERM) == 0
