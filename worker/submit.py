"""The submit step: makes the one call that costs money, and records what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter

import structlog

from rushes.shared.domain import events, gateway_pauses, money, schedule, start_deadline
from rushes.shared.domain.events import Event, Reason
from rushes.shared.domain.http_messages import Request
from rushes.shared.domain.job import Attempt, Error, Job, State, attempt_key
from rushes.shared.domain.transitions import transition
from rushes.shared.gateway_settings import Account, GatewaySettings
from rushes.shared.intake.estimates import Estimate
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.ledger.submits import ACCOUNT_CAPS, CapReached, Caps, Submit
from rushes.shared.ledger.tickets import Ticket
from rushes.shared.media.probe import InputRejected, InputUnreachable, probe_inputs
from rushes.shared.operations.task_query import INPUTS
from rushes.shared.providers import PROVIDERS
from rushes.shared.providers.base import Submission
from rushes.shared.services import Services
from rushes.shared.storage.archive import ArchiveUnavailable
from rushes.worker import leases
from rushes.worker.account_choice import AccountChoice, with_other_account
from rushes.worker.gateway_choice import (
    choose_gateways,
    deciding_cap,
    defer_for_cap,
    duration_s,
    reroute,
    route_estimates,
)
from rushes.worker.group_commit import LeasedJob, commit
from rushes.worker.leases import Lease
from rushes.worker.paid_call import post
from rushes.worker.step_failures import guard_batch, guard_step
from rushes.worker.thread_pools import Sequential, ThreadPools

log = structlog.get_logger()

# The outcome of a paid call is known only here, so a ledger that is out of reach is retried this long.
LEDGER_WAIT_S = 600
# A journal that cannot be written is tried again after this long; nothing is paid for meanwhile.
JOURNAL_RETRY_S = 15


@dataclass(frozen=True, slots=True)
class Plan:
    """A paid call that is ready to be made."""

    job: Job
    """The job as opened; once the attempt is recorded, the job with it."""
    lease: Lease
    able: Sequence[Estimate]
    attempt: Attempt
    request: Request
    caps: Caps
    further: Sequence[Account] = ()
    """The accounts that are tried next, where this one takes no submit."""
    reached: tuple[CapReached, ...] = ()
    """The caps of the accounts that were tried before."""


Outcomes = list[Plan | Event | None]
"""For each job its plan, or the event that stops it, or None if nothing is left to write."""


def submit(job: Job, lease: Lease, services: Services) -> Event | None:
    """Measure the inputs if need be, then submit. If the submit has to wait, the measurement is kept."""
    if stopped := stop_at_deadline(job, lease, services):
        return stopped
    measurement = measure_inputs(job, services) if needs_measuring(job) else None
    if measurement and not isinstance(measurement, events.Measured):
        return measurement
    measured = transition(job, measurement, services.now(), services.settings.policy) if measurement else job
    (outcome,) = prepare_all([(measured, lease)], services)
    if isinstance(outcome, Plan):
        send_all([outcome], services, Sequential())
        return None
    return measurement if measurement and outcome else outcome


def prepare_all(leased_jobs: Sequence[LeasedJob], services: Services) -> Outcomes:
    """Choose gateways, and record the attempts in the ledger and the journal. Each plan may then be sent, once.

    Raises LedgerUnavailable; then no attempt was recorded, and none may be sent.
    """
    plan = partial(plan_submit, choice=AccountChoice(services), services=services)
    outcomes = [guard_step(job, partial(plan, job, lease), services) for job, lease in leased_jobs]
    return _with_plans(journal_attempts, _with_plans(record_attempts, outcomes, services), services)


def _with_plans(
    function: Callable[..., Outcomes],
    outcomes: Sequence[Plan | Event | None],
    services: Services,
    only: Callable[[Plan], bool] = lambda plan: True,
) -> Outcomes:
    """The outcomes, with each plan, or `only` some, replaced by the function's outcome for it."""
    numbers = [number for number, each in enumerate(outcomes) if isinstance(each, Plan) and only(each)]
    plans = [outcomes[number] for number in numbers]
    results = guard_batch(partial(function, services=services), plans, attrgetter("job"), services) if plans else ()
    replaced = dict(zip(numbers, results, strict=True))
    return [replaced.get(number, each) for number, each in enumerate(outcomes)]


def plan_submit(job: Job, lease: Lease, choice: AccountChoice, services: Services) -> Plan | Event:
    """The plan for the job's next gateway and its best account, or the event if there is none."""
    if stopped := stop_at_deadline(job, lease, services):
        return stopped
    able = choose_gateways(job, services)
    if isinstance(able, Event):
        return able
    if lease.gateway != able[0].provider:
        return reroute(job, able, lease.gateway, services)
    gateway = services.settings.gateways[able[0].provider]
    return plan_through(choice.candidates(job, gateway), job, lease, able, services)


def plan_through(
    accounts: Sequence[Account], job: Job, lease: Lease, able: Sequence[Estimate], services: Services
) -> Plan:
    """The plan for a submit through the first of these accounts."""
    gateway = services.settings.gateways[able[0].provider]
    attempt, request = build_attempt(job, able[0], gateway, accounts[0], services)
    caps = submit_caps(job, able[0], gateway, accounts[0], services)
    return Plan(job, lease, able, attempt, request, caps, accounts[1:])


def stop_at_deadline(job: Job, lease: Lease, services: Services) -> Event | None:
    """The event of a job that had to begin before now; None if it may begin."""
    if start_deadline.has_passed(job, services.now()):
        return events.Expired()
    if lease.kind == start_deadline.LANE:  # the scheduler's clock is ahead of ours
        return events.Deferred(job.due_at or job.created_at, "its start deadline has not come")
    return None


def record_attempts(plans: Sequence[Plan], services: Services) -> Outcomes:
    """Record the attempts in the ledger; a job whose lease is lost is left to its new worker.

    Where an account takes no submit, the gateway's next one is tried; nothing was written or sent for the first.
    """
    by_job, now = {plan.job.id: plan for plan in plans}, services.now()

    def write(tickets: Sequence[Ticket]) -> Sequence[Job | Exception]:
        pairs = [(by_job[ticket.job_id], ticket) for ticket in tickets]
        submits = [Submit(plan.job, ticket, events.Begun(plan.attempt), plan.caps) for plan, ticket in pairs]
        return services.ledger.begin_submits(submits, now)

    try:
        written = leases.write_with_leases([plan.lease for plan in plans], write, now)
    except LedgerUnavailable:
        # They may have been recorded, and only this worker knows that nothing was sent: withdraw them.
        commit_outcomes([(plan, events.Withdrawn(plan.attempt.submitted_at)) for plan in plans], services)
        return [None] * len(plans)
    outcomes = [_after_record(plan, outcome, services) for plan, outcome in zip(plans, written, strict=True)]
    return _with_plans(record_attempts, outcomes, services, only=_is_unrecorded)


def _after_record(plan: Plan, outcome: Job | Exception | None, services: Services) -> Plan | Event | None:
    if isinstance(outcome, CapReached):
        reached = (*plan.reached, outcome)
        if outcome.cap in ACCOUNT_CAPS and plan.further:
            following = plan_through(plan.further, plan.job, plan.lease, plan.able, services)
            return replace(following, reached=reached)
        cap = deciding_cap(reached)
        with suppress(LedgerUnavailable):  # other plans are recorded already and must be sent
            return guard_step(plan.job, lambda: defer_for_cap(plan.job, cap, plan.able, services), services)
    return replace(plan, job=outcome) if isinstance(outcome, Job) else None


def _is_unrecorded(plan: Plan) -> bool:
    """Whether a plan is still to be recorded, through the next account."""
    return plan.job.state is State.QUEUED


def needs_measuring(job: Job) -> bool:
    """Whether it has inputs that were not measured yet."""
    return not job.inputs and any(job.request.get(name) for name in INPUTS)


def measure_inputs(job: Job, services: Services) -> Event:
    """Measure the inputs before money is spent, and rank the gateways by the result."""
    try:
        inputs = probe_inputs(job.request, services.http_client, services.fetchable_url)
    except InputRejected as rejected:
        return events.Barred(Error("input_rejected", str(rejected)))
    except InputUnreachable as unreachable:
        return retry_unreachable(job, str(unreachable), services)
    estimates = route_estimates(job, duration_s(job.request, inputs), services)
    able = [estimate for estimate in estimates if estimate.able]
    if not able:
        return events.Barred(Error("no_provider", "; ".join(f"{item.provider}: {item.why_not}" for item in estimates)))
    return events.Measured(inputs, tuple(estimate.provider for estimate in able), able[0].estimated_usd)


# An input that cannot be fetched for this long is rejected.
UNREACHABLE_S = 900


def retry_unreachable(job: Job, message: str, services: Services) -> Event:
    """Deferred: an input that cannot be fetched is tried again; after UNREACHABLE_S it is rejected."""
    now = services.now()
    if now > schedule.after(max(job.created_at, job.not_before or 0), UNREACHABLE_S):
        return events.Barred(Error("input_rejected", message))
    return events.Deferred(schedule.after(now, 15), message)


def build_attempt(
    job: Job, estimate: Estimate, gateway: GatewaySettings, account: Account, services: Services
) -> tuple[Attempt, Request]:
    """The attempt to record, and the request exactly as it will be sent."""
    provider = PROVIDERS[estimate.provider]
    number = job.attempts[-1].number + 1 if job.attempts else 1
    callback_url = services.callback_url(job, provider.name, number)
    input_urls = {name: services.fetchable_url(job.request[name]) for name in INPUTS if job.request.get(name)}
    seconds = duration_s(job.request, job.inputs)
    submission = Submission({**job.request, **input_urls}, attempt_key(job.id, number), callback_url, seconds)
    request = provider.submit_request(submission, gateway.access(account))
    attempt = Attempt(
        number=number,
        provider=provider.name,
        base_url=gateway.base_url,
        key_name=gateway.key_name,
        account=account.name,
        submitted_at=services.now(),
        callback=callback_url is not None,
        body=request.json if provider.idempotent or provider.askable else None,
        askable=provider.askable,
        estimated_usd=estimate.estimated_usd,
    )
    return attempt, request


def submit_caps(job: Job, estimate: Estimate, gateway: GatewaySettings, account: Account, services: Services) -> Caps:
    """The caps that this submit must keep."""
    tenant = services.settings.tenants[job.tenant]
    daily, monthly = tenant.daily_budget_usd, tenant.monthly_budget_usd
    return Caps(
        gateway.name,
        gateway.max_in_flight,
        gateway.submits_per_minute,
        None if daily is None else money.units(daily),
        money.units(estimate.estimated_usd),
        None if monthly is None else money.units(monthly),
        tenant.max_in_flight,
        None if job.batch_budget_usd is None else money.units(job.batch_budget_usd),
        account.name,
        has_others=len(gateway.accounts) > 1,
    )


def journal_attempts(plans: Sequence[Plan], services: Services) -> Outcomes:
    """Record the attempts in the journal too, which survives a loss of the ledger; withdraw those not to be sent.

    Ledger, journal, then leases: a ledger that lost the attempt in a failover either shows that now, or is compared
    with a journal that has the attempt. Without this order a lost ledger could forget a paid call.
    """
    now = services.now()
    try:
        services.journal.record_intents([(plan.job, plan.request) for plan in plans], now)
        return confirm_leases(plans, services)
    except ArchiveUnavailable as unavailable:
        reason = str(unavailable)
    except Exception:
        if len(plans) > 1:
            raise  # then each is tried alone
        log.exception("step broke", job=plans[0].job.id, state=plans[0].job.state.value, tries=plans[0].job.tries)
        reason = "a step of ours broke; see the worker's log"
    withdraw(plans, schedule.after(now, JOURNAL_RETRY_S), reason, services)
    return [None] * len(plans)


def confirm_leases(plans: Sequence[Plan], services: Services) -> Outcomes:
    """The plans whose leases this worker still has; the others are withdrawn."""
    reason = "the lease was lost"
    try:
        valid = leases.renew_all([plan.lease for plan in plans], services)
    except LedgerUnavailable as outage:
        valid, reason = [False] * len(plans), str(outage)
    lost = [plan for plan, is_valid in zip(plans, valid, strict=True) if not is_valid]
    withdraw(lost, services.now(), reason, services)
    return [plan if is_valid else None for plan, is_valid in zip(plans, valid, strict=True)]


def withdraw(plans: Sequence[Plan], until: int, reason: str, services: Services) -> None:
    """Write to the journal, and then to the ledger, that these were not sent."""
    for plan in plans:
        log.warning("submit held back", job=plan.job.id, reason=reason)
        services.journal.record_outcome(plan.job, _withdrawal(plan, until), reason, services.now())
    if plans:
        services.journal.flush()  # before the ledger drops the attempts: a recovery in between would take them as sent
        commit_outcomes([(plan, _withdrawal(plan, until)) for plan in plans], services)


def _withdrawal(plan: Plan, until: int) -> Event:
    return events.Withdrawn(plan.attempt.submitted_at, until=until)


def send_all(plans: Sequence[Plan], services: Services, pools: ThreadPools) -> None:
    """Send the paid calls, each once, and write their outcomes."""
    for outcomes in pools.map_in_groups("send", partial(send_planned, services=services), plans):
        commit_outcomes([(plan, outcome) for plan, outcome in outcomes if outcome], services)
        for plan, _ in outcomes:
            plan.lease.release()


def send_planned(plan: Plan, services: Services) -> Event | None:
    """Send one planned call and return its outcome.

    None if it was withdrawn, or if our own step failed: then its outcome is unknown, as after a crash.
    """
    try:
        # The thread may start late, or the process may have been frozen: without a valid lease another worker may have
        # the job, and both would pay.
        if not plan.lease.is_fresh(services.now()) and confirm_leases([plan], services) == [None]:
            return None
        return send_and_journal(plan.request, plan.job, services)
    except Exception:
        log.exception("step broke", job=plan.job.id, state=plan.job.state.value, tries=plan.job.tries)
        return None


def send_and_journal(request: Request, job: Job, services: Services) -> Event:
    """Send the paid call once, and record its outcome in the journal."""
    outcome, text = post(request, job.current.provider, services)
    services.journal.record_outcome(job, outcome, text, services.now())
    return outcome


def commit_outcomes(outcomes: Sequence[tuple[Plan, Event]], services: Services) -> None:
    """Write the outcomes to the ledger, and wait for it if need be: they are known nowhere else yet."""
    wait_and_write(outcome_writes(outcomes, services), outcomes)


def outcome_writes(outcomes: Sequence[tuple[Plan, Event]], services: Services) -> list[Callable[[], object]]:
    """What is to be written to the ledger about these outcomes."""
    outcomes = [(plan, with_other_account(outcome, plan.job, services)) for plan, outcome in outcomes]
    changes = [(plan.job, replace(outcome, attempt=plan.attempt.number)) for plan, outcome in outcomes]
    counts = [partial(count_refusal, outcome, plan.attempt, services) for plan, outcome in outcomes]
    return [partial(commit, changes, services), *counts]


def write(writes: list[Callable[[], object]]) -> bool:
    """Make the writes, and drop those that are made; False if the ledger is out of reach."""
    try:
        while writes:
            writes[0]()
            del writes[0]
    except LedgerUnavailable:
        return False
    return True


def wait_and_write(writes: list[Callable[[], object]], outcomes: Sequence[tuple[Plan, Event]]) -> None:
    """Make the writes of these outcomes; wait for the ledger if need be."""
    give_up_at = time.monotonic() + LEDGER_WAIT_S
    while not write(writes):
        if time.monotonic() > give_up_at:
            for plan, outcome in outcomes:
                log.critical("outcome not written", job=plan.job.id, outcome=repr(outcome))
            return
        time.sleep(1)


def count_refusal(outcome: Event, attempt: Attempt, services: Services) -> None:
    """Count a refusal or a lost response against the account; enough of them pause it."""
    reason = outcome.reason if isinstance(outcome, events.Refused) else None
    reason = Reason.DOWN if isinstance(outcome, events.Lost) else reason
    if reason in gateway_pauses.PAUSES:
        retry_after_s = outcome.retry_after_s if isinstance(outcome, events.Refused) else None
        try:
            services.ledger.gateways.strike(attempt.provider, reason, retry_after_s, services.now(), attempt.account)
        except LedgerUnavailable:
            raise
        except Exception:  # the outcomes of other jobs must still be written
            log.exception("refusal not counted", account=attempt.account_label)
