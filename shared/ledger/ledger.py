"""The one door to what is known of every job: its life from creation to the end of its retention."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from rushes.shared.domain import changes, cheapest_wait, schedule
from rushes.shared.domain.events import Event
from rushes.shared.domain.frozen import replace
from rushes.shared.domain.job import Attempt, Job, Nudge, State
from rushes.shared.domain.schedule import Policy
from rushes.shared.domain.transitions import transition
from rushes.shared.ledger import idempotency, keys, record
from rushes.shared.ledger.alert_episodes import AlertEpisodes
from rushes.shared.ledger.balances import Balances
from rushes.shared.ledger.batches import Batches
from rushes.shared.ledger.broker_reports import BrokerReports
from rushes.shared.ledger.bulk_actions import BulkActions
from rushes.shared.ledger.continuity import Continuity
from rushes.shared.ledger.gateway_health import WINDOW_MS, GatewayHealth
from rushes.shared.ledger.idempotency import NOT_WHOLE, Conflict, NotWhole, first_id_of
from rushes.shared.ledger.learned_times import LearnedTimes
from rushes.shared.ledger.overview import Overview
from rushes.shared.ledger.quarantine import Quarantine
from rushes.shared.ledger.recent_bills import BillHistory
from rushes.shared.ledger.search import Search
from rushes.shared.ledger.store import FIRST_OF_CREATE, Commit, LaneRoom, MoveListener, Store, Verdict, Writes
from rushes.shared.ledger.submits import CapReached, Submit, gates, opens_at
from rushes.shared.ledger.tenant_terms import TenantTerms
from rushes.shared.ledger.tickets import LeaseLost, Ticket, extended, openings, ticket_of
from rushes.shared.ledger.totals import Totals
from rushes.shared.ledger.writes import write_change

# A commit is decided anew this often when others were first; each of them made progress.
CONFLICTS = 50
WORKER_SILENCE_MS = 20_000


class Ledger:
    """Every method is one promise; each raises LedgerUnavailable where the store is out of reach."""

    def __init__(self, store: Store, policy: Policy, on_move: MoveListener = lambda before, after, event: None) -> None:
        """`on_move` hears of each move once it is written; it must not raise."""
        self.store = store
        self.overview = Overview(store)
        self.search = Search(store, self.overview)
        self.gateways = GatewayHealth(store)
        self.balances = Balances(store)
        self.bill_history = BillHistory(store)
        self.continuity = Continuity(store)
        self.broker_reports = BrokerReports(store)
        self.alert_episodes = AlertEpisodes(store)
        self.totals = Totals(store)
        self.quarantine = Quarantine(store)
        self.tenant_terms = TenantTerms(store)
        self.bulk_actions = BulkActions(store)
        self.learned_times = LearnedTimes(store)
        self.batches = Batches(store, policy, on_move)
        self._on_move = on_move
        self._policy = policy

    # --- new jobs

    def create(self, job: Job, key: str | None = None, digest: str = "", guarded: bool = False) -> Job | None:
        """Write a new job down; the first job where the key was used with this body, None where this one is it.

        Raises Conflict where the key was used with another body; where it is `guarded` also NotWhole, if the key may
        have been used in what the ledger has lost.
        """
        job = cheapest_wait.begun(job, self._policy)
        if key:  # the record tells it too, so that a retry finds its job in a ledger that was put back
            job = replace(job, idempotency=f"{keys.digest(key)} {digest}")
        return self._create(job, guarded)

    def _create(self, job: Job, guarded: bool = False) -> Job | None:
        writes = write_change(Writes(first_key=FIRST_OF_CREATE), job.id, changes.created(job, self._policy))
        mark = writes.number(keys.MARK) if guarded else 0
        key_digest, _, digest = (job.idempotency or "").partition(" ")
        once = idempotency.entry(job.tenant, key_digest, job.created_at, job.id, digest, mark)
        body = record.encode(job, record.NO_OPERATION)
        first = self.store.create(job.id, body, writes, once if key_digest else None)
        if first in NOT_WHOLE:
            raise NotWhole(first)
        if not first or first.startswith(job.id):
            self._on_move(None, job, None)
            return None
        first_id = first_id_of(first, digest)
        return self.get(first_id) or replace(job, id=first_id)

    def find_by_key(self, tenant: str, key: str, digest: str, now: int) -> Job | None:
        """The job that was created under this key with this body; None where none was, or it has left the ledger.

        Raises Conflict where the body was another.
        """
        (first,) = self.store.known_keys([idempotency.entry(tenant, keys.digest(key), now)])
        return self.get(first_id_of(first, digest)) if first else None

    def restore_key(self, job: Job, now: int) -> None:
        """Know again the idempotency key of a job that the ledger has lost: the same request is not paid for anew."""
        digest, _, body_digest = (job.idempotency or "").partition(" ")
        if digest:
            self.store.keep_key(idempotency.entry(job.tenant, digest, now, job.id, body_digest))

    # --- reading, and leases

    def get(self, job_id: str) -> Job | None:
        """The job as it is now."""
        return self.get_many([job_id])[0]

    def get_many(self, job_ids: Sequence[str]) -> list[Job | None]:
        """The jobs as they are now, in the order asked for."""
        return [record.decode(text) if text else None for text in self.store.records(job_ids)]

    def claim(self, rooms: Sequence[LaneRoom], now: int) -> tuple[int | None, list[Ticket]]:
        """Lease what is due, and say when the next will be."""
        lease = schedule.after(now, schedule.HANDOUT_S)
        soonest, claimed = self.store.claim(rooms, now, lease, WINDOW_MS)
        return soonest, [Ticket(lane, job_id, lease) for lane, job_id in claimed]

    def open_tickets(self, tickets: Sequence[Ticket], now: int) -> list[tuple[Job, Ticket] | None]:
        """Open tickets in one call, each once; None where another holds the job or it has moved on."""
        longer = extended(tickets, now)
        records = self.store.open_tickets(openings(tickets, longer), record.new_operation())
        return [(record.decode(text), ticket) if text else None for text, ticket in zip(records, longer, strict=True)]

    def renew(self, ticket: Ticket, now: int) -> Ticket | None:
        """Hold the job for longer; None where it is no longer ours."""
        return self.renew_many([ticket], now)[0]

    def renew_many(self, tickets: Sequence[Ticket], now: int) -> list[Ticket | None]:
        """Hold jobs for longer, in one call; None where one is no longer ours."""
        longer = extended(tickets, now)
        renewed = self.store.renew(openings(tickets, longer))
        return [ticket if is_ours else None for ticket, is_ours in zip(longer, renewed, strict=True)]

    # --- moves

    def apply(self, job_id: str, event: Event, now: int, known: Job | None = None) -> Job | None:
        """Apply what happened; late news changes nothing. None where the job has left the ledger.

        `known` is the job as the caller last saw it: where nobody was there since, it need not be read again.
        """
        job = known or self.get(job_id)
        for _ in range(CONFLICTS):
            if job is None:
                return None
            after = self._after(job, event, now)
            if after is job and job is not known:
                return job
            if after is job:  # no news for what the caller saw; it may be some for what stands there now
                job, known = self.get(job_id), None
                continue
            (verdict,) = self.store.commit([self._commit(job, after, event, now)])
            if verdict.kind == "done":
                self._on_move(job, after, event)
                return after
            job = record.decode(verdict.detail) if verdict.kind == "conflict" else None
        raise RuntimeError(f"{job_id} changed {CONFLICTS} times while one event was applied")

    def apply_all(
        self, happened: Sequence[tuple[Job, Event]], now: int, keeps: Callable[[Job], bool] = lambda after: False
    ) -> list[tuple[Job, Ticket]]:
        """Apply what happened to jobs as the caller last saw them, in one call; where others were first, one by one.

        Of the jobs after their moves the caller `keeps` some for their next step: returns them, their tickets opened.
        """
        moves: list[tuple[Job, Job, Event, bool]] = []
        late: list[tuple[Job, Event]] = []
        for job, event in happened:
            after = self._after(job, event, now)
            if after is job:
                late.append((job, event))
            elif keeps(after):
                moves.append((job, replace(after, tries=1), event, True))  # a try, as if its ticket were opened
            else:
                moves.append((job, after, event, False))
        commits = [self._commit(job, after, event, now, is_kept) for job, after, event, is_kept in moves]
        verdicts = self.store.commit(commits) if commits else []
        kept = []
        for (job, after, event, is_kept), verdict in zip(moves, verdicts, strict=True):
            if verdict.kind == "done":
                self._on_move(job, after, event)
                kept += [(after, ticket_of(after, now))] if is_kept else []
            elif verdict.kind == "conflict":
                late.append((job, event))
        for job, event in late:
            self.apply(job.id, event, now)
        return kept

    def begin_submits(self, submits: Sequence[Submit], now: int) -> list[Job | LeaseLost | CapReached]:
        """Write submits down before they are sent, in one call, each if its ticket is still ours and every cap allows.

        Where an exception stands in place of a job, nothing was written.
        """
        after = [replace(transition(s.job, s.event, now, self._policy), version=s.job.version + 1) for s in submits]
        begins = [job.state is State.SUBMITTING for job in after]  # the others are past their start deadline
        pairs = zip(submits, after, begins, strict=True)
        verdicts = iter(self.store.commit([self._begin_submit(submit, job, now) for submit, job, may in pairs if may]))
        return [
            self._begun(submit, job, next(verdicts), now) if may else CapReached("deadline", now)
            for submit, job, may in zip(submits, after, begins, strict=True)
        ]

    def _begin_submit(self, submit: Submit, after: Job, now: int) -> Commit:
        job, ticket, writes = submit.job, submit.ticket, Writes()
        shut = gates(writes, submit, now)
        # The worker that is about to call keeps the job: nobody else may take it up while it is being paid for.
        writes.add("ZADD", keys.leased(ticket.lane), str(schedule.after(now, schedule.LEASE_S)), job.id)
        writes.add("ZADD", keys.window(submit.caps.label), str(now), f"{job.id}{after.version}")
        if submit.caps.has_others:
            writes.add("HSET", keys.gateway(submit.caps.label), "trial_until", schedule.after(now, schedule.LEASE_S))
        write_change(writes, job.id, changes.submitted(job, after, self._policy))
        return _commit_of(job.version, after, writes, shut)

    def _begun(self, submit: Submit, after: Job, verdict: Verdict, now: int) -> Job | LeaseLost | CapReached:
        if verdict.kind == "done":
            self._on_move(submit.job, after, submit.event)
            return after
        if verdict.kind != "shut" or verdict.detail == "lease":
            return LeaseLost(submit.job.id)
        return CapReached(verdict.detail, opens_at(verdict.detail, verdict.value, now))

    def nudge(
        self, provider: str, job_id: str, attempt: int, task_id: str | None, now: int, thumbnail_url: str | None = None
    ) -> str:
        """A callback came: look at the job now. Answers `unknown`, `ended` or `noted`.

        Or `strange`, and nothing is done: its attempt is not known, or has another task.
        """
        hint = record.encode_nudge(Nudge(now, attempt, task_id, thumbnail_url))
        return self.store.nudge(f"poll:{provider}", job_id, hint, now)

    def note(self, job_id: str, what: str, detail: str | None, now: int) -> None:
        """Add a line to a job's history, and change nothing else: who holds the job goes on holding it."""
        text = self.store.records([job_id])[0]
        for _ in range(CONFLICTS):
            if text is None:
                return
            job = record.decode(text)
            noted = replace(job.noted(now, what, detail), version=job.version + 1)
            (verdict,) = self.store.commit([_commit_of(job.version, noted, Writes())])
            if verdict.kind != "conflict":
                return
            text = verdict.detail

    def retire(self, job: Job) -> None:
        """Take an ended job that owes nothing more out of the ledger; its counters stay."""
        writes = write_change(Writes(), job.id, changes.retired(job))
        self.store.commit([Commit(job.id, job.version, record.new_operation(), "", writes)])

    # --- after a loss

    def restore(self, job: Job, newest: Attempt, overwrite: bool) -> bool:
        """Put a job back as the journal tells it; True where that changed anything.

        Where the job has ended here, knows its newest attempt, or must not be overwritten, it stays as it is.
        """
        for _ in range(CONFLICTS):
            standing = self.get(job.id)
            if standing is None:
                self._create_anyhow(job)
                return True
            if standing.ended or standing.knows(newest) or not overwrite:
                return False
            after = replace(job, version=standing.version + 1)
            (verdict,) = self.store.commit([self._commit(standing, after, Event(), job.updated_at)])
            if verdict.kind == "done":
                return True
        raise RuntimeError(f"{job.id} changed {CONFLICTS} times while it was put back")

    def _create_anyhow(self, job: Job) -> None:
        """A caller that was quicker with the same key has another job by now; this one was paid for all the same."""
        with suppress(Conflict):
            if self._create(job) is None:
                return
        self._create(replace(job, idempotency=None))

    # --- workers and the scheduler

    def record_heartbeat(self, worker: str, now: int) -> None:
        """A worker shows that it lives; one that does not for a while has no room in the lanes."""
        self.store.remember(keys.WORKERS, {worker: now})

    def workers(self, now: int) -> int:
        """How many workers have shown themselves lately."""
        seen = self.store.counters(keys.WORKERS)
        return sum(now - int(at) < WORKER_SILENCE_MS for at in seen.values())

    def record_steps(self, counts: Mapping[str, int]) -> None:
        """A worker has ended so many more steps of each kind."""
        self.store.increase(keys.STEPS, counts)

    def steps(self) -> Mapping[str, int]:
        """How many steps of each kind were ever ended, about: a count that was lost is not told again."""
        return {kind: int(count) for kind, count in self.store.counters(keys.STEPS).items()}

    def wake(self) -> None:
        """Wake the scheduler."""
        self.store.wake()

    def listen(self, timeout_s: float) -> None:
        """Sleep until the scheduler is woken or the time is over."""
        self.store.listen(timeout_s)

    def check_writes(self) -> None:
        """Raise LedgerUnavailable where the store is out of reach, or refuses what a new job needs."""
        self.store.check_writes()

    # --- one commit

    def _after(self, job: Job, event: Event, now: int) -> Job:
        """The job after the event, to be committed; the same object where it changes nothing."""
        policy = replace(self._policy, timings=self.learned_times.timings(now))
        after = transition(job, event, now, policy)
        return after if after is job else replace(after, version=job.version + 1)

    def _commit(self, job: Job, after: Job, event: Event, now: int, keeps: bool = False) -> Commit:
        change = changes.moved(job, after, event, now, self._policy, keeps)
        return _commit_of(job.version, after, write_change(Writes(), job.id, change), wakes=change.wakes)


def _commit_of(
    version: int, after: Job, writes: Writes, shut: Sequence[Sequence[object]] = (), wakes: bool = False
) -> Commit:
    operation = record.new_operation()
    return Commit(after.id, version, operation, record.encode(after, operation), writes, shut, wakes)
