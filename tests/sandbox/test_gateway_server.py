"""The server keeps connections, refuses what is too large, and never hangs up by mistake."""

from __future__ import annotations

import http.client

from gateway_client import DOCUMENTED, SUBMIT
from patience import PATIENCE_S

from rushes.deploy.sandbox.gateways.server import BODY_CAP_BYTES, Request


def test_a_connection_serves_many_requests(client):
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=PATIENCE_S)
    connection.connect()
    first = connection.sock
    for path in ("/_sandbox/health", "/nowhere", "/_sandbox/tasks"):
        connection.request("GET", path)
        connection.getresponse().read()

    assert connection.sock is first
    connection.close()


def test_a_body_over_the_cap_is_refused(client):
    reply = client.call("POST", SUBMIT["apimart"], b"x" * (BODY_CAP_BYTES + 1))

    assert reply.status == 413


def test_a_fault_of_the_sandbox_itself_is_an_answer_too(sandbox, monkeypatch, capsys):
    monkeypatch.setattr(sandbox.sandbox.gateways["apimart"], "price", None)
    reply = sandbox.client.submit("apimart", DOCUMENTED["apimart"])

    assert reply.status == 500
    assert "TypeError" in capsys.readouterr().err


def test_the_control_api_is_for_this_machine_only(sandbox):
    answer = sandbox.sandbox.respond(Request("GET", "/_sandbox/tasks", {}, {}, peer="192.0.2.1"))

    assert answer.status == 403
