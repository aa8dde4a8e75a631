"""What a submit is made of, which caps it must keep, and what stops it, before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from factories import HOUR, MINUTE, NOW, POLICY, SECOND, attempt, job, job_in, rejected

from rushes.shared.domain import events, start_deadline
from rushes.shared.domain.events import Event, Reason
from rushes.shared.domain.job import Job, State, attempt_key
from rushes.shared.gateway_settings import Account, GatewaySettings
from rushes.shared.intake.job_document import moment
from rushes.shared.ledger.submits import CapReached, Caps
from rushes.worker import submit
from rushes.worker.submit import Plan

LATER = NOW + MINUTE
ONE, TWO = Account("one", "sk-one"), Account("two", "sk-two")
GATEWAY = GatewaySettings("newapi", (ONE, TWO), "https://newapi.example", 7, 30, key_name="NEWAPI_API_KEYS")
ESTIMATE: Any = SimpleNamespace(provider="newapi", estimated_usd=Decimal("0.42"), able=True)
TENANT = SimpleNamespace(daily_budget_usd=Decimal(3), monthly_budget_usd=Decimal(50), max_in_flight=4)


def services(**changes: Any) -> Any:
    settings = SimpleNamespace(gateways={"newapi": GATEWAY}, tenants={"acme": TENANT}, policy=POLICY)
    return SimpleNamespace(
        **{
            "settings": settings,
            "now": lambda: LATER,
            "callback_url": lambda job, provider, number: f"https://us.example/{provider}/{number}",
            "fetchable_url": lambda url: f"{url}?signed",
            **changes,
        }
    )


def lease(kind: str = "submit") -> Any:
    return SimpleNamespace(kind=kind, gateway="newapi")


# --- the attempt and its request


def built(subject: Job) -> tuple[Any, Any]:
    return submit.build_attempt(subject, ESTIMATE, GATEWAY, TWO, services())


def test_an_attempt_says_where_and_through_which_account_it_goes() -> None:
    made, request = built(job())
    assert (made.provider, made.base_url, made.key_name, made.account) == (
        *("newapi", "https://newapi.example", "NEWAPI_API_KEYS", "two"),
    )
    assert (made.submitted_at, made.estimated_usd, made.callback) == (LATER, Decimal("0.42"), True)
    assert request.headers["Authorization"] == "Bearer sk-two"


def test_a_number_is_never_used_again_although_refused_attempts_are_dropped() -> None:
    """The idempotency key is made of it."""
    numbers = [built(job(attempts=attempts))[0].number for attempts in ((), (rejected(1), rejected(7)))]
    assert numbers == [1, 8]
    assert attempt_key("job_1", 8) != attempt_key("job_1", 3)


# --- caps


def test_a_submit_keeps_every_cap_of_its_gateway_its_tenant_and_its_batch() -> None:
    caps = submit.submit_caps(job(batch_budget_usd=Decimal(2)), ESTIMATE, GATEWAY, TWO, services())
    usd = 10**8
    assert caps == Caps(
        *("newapi", 7, 30, 3 * usd, 42 * usd // 100, 50 * usd, 4, 2 * usd, "two"),
        has_others=True,
    )


def test_what_is_not_limited_has_no_cap() -> None:
    free = SimpleNamespace(daily_budget_usd=None, monthly_budget_usd=None, max_in_flight=None)
    settings = SimpleNamespace(tenants={"acme": free})
    alone = replace(GATEWAY, accounts=(ONE,))
    caps = submit.submit_caps(job(), ESTIMATE, alone, ONE, services(settings=settings))
    assert caps == Caps("newapi", 7, 30, price=42 * 10**6, account="one")


def planned(further: Sequence[Account] = ()) -> Plan:
    return Plan(job(), lease(), [ESTIMATE], attempt(), SimpleNamespace(), Caps("newapi", 7, 30), further)  # type: ignore[arg-type]


def test_a_cap_of_one_account_has_the_next_one_tried_and_is_remembered() -> None:
    reached = CapReached("window", LATER)
    plan = submit._after_record(planned([TWO]), reached, services())
    assert isinstance(plan, Plan)
    assert (plan.attempt.account, plan.further, plan.reached) == ("two", [], (reached,))


@pytest.mark.parametrize("cap", ["budget", "tenant", "stop"])
def test_a_cap_that_is_no_accounts_has_no_other_tried(cap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(submit, "defer_for_cap", lambda job, reached, able, services: asked.append(reached.cap))
    assert submit._after_record(planned([TWO]), CapReached(cap, LATER), services()) is None
    assert asked == [cap]


# --- what stops it


def test_one_that_was_handed_out_to_expire_is_not_submitted_before_its_deadline() -> None:
    """The scheduler's clock may be ahead of the worker's."""
    subject = job(request={"start_before": moment(LATER + HOUR)})
    assert isinstance(submit.stop_at_deadline(subject, lease(start_deadline.LANE), services()), events.Deferred)
    assert submit.stop_at_deadline(subject, lease(), services()) is None


@pytest.mark.parametrize(
    ("waited_ms", "not_before", "is_rejected"),
    [
        (15 * MINUTE, None, False),
        (15 * MINUTE + 1, None, True),
        (15 * MINUTE + 1, NOW + SECOND, False),
    ],
)
def test_an_input_that_cannot_be_fetched_is_tried_again_for_a_quarter_of_an_hour(
    waited_ms: int, not_before: int | None, is_rejected: bool
) -> None:
    now = NOW + waited_ms
    request = {"not_before": not_before and moment(not_before)}
    event = submit.retry_unreachable(job(request=request), "HTTP 503", services(now=lambda: now))
    assert isinstance(event, events.Barred) == is_rejected
    if isinstance(event, events.Deferred):
        assert event.until == now + 15 * SECOND


MEASURED = events.Measured({"image_url": {"width": 600}}, ("newapi",), Decimal("0.42"))


@pytest.mark.parametrize(
    ("outcome", "written"), [(events.Deferred(LATER, "window"), MEASURED), (None, None)], ids=["waits", "another's"]
)
def test_what_was_measured_is_kept_where_the_submit_has_to_wait(
    outcome: Event | None, written: Event | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[Job] = []

    def prepare_all(leased_jobs: Sequence[tuple[Job, Any]], services: object) -> list[Event | None]:
        prepared.extend(each for each, _ in leased_jobs)
        return [outcome]

    monkeypatch.setattr(submit, "measure_inputs", lambda job, services: MEASURED)
    monkeypatch.setattr(submit, "prepare_all", prepare_all)
    request = {"model": "kling-v3", "image_url": "https://files.example/a.jpg"}

    assert submit.submit(job(request=request), lease(), services()) == written
    assert [each.inputs for each in prepared] == [MEASURED.inputs]


def test_the_inputs_of_a_job_that_may_not_begin_are_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "measure_inputs", lambda job, services: pytest.fail("it was fetched"))
    late = job(request={"image_url": "https://files.example/a.jpg", "start_before": moment(NOW)})
    assert isinstance(submit.submit(late, lease(), services()), events.Expired)


# --- what became of it


def test_an_outcome_is_of_its_own_attempt_and_is_written_before_it_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job may have gone on to another attempt since."""
    done: list[Any] = []
    gateways = SimpleNamespace(strike=lambda *told: done.append(told))
    parts = services(ledger=SimpleNamespace(gateways=gateways))
    monkeypatch.setattr(submit, "commit", lambda changes, services: done.extend(event for _, event in changes))
    sent = attempt(3, provider="newapi", account="two")
    plan = replace(planned(), job=job_in(State.SUBMITTING, {"provider": "newapi"}), attempt=sent)
    for write in submit.outcome_writes([(plan, events.Refused(Reason.RATE, "slow", retry_after_s=9))], parts):
        write()

    assert (done[0].attempt, done[0].reason) == (3, Reason.RATE)
    assert done[1:] == [("newapi", Reason.RATE, 9, LATER, "two")]


def test_an_answer_that_never_came_counts_against_the_account_as_an_outage() -> None:
    done: list[Any] = []
    parts = services(ledger=SimpleNamespace(gateways=SimpleNamespace(strike=lambda *told: done.append(told))))
    submit.count_refusal(events.Lost("timeout"), attempt(account="two"), parts)
    submit.count_refusal(events.Accepted("task-1"), attempt(account="two"), parts)
    assert done == [("apimart", Reason.DOWN, None, LATER, "two")]
