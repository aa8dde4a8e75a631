"""Runs the steps of jobs that came due: each step finds out one fact about its job, an event for the ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import structlog

from rushes.shared.domain import batch, events, schedule
from rushes.shared.domain.events import Event
from rushes.shared.domain.http_messages import Request, Response
from rushes.shared.domain.job import Chore, Job, State
from rushes.shared.http import REDIRECTS, AnswerLost
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.ledger.tickets import Ticket
from rushes.shared.operations.task_query import query_request, read_response
from rushes.shared.providers import PROVIDERS
from rushes.shared.services import Services
from rushes.worker import archive, small_clips
from rushes.worker.archive import CopiedClip, write_empty_manifest
from rushes.worker.bulk_turn import run_bulk
from rushes.worker.erase import before_leaving, erase
from rushes.worker.group_commit import LeasedJob, commit_and_release
from rushes.worker.lane_capacity import BULK, SHARES
from rushes.worker.leases import Lease, acquire, active_leases
from rushes.worker.notify import notify
from rushes.worker.poll import event_for_job, is_too_soon, poll, task_id_of
from rushes.worker.step_failures import crash_limit_event, guard_step
from rushes.worker.submit import Plan, needs_measuring, prepare_all, submit
from rushes.worker.submit_batch import send_together
from rushes.worker.thread_pools import Sequential, ThreadPools

log = structlog.get_logger()

Step = Callable[[Job, Lease, Services], Event | None]

# Half of a worker's archives may follow their polls at once. The other half is the scheduler's, so that clips that wait
# already, with links that die sooner, are not passed by.
KEPT_ARCHIVES = SHARES["archive"].max_tickets // 2


def run(tickets: Sequence[Ticket], services: Services, pools: ThreadPools | None = None) -> None:
    """Run the due steps of some jobs in parallel. A ticket that was opened before, or is too old, does nothing.

    If the ledger goes out of reach, the leases expire and the jobs are handed out again.
    """
    pools = pools or Sequential()
    unique = list(dict.fromkeys(tickets))  # a ticket that is twice in one message must open its job once
    pools.start(BULK, partial(run_bulk, services=services), [ticket for ticket in unique if ticket.lane == BULK])
    unique = [ticket for ticket in unique if ticket.lane != BULK]
    try:
        opened = services.ledger.open_tickets(unique, services.now())
    except LedgerUnavailable as outage:
        log.warning("ledger out of reach", jobs=len(unique), reason=str(outage))
        return
    # open_tickets took the leases. acquire() keeps them renewed, also while the jobs wait for a free thread.
    by_kind = defaultdict[str, list[LeasedJob]](list)
    for job, ticket in filter(None, opened):
        by_kind[schedule.kind_of(ticket.lane)].append((job, acquire(ticket, services)))
    run_one = partial(run_step, services=services)
    for kind, leased_jobs in by_kind.items():
        if run_batch := BATCHES.get(kind):
            pools.start(kind, partial(run_batch, services=services, pools=pools), [leased_jobs])
        else:
            pools.start(kind, run_one, leased_jobs)


def run_step(leased_job: LeasedJob, services: Services) -> None:
    """Run the step of one job, write its event and release the lease."""
    job, lease = leased_job
    asked_at = services.now()
    try:
        event = _with_asked_at(perform(job, lease, services), asked_at)
        if event:
            services.ledger.apply(job.id, event, services.now(), known=job)
    except LedgerUnavailable as outage:
        log.warning("ledger out of reach", job=job.id, reason=str(outage))
    finally:
        lease.release()


def submit_all(leased_jobs: Sequence[LeasedJob], services: Services, pools: ThreadPools) -> None:
    """Submit many jobs together; those whose step is more than a plain submit are run one by one."""
    now = services.now()
    ready = [(job, lease) for job, lease in leased_jobs if is_plain_submit(job)]
    others = [(job, lease) for job, lease in leased_jobs if not is_plain_submit(job)]
    try:
        pools.start("submit", partial(run_step, services=services), others)
        outcomes = list(zip(ready, prepare_all(ready, services), strict=True))
        plans = [outcome for _, outcome in outcomes if isinstance(outcome, Plan)]
        without_plan = [(leased, outcome) for leased, outcome in outcomes if not isinstance(outcome, Plan)]
        commit_and_release([(leased, _with_asked_at(event, now)) for leased, event in without_plan], services)
        send_together(plans, services, pools)
    except LedgerUnavailable as outage:
        log.warning("ledger out of reach", jobs=len(ready), reason=str(outage))
    finally:
        for _, lease in ready:  # again for those already released, which does nothing
            lease.release()


def is_plain_submit(job: Job) -> bool:
    """Whether its step is a submit and nothing before it, and it is not over the crash limit (`schedule.CRASHES`)."""
    return job.state is State.QUEUED and job.tries <= schedule.CRASHES and not needs_measuring(job)


def archive_all(leased_jobs: Sequence[LeasedJob], services: Services, pools: ThreadPools) -> None:
    """Archive many clips: small ones together, others each in a thread of its own; other steps are run one by one."""
    others = [(job, lease) for job, lease in leased_jobs if not is_plain_archive(job)]
    clips = {job.id: (job, lease) for job, lease in leased_jobs if is_plain_archive(job)}
    small = [clips.pop(job.id) for job, _ in [*clips.values()] if small_clips.is_plain(job)]
    try:
        pools.start("archive", partial(run_step, services=services), others)
        if small and clips:
            pools.start("archive", partial(archive_each, services=services, pools=pools), [[*clips.values()]])
            clips = {}
    except BaseException:
        for _, lease in (*small, *clips.values()):
            lease.release()
        raise
    archive_small(small, services, pools) if small else archive_each([*clips.values()], services, pools)


def archive_each(leased_jobs: Sequence[LeasedJob], services: Services, pools: ThreadPools) -> None:
    """Archive clips, each copied in a thread of its own."""
    now = services.now()
    waiting = {job.id: (job, lease) for job, lease in leased_jobs}
    try:
        for group in archive.archive_clips([job for job, _ in leased_jobs], services, pools):
            small_clips.learn(group)
            finish_group([(waiting.pop(job.id), outcome) for job, outcome in group], now, services, pools)
    finally:
        for _, lease in waiting.values():
            lease.release()


def archive_small(leased_jobs: Sequence[LeasedJob], services: Services, pools: ThreadPools) -> None:
    """Archive small clips together; those that cannot be copied so are copied each alone."""
    now = services.now()
    waiting = {job.id: (job, lease) for job, lease in leased_jobs}
    try:
        for group in small_clips.copy_together([job for job, _ in leased_jobs], services):
            if alone := [waiting.pop(job.id) for job, copy in group if copy is None]:
                pools.start("archive", partial(archive_each, services=services, pools=pools), [alone])
            manifests = archive.write_manifests([(job, copy) for job, copy in group if copy], services)
            finish_group([(waiting.pop(job.id), outcome) for job, outcome in manifests], now, services, pools)
    finally:
        for _, lease in waiting.values():
            lease.release()


ArchiveOutcomes = Sequence[tuple[LeasedJob, Event | CopiedClip | None]]


def finish_group(outcomes: ArchiveOutcomes, asked_at: int, services: Services, pools: ThreadPools) -> None:
    """Commit the events of archives; where a manifest still has to be written, write it alone before."""
    copies = [(leased, outcome) for leased, outcome in outcomes if isinstance(outcome, CopiedClip)]
    pools.start("archive", partial(finish_archive, asked_at=asked_at, services=services), copies)
    done = [(leased, _with_asked_at(o, asked_at)) for leased, o in outcomes if not isinstance(o, CopiedClip)]
    commit_and_release(done, services)


def finish_archive(item: tuple[LeasedJob, CopiedClip], asked_at: int, services: Services) -> None:
    """Write the manifest of one clip, then commit the event to the ledger; without an event only release the lease."""
    (job, lease), copy = item
    event: Event | None = None
    try:
        event = guard_step(job, lambda: archive.write_clip_manifest(job, copy, services), services)
    finally:
        commit_and_release([((job, lease), _with_asked_at(event, asked_at))], services)


def is_plain_archive(job: Job) -> bool:
    """Whether its step is the copy of a clip."""
    return job.state is State.ARCHIVING and job.tries <= schedule.CRASHES


def _with_asked_at(event: Event | None, at: int) -> Event | None:
    """The event with the time at which its step began, unless it has one."""
    return replace(event, asked_at=at) if event and not event.asked_at else event


def poll_all(leased_jobs: Sequence[LeasedJob], services: Services, pools: ThreadPools) -> None:
    """Query many tasks together and write their events in groups; other steps are run one by one."""
    now = services.now()
    waiting = dict(enumerate(leased_jobs))  # by number, until they are committed or run alone

    def run_alone(numbers: Iterable[int]) -> None:
        numbers = list(numbers)
        pools.start("poll", partial(run_step, services=services), [waiting[number] for number in numbers])
        for number in numbers:
            del waiting[number]

    try:
        queries = {number: query_of(job, now, services) for number, (job, _) in waiting.items()}
        requests = {number: request for number, request in queries.items() if request}
        run_alone(number for number in queries if number not in requests)
        sent = batched_queries(requests, {number: waiting[number][0] for number in requests}, services)
        for group in services.http_client.send_all([query for _, query in sent], deadline_s=schedule.POLL_DEADLINE_S):
            run_alone(
                number
                for place, response in group
                if fails_as_batch(sent[place][0], response)
                for number in sent[place][0]
            )
            responses = {
                number: response
                for place, response in group
                if response
                for number in sent[place][0]
                if number in waiting
            }
            read = [read_poll(waiting[number][0], response, now, services) for number, response in responses.items()]
            outcomes = [(waiting.pop(number), event) for number, event in zip(responses, read, strict=True)]
            if finished := commit_and_release(outcomes, services, keeps=ArchiveRoom()):
                pools.start("archive", partial(archive_all, services=services, pools=pools), [finished])
    finally:
        for _, lease in waiting.values():
            lease.release()


class ArchiveRoom:
    """Says of jobs whether this worker archives their clips at once: a turn of the scheduler costs time and CPU.

    It does so for KEPT_ARCHIVES at a time.
    """

    def __init__(self) -> None:
        self._left = KEPT_ARCHIVES - active_leases("archive")

    def __call__(self, job: Job) -> bool:
        if job.state is not State.ARCHIVING or self._left <= 0:
            return False
        self._left -= 1
        return True


def query_of(job: Job, now: int, services: Services) -> Request | None:
    """The query of a job's task; None if its step is more than a query."""
    task_id = task_id_of(job)
    if task_id is None or job.tries > schedule.CRASHES or is_too_soon(job, now):
        return None
    try:
        return query_request(job.current, task_id, services)
    except Exception:  # the step is then run alone, where the same error is raised again and logged
        return None


Queries = list[tuple[list[int], Request]]


def batched_queries(requests: Mapping[int, Request], jobs: Mapping[int, Job], services: Services) -> Queries:
    """The queries to send, each with the jobs it is about: several at a gateway that supports it, else one."""
    queries: Queries = [([number], request) for number, request in requests.items() if not is_batchable(jobs[number])]
    by_account = defaultdict[tuple[str, ...], list[int]](list)
    for number in requests:
        if is_batchable(jobs[number]):
            attempt = jobs[number].current
            by_account[attempt.provider, attempt.base_url, attempt.key_name, attempt.account].append(number)
    for numbers in by_account.values():
        attempt = jobs[numbers[0]].current
        provider, access = PROVIDERS[attempt.provider], services.access(attempt.provider, attempt)
        for first in range(0, len(numbers), provider.query_batch):
            batch = numbers[first : first + provider.query_batch]
            task_ids = [jobs[number].current.task_id or "" for number in batch]
            queries.append((batch, provider.batch_query_request(task_ids, access)))
    return queries


def is_batchable(job: Job) -> bool:
    """Whether its task may be queried together with others: not if only an unsigned callback named the task."""
    is_known = job.state is State.RUNNING and bool(job.current.task_id)
    return is_known and PROVIDERS[job.current.provider].query_batch > 1


# These concern the request, not the gateway or the account: perhaps one of several tasks is at fault.
REQUEST_ERRORS = frozenset({400, 404, 405, 413, 414, 422})


def fails_as_batch(numbers: Sequence[int], response: Response | AnswerLost | None) -> bool:
    """Whether each job is to be queried alone: nothing was sent, or a query of several tasks was rejected.

    A query alone also follows redirects.
    """
    status = response.status if isinstance(response, Response) else None
    return response is None or status in REDIRECTS or (len(numbers) > 1 and status in REQUEST_ERRORS)


def read_poll(job: Job, response: Response | AnswerLost, asked_at: int, services: Services) -> Event | None:
    """The event that a response means for its job; None if there is none, or if the ledger is out of reach."""

    def read() -> Event | None:
        return event_for_job(job, _event_of(job, response, services), asked_at, services)

    try:
        event = guard_step(job, read, services)
    except LedgerUnavailable as outage:
        log.warning("ledger out of reach", job=job.id, reason=str(outage))
        return None
    return replace(event, asked_at=asked_at) if event else None


def _event_of(job: Job, response: Response | AnswerLost, services: Services) -> Event:
    if isinstance(response, AnswerLost):
        return events.Lost(str(response))
    return read_response(job.current, task_id_of(job) or "", response, services)


def perform(job: Job, lease: Lease, services: Services) -> Event | None:
    """The event of the step that is due in the job's state; a step that fails is tried again, with growing pauses."""
    if job.tries > schedule.CRASHES:
        return crash_limit_event(job, services)
    return guard_step(job, lambda: STEPS[job.state](job, lease, services), services)


def recover_submit(job: Job, lease: Lease, services: Services) -> Event:
    """A worker died during the paid call: nobody knows whether the call was sent, so it must not be sent again."""
    return events.Lost("the worker died while it submitted", attempt=job.current.number)


def run_chore(job: Job, lease: Lease, services: Services) -> Event | None:
    """Do the first thing that is left to do for an ended job."""
    return CHORES[job.chores[0]](job, services)


def retire(job: Job, services: Services) -> Event | None:
    """Remove an ended job, or a batch, from the ledger; what is in the bucket stays. An erasure comes first."""
    if batch.is_batch(job.id):
        services.ledger.batches.retire(job)
        return None
    if event := before_leaving(job, services):
        return event
    services.ledger.retire(job)
    return None


BATCHES = {"poll": poll_all, "submit": submit_all, "archive": archive_all}
# ARCHIVING is not here: archive_all does it, and runs a job alone only if it is over the crash limit.
STEPS: dict[State, Step] = {
    State.QUEUED: submit,
    State.SUBMITTING: recover_submit,
    State.UNCONFIRMED: poll,
    State.RUNNING: poll,
    State.COMPLETED: run_chore,
    State.FAILED: run_chore,
    State.CANCELED: run_chore,
}
CHORES: dict[Chore, Callable[[Job, Services], Event | None]] = {
    Chore.MANIFEST: write_empty_manifest,
    Chore.NOTICE: notify,
    Chore.ERASE: erase,
    Chore.RETIRE: retire,
}
