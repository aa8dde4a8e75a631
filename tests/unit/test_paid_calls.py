"""How a paid call leaves us."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from factories import NOW, job_in
from structlog.testing import capture_logs

from rushes.shared.domain import events, schedule
from rushes.shared.domain.events import Reason
from rushes.shared.domain.http_messages import Request, Response
from rushes.shared.domain.job import State
from rushes.shared.http import AnswerLost, Forbidden, NotSent
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.worker import paid_call, steps, submit, submit_batch
from rushes.worker.thread_pools import Sequential

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


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Forbidden("an internal address"), events.Refused(Reason.PROVIDER, "an internal address")),
        (NotSent("connection refused"), events.Refused(Reason.DOWN, "connection refused")),
        (AnswerLost("timeout"), events.Lost("timeout")),
    ],
)
def test_only_a_call_that_was_surely_not_sent_is_refused(error: Exception, outcome: events.Event) -> None:
    def send(*_: object, **__: object) -> None:
        raise error

    services: Any = SimpleNamespace(http_client=SimpleNamespace(send=send))
    assert paid_call.post(PAID, "newapi", services) == (outcome, str(error))


def test_what_an_answer_says_of_keys_and_signed_links_is_not_kept() -> None:
    body = (
        b'{"code": 200, "task_id": "task-7", "echo": "Bearer sk-secret", "url": "https://f.example/a?Signature=secret"}'
    )
    _, text = paid_call.read_answer(PAID, "newapi", Response(200, {}, body))
    assert "task-7" in text
    assert "secret" not in text


def a_plan(number: int) -> Any:
    subject = SimpleNamespace(id=f"job_{number}", state=State.SUBMITTING, tries=0)
    lease = SimpleNamespace(is_fresh=lambda now: True, release=lambda: None)
    return SimpleNamespace(request=PAID, lease=lease, job=subject, attempt=SimpleNamespace(provider="newapi"))


def test_what_was_not_sent_before_a_break_is_sent_alone_and_the_break_is_of_those_without_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def send_all(requests: Sequence[Request], **options: Any) -> Iterator[list[tuple[int, None]]]:
        yield [(0, None)]
        raise ZeroDivisionError

    plans, alone = [a_plan(number) for number in range(3)], list[Any]()
    services: Any = SimpleNamespace(http_client=SimpleNamespace(send_all=send_all), now=lambda: NOW)
    monkeypatch.setattr(submit_batch, "send_all", lambda unsent, services, pools: alone.extend(unsent))
    with capture_logs() as logs:
        submit_batch.send_together(plans, services, Sequential())

    assert alone == plans[:1]
    assert [(line["event"], line["job"]) for line in logs] == [("step broke", "job_1"), ("step broke", "job_2")]


def test_outcomes_that_the_ledger_never_took_are_named_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator has to write them down by hand: they are known nowhere else."""

    def never(*_: object) -> None:
        raise LedgerUnavailable("away")

    http_client = Outside(200, b'{"code": 200, "task_id": "task-7"}')
    journal = SimpleNamespace(record_outcome=lambda *told: None)
    services: Any = SimpleNamespace(http_client=http_client, journal=journal, now=lambda: NOW)
    monkeypatch.setattr(submit_batch, "outcome_writes", lambda outcomes, services: [never])
    monkeypatch.setattr(submit, "LEDGER_WAIT_S", -1)
    with capture_logs() as logs:
        submit_batch.send_together([a_plan(1)], services, Sequential())

    assert [(line["event"], line["job"]) for line in logs] == [("outcome not written", "job_1")]
    assert "task-7" in logs[0]["outcome"]


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
