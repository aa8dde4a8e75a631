"""The dangerous minute: the one call that costs money, and what is known of it afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter

import structlog

from rushes.shared.domain import events, gateway_pauses, money, schedule
from rushes.shared.domain.events import Event, Reason
from rushes.shared.domain.http_messages import Request
from rushes.shared.domain.job import Attempt, Error, Job
from rushes.shared.domain.transitions import transition
from rushes.shared.http import AnswerLost, Forbidden, NotSent
from rushes.shared.intake.estimates import Quote
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.ledger.submits import CapReached, Caps, Submit
from rushes.shared.ledger.tickets import Ticket
from rushes.shared.media.probe import InputRejected, InputUnreachable, probe_inputs
from rushes.shared.operations.task_query import INPUTS, redacted
from rushes.shared.providers import PROVIDERS
from rushes.shared.providers.base import Ask
from rushes.shared.services import Services
from rushes.shared.settings import GatewaySettings
from rushes.shared.storage.archive import ArchiveUnavailable
from rushes.shared.storage.journal import MAX_ANSWER_CHARS
from rushes.worker import leases
from rushes.worker.gateway_choice import choice, duration_s, elsewhere, offered, put_off
from rushes.worker.group_commit import InHand, write
from rushes.worker.leases import Lease
from rushes.worker.step_failures import guarded, together
from rushes.worker.thread_pools import InTurn, ThreadPools

log = structlog.get_logger()


# With the answer of a paid call in hand, a ledger that is out of reach is waited for this long.
HOLD_ON_S = 600
# A bucket that takes no journal is tried again after this long; nothing is paid for meanwhile.
JOURNAL_PAUSE_S = 15


@dataclass(frozen=True, slots=True)
class Plan:
    """A paid call that is about to be made."""

    job: Job
    """As it was opened; with the attempt, once that is written down."""
    mine: Lease
    able: Sequence[Quote]
    attempt: Attempt
    request: Request
    caps: Caps


Outcomes = list[Plan | Event | None]
"""Of each the plan, what stands in its way, or None where nothing is left to say."""


def submit(job: Job, mine: Lease, services: Services) -> Event | None:
    """Look at the inputs, then try; what was measured is kept where something stands in the way of the rest."""
    learned = measure(job, services) if unmeasured(job) else None
    if learned and not isinstance(learned, events.Measured):
        return learned
    measured = transition(job, learned, services.now(), services.settings.policy) if learned else job
    (outcome,) = readied([(measured, mine)], services)
    if isinstance(outcome, Plan):
        send_all([outcome], services, InTurn())
        return None
    return learned if learned and outcome else outcome


def readied(queued: Sequence[InHand], services: Services) -> Outcomes:
    """Choose the gateways, and write the attempts down in the ledger and in the journal: these may now be sent, once.

    Raises LedgerUnavailable; then none may, and none was written down.
    """
    chosen = [guarded(job, partial(planned, job, mine, services), services) for job, mine in queued]
    return _on(journalled, _on(engaged, chosen, services), services)


def _on(do: Callable[..., Outcomes], outcomes: Sequence[Plan | Event | None], services: Services) -> Outcomes:
    """Go on with the plans."""
    plans = [outcome for outcome in outcomes if isinstance(outcome, Plan)]
    done = iter(together(partial(do, services=services), plans, attrgetter("job"), services))
    return [next(done) if isinstance(outcome, Plan) else outcome for outcome in outcomes]


def planned(job: Job, mine: Lease, services: Services) -> Plan | Event:
    """The gateway that it goes to and the call, or what it means for the job that there is none."""
    able = choice(job, services)
    if isinstance(able, Event):
        return able
    if mine.gateway != able[0].provider:
        return elsewhere(job, able, mine.gateway, services)
    gateway = services.settings.gateways[able[0].provider]
    attempt, request = prepare(job, able[0], gateway, services)
    return Plan(job, mine, able, attempt, request, caps(job, able[0], gateway, services))


def engaged(plans: Sequence[Plan], services: Services) -> Outcomes:
    """Write the attempts down; a job that is no longer ours is left to whoever has it."""
    by_job, now = {plan.job.id: plan for plan in plans}, services.now()

    def write(tickets: Sequence[Ticket]) -> Sequence[Job | Exception]:
        asked = [(by_job[ticket.job_id], ticket) for ticket in tickets]
        submits = [Submit(plan.job, ticket, events.Begun(plan.attempt), plan.caps) for plan, ticket in asked]
        return services.ledger.begin_submits(submits, now)

    try:
        written = leases.engage([plan.mine for plan in plans], write, now)
    except LedgerUnavailable:
        # Whether they were written down is not known; that nothing was sent, only this worker knows.
        settle([(plan, events.Withdrawn(plan.attempt.submitted_at)) for plan in plans], services)
        return [None] * len(plans)
    return [_engaged(plan, outcome, services) for plan, outcome in zip(plans, written, strict=True)]


def _engaged(plan: Plan, outcome: Job | Exception | None, services: Services) -> Plan | Event | None:
    if isinstance(outcome, CapReached):
        with suppress(LedgerUnavailable):  # others of these are written down already, and to be sent
            return guarded(plan.job, lambda: put_off(plan.job, outcome, plan.able, services), services)
    return replace(plan, job=outcome) if isinstance(outcome, Job) else None


def unmeasured(job: Job) -> bool:
    """Whether it has inputs that nobody has looked at yet."""
    return not job.inputs and any(job.request.get(name) for name in INPUTS)


def measure(job: Job, services: Services) -> Event:
    """Look at the inputs before money is spent, and put the gateways in order by what was found."""
    try:
        inputs = probe_inputs(job.request, services.http_client, services.fetchable)
    except InputRejected as rejected:
        return events.Barred(Error("input_rejected", str(rejected)))
    except InputUnreachable as unreachable:
        return unreached(job, str(unreachable), services)
    given = offered(job, duration_s(job.request, inputs), services)
    able = [quote for quote in given if quote.able]
    if not able:
        return events.Barred(Error("no_provider", "; ".join(f"{q.provider}: {q.why_not}" for q in given)))
    return events.Measured(inputs, tuple(quote.provider for quote in able), able[0].estimated_usd)


# An input that cannot be fetched for so long is taken for wrong.
UNREACHABLE_S = 900


def unreached(job: Job, message: str, services: Services) -> Event:
    """An input that does not answer is tried again for a while."""
    now = services.now()
    if now > schedule.after(job.created_at, UNREACHABLE_S):
        return events.Barred(Error("input_rejected", message))
    return events.Deferred(schedule.after(now, 15), message)


def prepare(job: Job, quote: Quote, gateway: GatewaySettings, services: Services) -> tuple[Attempt, Request]:
    """The attempt as it is written down, and the call exactly as it will be sent."""
    provider = PROVIDERS[quote.provider]
    number = job.attempts[-1].number + 1 if job.attempts else 1
    callback_url = services.callback_url(job, provider.name, number)
    fetchable = {name: services.fetchable(job.request[name]) for name in INPUTS if job.request.get(name)}
    seconds = duration_s(job.request, job.inputs)
    ask = Ask({**job.request, **fetchable}, idempotency_key(job, number), callback_url, seconds)
    request = provider.submission(ask, services.access(provider.name))
    plan = Attempt(
        number=number,
        provider=provider.name,
        base_url=gateway.base_url,
        key_name=provider.key_name,
        submitted_at=services.now(),
        callback=callback_url is not None,
        body=request.json if provider.idempotent else None,
        estimated_usd=quote.estimated_usd,
    )
    return plan, request


def idempotency_key(job: Job, number: int) -> str:
    """The same for the same attempt, whoever sends it."""
    return f"{job.id}-{number}"


def caps(job: Job, quote: Quote, gateway: GatewaySettings, services: Services) -> Caps:
    """What this submit must fit into."""
    budget = services.settings.daily_budget_usd
    return Caps(
        gateway.name,
        gateway.max_in_flight,
        gateway.submits_per_minute,
        None if budget is None else money.units(budget),
        money.units(quote.estimated_usd),
    )


def journalled(plans: Sequence[Plan], services: Services) -> Outcomes:
    """Write the attempts down where the loss of the ledger does not reach, too; what must not be sent is taken back.

    In this order a ledger that lost an attempt in a failover either shows it now, or is reconciled with a journal that
    holds it.
    """
    now = services.now()
    try:
        services.journal.record_intents([(plan.job, plan.request) for plan in plans], now)
        return confirmed(plans, services)
    except ArchiveUnavailable as unavailable:
        why = str(unavailable)
    except Exception:
        if len(plans) > 1:
            raise  # each of them alone
        log.exception("step broke", job=plans[0].job.id, state=plans[0].job.state.value, tries=plans[0].job.tries)
        why = "a step of ours broke; see the worker's log"
    hold_back(plans, schedule.after(now, JOURNAL_PAUSE_S), why, services)
    return [None] * len(plans)


def confirmed(plans: Sequence[Plan], services: Services) -> Outcomes:
    """Those whose jobs are ours at this moment; the others are taken back."""
    why = "the job is no longer ours"
    try:
        ours = leases.still([plan.mine for plan in plans], services)
    except LedgerUnavailable as lost:
        ours, why = [False] * len(plans), str(lost)
    hold_back([plan for plan, still in zip(plans, ours, strict=True) if not still], services.now(), why, services)
    return [plan if still else None for plan, still in zip(plans, ours, strict=True)]


def hold_back(plans: Sequence[Plan], until: int, why: str, services: Services) -> None:
    """Nothing was sent; the journal hears of it, and then the ledger."""
    for plan in plans:
        log.warning("submit held back", job=plan.job.id, reason=why)
        services.journal.record_outcome(plan.job, _withdrawn(plan, until), why, services.now())
    if plans:
        services.journal.flush()  # before the ledger forgets them: whoever compares the two would take them for sent
        settle([(plan, _withdrawn(plan, until)) for plan in plans], services)


def _withdrawn(plan: Plan, until: int) -> Event:
    return events.Withdrawn(plan.attempt.submitted_at, until=until)


def send_all(plans: Sequence[Plan], services: Services, hands: ThreadPools) -> None:
    """Send the paid calls, each once, and write down what became of them."""
    for outcomes in hands.gather("send", partial(sent, services=services), plans):
        settle([(plan, outcome) for plan, outcome in outcomes if outcome], services)
        for plan, _ in outcomes:
            plan.mine.let_go()


def sent(plan: Plan, services: Services) -> Event | None:
    """What became of a paid call; None where it was held back, or a step of ours broke: then, as after a crash, nobody
    knows.

    A thread may come late to it, and the process may have stood still meanwhile.
    """
    try:
        if not plan.mine.sure(services.now()) and confirmed([plan], services) == [None]:
            return None
        return send(plan.request, plan.job, services)
    except Exception:
        log.exception("step broke", job=plan.job.id, state=plan.job.state.value, tries=plan.job.tries)
        return None


def send(request: Request, job: Job, services: Services) -> Event:
    """Send the paid call, once; what it came to is journalled."""
    outcome, text = posted(request, job.current.provider, services)
    services.journal.record_outcome(job, outcome, text, services.now())
    return outcome


def posted(request: Request, provider: str, services: Services) -> tuple[Event, str]:
    """Make the paid call over a connection of its own: what it came to, and the answer's text or why there is none."""
    try:
        response = services.http_client.send(request, deadline_s=schedule.SUBMIT_DEADLINE_S, once=True)
    except Forbidden as forbidden:
        return events.Refused(Reason.PROVIDER, str(forbidden)), str(forbidden)
    except NotSent as unsent:
        return events.Refused(Reason.DOWN, str(unsent)), str(unsent)
    except AnswerLost as lost:
        return events.Lost(str(lost)), str(lost)
    text = f"HTTP {response.status} {redacted(response.body, MAX_ANSWER_CHARS)}"
    return PROVIDERS[provider].read_submission(response, request), text


def settle(outcomes: Sequence[tuple[Plan, Event]], services: Services) -> None:
    """Write the outcomes down, whatever it takes: what became of a paid call is known nowhere else yet."""
    news = [(plan.job, replace(outcome, attempt=plan.attempt.number)) for plan, outcome in outcomes]
    give_up = time.monotonic() + HOLD_ON_S
    left = [partial(write, news, services)]
    left += [partial(mind, outcome, plan.attempt.provider, services) for plan, outcome in outcomes]
    while True:
        try:
            while left:
                left[0]()
                del left[0]
            return
        except LedgerUnavailable:
            if time.monotonic() > give_up:
                for job, outcome in news:
                    log.critical("outcome not written", job=job.id, outcome=repr(outcome))
                return
            time.sleep(1)


def mind(outcome: Event, provider: str, services: Services) -> None:
    """What a refusal or a lost answer says of the gateway: enough of them pause it."""
    reason = outcome.reason if isinstance(outcome, events.Refused) else None
    reason = Reason.DOWN if isinstance(outcome, events.Lost) else reason
    if reason in gateway_pauses.PAUSES:
        retry_after_s = outcome.retry_after_s if isinstance(outcome, events.Refused) else None
        try:
            services.ledger.gateways.strike(provider, reason, retry_after_s, services.now())
        except LedgerUnavailable:
            raise
        except Exception:  # the outcomes of others are still to be written down
            log.exception("refusal not counted", provider=provider)


def ask_again(job: Job, services: Services) -> Event:
    """Find out about a submit whose answer was lost: under the same idempotency key it is not paid for twice."""
    attempt = job.current
    if attempt.body is None or job.setbacks >= schedule.ASK_AGAIN_TRIES:
        return without_key(job, services)
    provider = PROVIDERS[attempt.provider]
    access = services.access(attempt.provider, attempt)
    request = provider.submission(Ask(job.request, idempotency_key(job, attempt.number)), access)
    again, now = replace(request, json=attempt.body), services.now()
    try:  # who wrote the attempt down may have died before it was journalled: this may be the call that is paid for
        services.journal.record_intents([(job, again)], now)
    except ArchiveUnavailable as unavailable:
        return events.Deferred(schedule.after(now, JOURNAL_PAUSE_S), str(unavailable))
    outcome, text = posted(again, attempt.provider, services)
    if isinstance(outcome, events.Accepted):  # a refusal of this call says nothing of the first
        services.journal.record_outcome(job, outcome, text, services.now())
    return outcome


def without_key(job: Job, services: Services) -> Event:
    """Nothing can be asked: a callback, an operator or the policy decides."""
    grace_over = services.now() >= schedule.after(job.current.submitted_at, services.settings.policy.callback_grace_s)
    if services.settings.policy.resubmit_unconfirmed and grace_over:
        return events.Resolved("resubmit", by="policy")
    return events.Unclear("no answer and no callback yet")
