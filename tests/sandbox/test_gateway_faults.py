"""Each fault does what its name says, as often as it was armed for."""

from __future__ import annotations

import gzip
import http.client
import time

import pytest
from gateway_client import DOCUMENTED, GATEWAYS, video_url
from patience import PATIENCE_S, wait_until

from rushes.deploy.sandbox.gateways.faults import SHAPES

LOST = (http.client.RemoteDisconnected, ConnectionResetError)


def bills(client):
    return len(client.shown("bills"))


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_lost_answer_was_accepted_and_billed(client, gateway):
    client.fault(gateway, "answer_lost")
    with pytest.raises(LOST):
        client.submit(gateway)

    assert bills(client) == 1
    assert client.submit(gateway).status == 200


REFUSALS = [("refuse_503", 503), ("http_500", 500), ("rate_limited", 429), ("unauthorized", 401), ("no_balance", 402)]


@pytest.mark.parametrize("gateway", GATEWAYS)
@pytest.mark.parametrize(("fault", "status"), REFUSALS)
def test_a_refusal_is_in_the_gateways_form_and_costs_nothing(client, gateway, fault, status):
    client.fault(gateway, fault)
    reply = client.submit(gateway)

    assert reply.status == (429 if (gateway, fault) == ("kling", "no_balance") else status)
    assert reply.json.keys() <= {"error", "code", "message", "msg", "data", "request_id"}
    assert reply.headers.get("Retry-After") == ("2" if fault == "rate_limited" else None)
    assert bills(client) == 0
    assert client.shown("violations") == []


@pytest.mark.parametrize("accepted", [True, False])
def test_a_502_page_may_stand_for_yes_or_no(client, accepted):
    client.fault("apimart", "html_502", accepted=accepted)
    reply = client.submit("apimart")

    assert (reply.status, reply.headers["Content-Type"]) == (502, "text/html")
    assert bills(client) == int(accepted)


def test_garbage_is_no_json(client):
    task = client.submitted("apimart")
    client.fault("apimart", "bad_json")
    reply = client.query("apimart", task)

    assert reply.status == 200
    with pytest.raises(ValueError, match="Unterminated"):
        reply.json  # noqa: B018


def test_garbage_to_a_submit_was_accepted(client):
    client.fault("apimart", "bad_json", stage="submit")

    assert client.submit("apimart").status == 200
    assert bills(client) == 1


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_an_unknown_status_is_a_word_no_document_knows(client, gateway):
    task = client.submitted(gateway)
    client.fault(gateway, "unknown_status")

    assert "simmering" in client.query(gateway, task).body.decode()
    assert "simmering" not in client.query(gateway, task).body.decode()


def test_a_task_can_be_not_found_for_a_while(client):
    task = client.submitted("evolink")
    client.fault("evolink", "not_found", times=2)

    assert [client.query("evolink", task).status for _ in range(3)] == [404, 404, 200]
    assert client.shown("violations") == []


def test_a_slow_answer_takes_its_time(client):
    client.fault("newapi", "slow", seconds=0.3)
    began_at = time.monotonic()

    assert client.submit("newapi").status == 200
    assert time.monotonic() - began_at >= 0.3


@pytest.mark.parametrize("accepted", [True, False])
def test_a_hung_call_ends_without_an_answer(client, accepted):
    client.fault("apimodels", "hang", seconds=0.1, accepted=accepted)
    with pytest.raises(LOST):
        client.submit("apimodels")

    assert bills(client) == int(accepted)


def test_a_task_fails_with_the_code_and_message_asked_for(client):
    client.fault("evolink", "fail_task", code="generation_timeout", message="too long")
    error = client.query("evolink", client.submitted("evolink")).json["error"]

    assert error == {"code": "generation_timeout", "message": "too long"}


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_an_expired_link_is_refused_and_the_next_query_brings_a_fresh_one(client, gateway):
    task = client.submitted(gateway)
    client.fault(gateway, "expired_link")
    expired, fresh = (video_url(gateway, client.query(gateway, task).json) for _ in range(2))

    assert client.fetch(expired).status == 403
    assert client.fetch(fresh, "HEAD").status == 200


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_completed_task_can_come_without_its_video(client, gateway):
    task = client.submitted(gateway)
    client.fault(gateway, "empty_url")

    assert "http" not in client.query(gateway, task).body.decode()
    assert "http" in client.query(gateway, task).body.decode()


@pytest.mark.parametrize(("how", "told_length"), [("cut", "whole"), ("short", "half"), ("undeclared", "none")])
def test_a_truncated_clip_brings_half_of_its_bytes(client, how, told_length):
    url = video_url("apimart", client.query("apimart", client.submitted("apimart")).json)
    whole = client.fetch(url).body
    client.fault("apimart", "truncated_clip", how=how)
    half = len(whole) // 2

    if told_length == "whole":
        with pytest.raises(http.client.IncompleteRead) as cut:
            client.fetch(url)
        assert cut.value.partial == whole[:half]
    else:
        reply = client.fetch(url)
        assert reply.body == whole[:half]
        assert reply.headers.get("Content-Length") == {"half": str(half), "none": None}[told_length]
    assert client.fetch(url).body == whole


def test_a_silenced_task_sends_no_callback(sandbox, receiver):
    sandbox.client.fault("apimodels", "no_callback")
    sandbox.client.submitted("apimodels", {**DOCUMENTED["apimodels"], "callback_url": receiver.url})

    assert sandbox.sandbox.context.billing.next_callback_at() is None


def test_a_forged_failure_comes_while_the_task_runs(open_sandbox, receiver):
    client = open_sandbox(task_s=PATIENCE_S).client
    client.fault("evolink", "forged_first")
    task = client.submitted("evolink", {**DOCUMENTED["evolink"], "callback_url": receiver.url})
    wait_until(lambda: receiver.bodies, "the forgery")

    assert (receiver.bodies[0]["id"], receiver.bodies[0]["status"]) == (task, "failed")
    assert client.query("evolink", task).json["status"] in ("pending", "processing")


def test_the_truth_comes_after_a_forged_failure(open_sandbox, receiver):
    client = open_sandbox(task_s=0.2).client
    client.fault("evolink", "forged_first")
    client.submitted("evolink", {**DOCUMENTED["evolink"], "callback_url": receiver.url})
    # They leave in this order; which of them is here first, a busy machine decides.
    wait_until(lambda: {body["status"] for body in receiver.bodies} == {"failed", "completed"}, "both")


def test_a_fault_strikes_as_often_as_it_was_armed_for_and_at_its_own_gateway(client):
    client.fault("apimart", "refuse_503", times=2)

    assert client.submit("apimaster").status == 200
    assert [client.submit("apimart").status for _ in range(3)] == [503, 503, 200]


def test_a_lasting_fault_ends_when_it_is_cleared(client):
    client.fault("apimart", "refuse_503", times=-1)
    client.fault("evolink", "refuse_503", times=-1)
    assert [client.submit("apimart").status for _ in range(3)] == [503] * 3
    client.call("DELETE", "/_sandbox/faults?gateway=apimart")

    assert client.submit("apimart").status == 200
    assert [fault["gateway"] for fault in client.shown("faults")] == ["evolink"]


def test_a_body_that_breaks_a_rule_uses_no_fault_up(client):
    client.fault("apimart", "answer_lost")
    client.submit("apimart", {})

    assert len(client.shown("faults")) == 1


@pytest.mark.parametrize(
    "asked",
    [{"fault": "nothing"}, {"fault": "hang", "stage": "accept"}, {"gateway": "x"}, {"times": 0}, {"times": "1"}],
)
def test_a_fault_that_does_not_exist_cannot_be_armed(client, asked):
    reply = client.call("POST", "/_sandbox/faults", {"gateway": "apimart", "fault": "hang", **asked})

    assert reply.status == 400
    assert client.shown("faults") == []


@pytest.mark.parametrize("gateway", GATEWAYS)
@pytest.mark.parametrize("status", [400, 500])
def test_a_throttle_comes_under_any_status_in_the_gateways_form_and_costs_nothing(client, gateway, status):
    client.fault(gateway, "throttled", status=status, message="system overloaded")
    reply = client.submit(gateway)

    assert reply.status == status
    assert reply.json.keys() <= {"error", "code", "message", "msg", "data", "request_id"}
    assert "system overloaded" in reply.body.decode()
    assert bills(client) == 0


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_refusal_comes_under_a_200_and_costs_nothing(client, gateway):
    client.fault(gateway, "error_in_200")
    reply = client.submit(gateway)

    assert reply.status == 200
    assert "the prompt is not taken" in reply.body.decode()
    assert bills(client) == 0


@pytest.mark.parametrize("status", [301, 307, 308])
def test_an_address_that_has_moved_answers_with_where_to(client, status):
    client.fault("evolink", "redirect", status=status, location="https://new.example/v1")
    reply = client.submit("evolink")

    assert (reply.status, reply.headers["Location"], bills(client)) == (status, "https://new.example/v1", 0)


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_an_end_can_be_told_in_the_vendors_word(client, gateway):
    task = client.submitted(gateway)
    client.fault(gateway, "vendor_word", word="SUCCEED")

    assert '"SUCCEED"' in client.query(gateway, task).body.decode()
    assert '"SUCCEED"' not in client.query(gateway, task).body.decode()


@pytest.mark.parametrize("gateway", GATEWAYS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_link_can_come_in_any_shape_and_be_any(client, gateway, shape):
    task = client.submitted(gateway)
    client.fault(gateway, "odd_link", shape=shape, url="http://10.0.0.1/clip.mp4")
    odd, plain = (client.query(gateway, task) for _ in range(2))

    assert odd.json != plain.json
    assert "10.0.0.1/clip.mp4" in odd.body.decode()
    assert client.fetch(video_url(gateway, plain.json), "HEAD").status == 200


def test_a_clip_can_come_compressed(client):
    url = video_url("evolink", client.query("evolink", client.submitted("evolink")).json)
    client.fault("evolink", "compressed")
    packed, plain = client.fetch(url), client.fetch(url)

    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
