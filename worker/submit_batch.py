"""Many paid calls at once from one thread: a thread for each would cost a third more CPU.

Each still goes out once, over a connection of its own. What cannot be sent so is sent alone (`submit.send_all`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import structlog

from rushes.shared.domain import schedule
from rushes.shared.domain.events import Event
from rushes.shared.domain.http_messages import Response
from rushes.shared.http import AnswerLost
from rushes.shared.services import Services
from rushes.worker.paid_call import read_answer
from rushes.worker.submit import Plan, outcome_writes, send_all, wait_and_write, write
from rushes.worker.thread_pools import ThreadPools

log = structlog.get_logger()

Answers = list[tuple[Plan, Response | AnswerLost | None]]
"""Plans with their answers; None if the call was not sent."""


def send_together(plans: Sequence[Plan], services: Services, pools: ThreadPools) -> None:
    """Send the paid calls, each once, and write their outcomes."""
    unsent: list[Plan] = []
    writes: list[Callable[[], object]] = []
    unwritten: list[tuple[Plan, Event]] = []
    is_ledger_out = False
    for answers in _answers(plans, services):
        unsent += [plan for plan, answer in answers if answer is None]
        answered = [(plan, _read_and_journal(plan, answer, services)) for plan, answer in answers if answer is not None]
        outcomes = [(plan, outcome) for plan, outcome in answered if outcome]
        writes += outcome_writes(outcomes, services) if outcomes else []
        unwritten += outcomes
        # A ledger out of reach is not waited for here: meanwhile nobody would hear the other answers.
        is_ledger_out = is_ledger_out or not write(writes)
        _release([plan for plan, outcome in answered if not (outcome and is_ledger_out)])
        unwritten = unwritten if is_ledger_out else []
    if writes:
        wait_and_write(writes, unwritten)
        _release([plan for plan, _ in unwritten])
    if unsent:
        send_all(unsent, services, pools)


def _answers(plans: Sequence[Plan], services: Services) -> Iterator[Answers]:
    """Send the calls, and yield groups of answers as they come."""
    waiting = dict(enumerate(plans))

    # A connection may take its time, and the process may have been frozen: without a valid lease another worker may
    # have the job, and both would pay. A call that is not sent here is sent alone, once its lease is renewed.
    def is_ours(place: int) -> bool:
        return plans[place].lease.is_fresh(services.now())

    deadline_s = schedule.SUBMIT_DEADLINE_S
    requests = [plan.request for plan in plans]
    try:
        for group in services.http_client.send_all(requests, deadline_s=deadline_s, once=True, may_send=is_ours):
            yield [(waiting.pop(place), answer) for place, answer in group]
    except Exception:  # the outcomes are unknown, as after a crash
        for plan in waiting.values():
            _log_break(plan)


def _read_and_journal(plan: Plan, answer: Response | AnswerLost, services: Services) -> Event | None:
    """The outcome of a call that was sent, recorded in the journal; None if our own step failed.

    Then its outcome is unknown, as after a crash.
    """
    try:
        outcome, text = read_answer(plan.request, plan.attempt.provider, answer)
        services.journal.record_outcome(plan.job, outcome, text, services.now())
    except Exception:
        _log_break(plan)
        return None
    return outcome


def _log_break(plan: Plan) -> None:
    log.exception("step broke", job=plan.job.id, state=plan.job.state.value, tries=plan.job.tries)


def _release(plans: Sequence[Plan]) -> None:
    for plan in plans:
        plan.lease.release()
