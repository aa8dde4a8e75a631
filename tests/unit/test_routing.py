from __future__ import annotations

import pytest
from factories import attempt, failed, job, rejected

from rushes.shared.domain import routing
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import AttemptStatus
from rushes.shared.domain.routing import Give, Go, Move, Wait

# Reason: the move with three gateways left, the move with one.
AFTER_REFUSAL: dict[str, tuple[Move, Move]] = {
    "input_rejected": (Give(), Give()),
    "content_policy": (Give(), Give()),
    "insufficient_balance": (Go(("b", "c", "a")), Wait()),
    "key_rejected": (Go(("b", "c", "a")), Wait()),
    "address_moved": (Go(("b", "c", "a")), Wait()),
    "unavailable": (Go(("b", "c", "a")), Wait()),
    "rate_limited": (Wait(), Wait()),
    "provider_error": (Go(("b", "c")), Give()),
}
AFTER_FAILURE: dict[str, tuple[Move, Move]] = {
    "input_rejected": (Give(), Give()),
    "content_policy": (Give(), Give()),
    "insufficient_balance": (Go(("b", "c")), Give()),
    "key_rejected": (Go(("b", "c")), Give()),
    "address_moved": (Go(("b", "c")), Give()),
    "unavailable": (Go(("b", "c")), Give()),
    "rate_limited": (Go(("b", "c")), Give()),
    "provider_error": (Go(("b", "c")), Give()),
}


@pytest.mark.parametrize("reason", Reason)
def test_after_each_kind_of_refusal_the_next_move_is_known(reason: Reason) -> None:
    many, alone = AFTER_REFUSAL[reason.value]
    assert routing.after_refusal(job(route=("a", "b", "c"), attempts=(rejected(),)), reason) == many
    assert routing.after_refusal(job(route=("a",), attempts=(rejected(),)), reason) == alone


@pytest.mark.parametrize("reason", Reason)
def test_after_each_kind_of_failure_the_next_move_is_known(reason: Reason) -> None:
    many, alone = AFTER_FAILURE[reason.value]
    assert routing.after_failure(job(route=("a", "b", "c"), attempts=(failed(),)), reason) == many
    assert routing.after_failure(job(route=("a",), attempts=(failed(),)), reason) == alone


def test_after_the_third_paid_attempt_nobody_else_is_asked() -> None:
    thrice = job(route=("a", "b"), attempts=(failed(1), attempt(2, status=AttemptStatus.UNCONFIRMED), failed(3)))
    twice = job(route=("a", "b"), attempts=(failed(1), rejected(2), failed(3)))
    assert routing.after_failure(thrice, Reason.PROVIDER) == Give()
    assert routing.after_failure(twice, Reason.PROVIDER) == Go(("b",))


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.KEY, "provider_error"),
        (Reason.DOWN, "provider_error"),
        (Reason.MOVED, "provider_error"),
        (Reason.PROVIDER, "provider_error"),
        (Reason.INPUT, "input_rejected"),
        (Reason.POLICY, "content_policy"),
        (Reason.BALANCE, "insufficient_balance"),
        (Reason.RATE, "rate_limited"),
    ],
)
def test_a_caller_reads_the_contracts_code_for_each_reason(reason: Reason, code: str) -> None:
    assert reason.code == code


def test_refusals_are_counted_since_the_last_paid_attempt() -> None:
    subject = job(attempts=(rejected(1, submitted_at=1), failed(2), rejected(3, submitted_at=30), rejected(4)))
    assert routing.refused_since(subject) == 30
    assert routing.refused_since(job(attempts=(rejected(1, submitted_at=1), failed(2)))) is None
    assert routing.refused_since(job()) is None
