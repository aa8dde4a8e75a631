"""How a paid call leaves us."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from factories import NOW, job_in

from rushes.shared.domain import events, schedule
from rushes.shared.domain.http_messages import Request, Response
from rushes.shared.domain.job import State
from rushes.worker import paid_call, steps, submit_batch

PAID = Request("POST", "https://gateway.example/v1/video/generations", {}, {"prompt": "a kite"})


class Outside:
    """Keeps how each request was sent."""

    def __init__(self, status: int, body: bytes = b"{}") -> None:
        self.response = Response(status, {}, body)
        self.calls: list[tuple[Request, dict[str, Any]]] = []

    def send(self, request: Request, **options: Any) -> Response:
        self.calls.append((request, options))
        return self.response

    def send_all(self, requests: Sequence[Request], **options: Any) -> Iterator[list[tuple[int, Response]]]:
        self.calls += [(request, options) for request in requests]
        yield [(index, self.response) for index, _ in enumerate(requests)]


def test_a_paid_call_is_sent_once_over_a_connection_of_its_own() -> None:
    """A kept connection may have been closed by then: whether the call arrived would be in doubt for no cause."""
    http_client = Outside(200, b'{"code": 200, "task_id": "task-7"}')
    services: Any = SimpleNamespace(http_client=http_client)
    event, text = paid_call.post(PAID, "newapi", services)

    ((request, options),) = http_client.calls
    assert (request, options["once"], options["deadline_s"]) == (PAID, True, schedule.SUBMIT_DEADLINE_S)
    assert (event, text) == (events.Accepted("task-7"), 'HTTP 200 {"code": 200, "task_id": "task-7"}')


def test_so_are_those_of_a_message_and_each_only_while_it_is_ours() -> None:
    http_client = Outside(200)
    services: Any = SimpleNamespace(http_client=http_client, now=lambda: NOW)
    plans: Any = [
        SimpleNamespace(request=PAID, lease=SimpleNamespace(is_fresh=lambda now, ours=ours: ours and now == NOW))
        for ours in (True, False)
    ]
    answers = [answer for group in submit_batch._answers(plans, services) for answer in group]

    options = http_client.calls[0][1]
    assert answers == [(plan, http_client.response) for plan in plans]
    assert (options["once"], options["deadline_s"]) == (True, schedule.SUBMIT_DEADLINE_S)
    assert [options["may_send"](place) for place in (0, 1)] == [True, False]


def test_a_notice_is_sent_over_a_connection_of_its_own_and_a_large_answer_is_not_read() -> None:
    http_client = Outside(204)
    services: Any = SimpleNamespace(
        http_client=http_client, now=lambda: NOW, settings=SimpleNamespace(webhook_secrets={"rival": ("whsec_AAAA",)})
    )
    event = steps.notify(job_in(State.COMPLETED), services)

    ((request, options),) = http_client.calls
    assert (event, options["once"], options["deadline_s"]) == (events.Notified(), True, schedule.NOTICE_DEADLINE_S)
    assert options["max_bytes"] == 65_536
    assert "webhook-signature" not in request.headers  # the secret is another tenant's
