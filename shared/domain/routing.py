"""What the next move is after each kind of refusal or failure."""

from __future__ import annotations

from dataclasses import dataclass

from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import AttemptStatus, Job

MAX_PAID_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Go:
    """Go on with this route; the first of it is tried next."""

    route: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Stay where you are and try later."""


@dataclass(frozen=True, slots=True)
class Give:
    """Give up: no gateway would say otherwise, or none is left."""


Move = Go | Wait | Give

# Refused before anything was paid: is another gateway asked, and what if there is none?
#   never another: our caller's input is at fault, each gateway would say the same
#   wait: the gateway is well, only not now
HOPELESS = frozenset({Reason.INPUT, Reason.POLICY})
PATIENT = frozenset({Reason.BALANCE, Reason.KEY, Reason.MOVED, Reason.DOWN, Reason.RATE})


# What an account is refused for, and another account of the same gateway need not be.
OF_ACCOUNT = frozenset({Reason.BALANCE, Reason.KEY, Reason.RATE})


def after_refusal(job: Job, reason: Reason, patient: bool = True) -> Move:
    """The move after a submit that was surely not accepted; who is not `patient` waits for no gateway's rate."""
    if reason in HOPELESS:
        return Give()
    if reason is Reason.RATE and patient:
        return Wait()
    if reason in PATIENT:
        return Go(rotated(job.route)) if len(job.route) > 1 else Wait()
    return Go(job.route[1:]) if len(job.route) > 1 else Give()


def after_failure(job: Job, reason: Reason) -> Move:
    """The move after a gateway's own word that the task failed: another gateway may have more luck, at its price."""
    paid = sum(attempt.paid for attempt in job.attempts)
    if reason in HOPELESS or paid >= MAX_PAID_ATTEMPTS or len(job.route) < 2:
        return Give()
    return Go(job.route[1:])


def rotated(route: tuple[str, ...]) -> tuple[str, ...]:
    """The first goes to the end: it may be well again when the others have been asked."""
    return (*route[1:], route[0])


def refused_since(job: Job) -> int | None:
    """Since when every submit of this job has been refused."""
    since = None
    for attempt in reversed(job.attempts):
        if attempt.status is not AttemptStatus.REJECTED:
            break
        since = attempt.submitted_at
    return since
