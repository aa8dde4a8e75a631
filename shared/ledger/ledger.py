"""The one door to what is known of every job."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from shared.domain import books, health, pace
from shared.domain.events import Event, Reason
from shared.domain.job import Job, Nudge, State
from shared.domain.pace import Pace
from shared.domain.transitions import transition
from shared.ledger import keys, record
from shared.ledger.store import LaneRoom, Store, Verdict, Writes

IDEMPOTENCY_S = 7 * 86_400
# The caps say "a minute"; a second more, because our clock and the gateway's tick apart.
WINDOW_MS = 61_000
# A commit is decided anew this often when others were first; each of them made progress.
CONFLICTS = 50
WORKER_SILENCE_MS = 20_000


@dataclass(frozen=True, slots=True)
class Ticket:
    """The right to do one step of a job, until the lease ends or somebody opens it."""

    lane: str
    job_id: str
    lease: int


@dataclass(frozen=True, slots=True)
class Caps:
    """What a submit must fit into, checked together with writing it down."""

    gateway: str
    max_in_flight: int
    submits_per_minute: int
    budget: int | None = None
    """Most that the tenant may hold and spend this day, 10^-8 USD."""
    price: int = 0
    """What this submit holds, 10^-8 USD."""


class Conflict(Exception):
    """The idempotency key was used before, with another body."""


class LeaseLost(Exception):
    """The ticket's lease ran out; another may hold the job."""


class CapReached(Exception):
    """A cap stands in the way: `cap` is `window`, `inflight` or `budget`; `until` when it may be tried again."""

    def __init__(self, cap: str, until: int) -> None:
        super().__init__(cap)
        self.cap, self.until = cap, until


class Ledger:
    """Every method is one promise; each raises LedgerUnavailable where the store is out of reach."""

    def __init__(self, store: Store, pace_: Pace) -> None:
        self.store = store
        self._pace = pace_

    # --- the life of a job

    def create(self, job: Job, key: str | None = None, digest: str = "") -> Job | None:
        """Write a new job down; the first job where the key was used with this body, None where this one is it.

        Raises Conflict where the key was used with another body.
        """
        writes = self._moves(None, job)
        idem_key = keys.idempotency(job.tenant, key) if key else ""
        body = record.encode(job, secrets.token_hex(6))
        held = self.store.create(job.id, body, idem_key, f"{job.id} {digest}", IDEMPOTENCY_S, writes, ring=True)
        if not held or held.startswith(job.id):
            return None
        first_id, _, first_digest = held.partition(" ")
        if first_digest != digest:
            raise Conflict(first_id)
        return self.get(first_id) or replace(job, id=first_id)

    def get(self, job_id: str) -> Job | None:
        """The job as it is now."""
        return self.get_many([job_id])[0]

    def get_many(self, job_ids: Sequence[str]) -> list[Job | None]:
        """The jobs as they are now, in the order asked for."""
        return [record.decode(held) if held else None for held in self.store.records(job_ids)]

    def claim(self, rooms: Sequence[LaneRoom], now: int) -> tuple[int | None, list[Ticket]]:
        """Lease what is due, and say when the next will be."""
        lease = pace.after(now, pace.HANDOUT_S)
        soonest, given = self.store.claim(rooms, now, lease, WINDOW_MS)
        return soonest, [Ticket(lane, job_id, lease) for lane, job_id in given]

    def begin(self, ticket: Ticket, now: int) -> tuple[Job, Ticket] | None:
        """Open a ticket, once; None where another holds the job or it has moved on."""
        lease = max(pace.after(now, pace.LEASE_S), ticket.lease + 1)
        held = self.store.begin(ticket.lane, ticket.job_id, ticket.lease, lease, secrets.token_hex(6))
        return (record.decode(held), replace(ticket, lease=lease)) if held else None

    def renew(self, ticket: Ticket, now: int) -> Ticket | None:
        """Hold the job for longer; None where it is no longer ours."""
        lease = max(pace.after(now, pace.LEASE_S), ticket.lease + 1)
        kept = self.store.renew(ticket.lane, ticket.job_id, ticket.lease, lease)
        return replace(ticket, lease=lease) if kept else None

    def apply(self, job_id: str, event: Event, now: int) -> Job | None:
        """Apply what happened; late news changes nothing. None where the job has left the ledger."""
        operation, held = secrets.token_hex(6), self.store.records([job_id])[0]
        for _ in range(CONFLICTS):
            if held is None:
                return None
            job = record.decode(held)
            moved = transition(job, event, now, self._pace)
            if moved is job:
                return job
            moved = replace(moved, version=job.version + 1)
            verdict = self._commit(job, moved, operation, now)
            if verdict.kind == "done":
                return moved
            held = verdict.detail if verdict.kind == "conflict" else None
        raise RuntimeError(f"{job_id} changed {CONFLICTS} times while one event was applied")

    def engage(self, job: Job, ticket: Ticket, event: Event, caps: Caps, now: int) -> Job:
        """Write a submit down before it is sent, if the ticket is still ours and every cap allows it.

        Raises LeaseLost or CapReached; then nothing was written.
        """
        moved = replace(transition(job, event, now, self._pace), version=job.version + 1)
        writes = Writes()
        lease = pace.after(now, pace.LEASE_S)
        gates = self._gates(writes, job, ticket, caps, now)
        writes.add("ZADD", keys.leased(ticket.lane), lease, job.id)
        writes.add("ZADD", keys.window(caps.gateway), now, f"{job.id}{moved.version}")
        self._index(writes, job, moved)
        self._count(writes, job, moved)
        body = record.encode(moved, operation := secrets.token_hex(6))
        verdict = self.store.commit(job.id, job.version, operation, body, gates, writes, ring=False)
        if verdict.kind == "done":
            return moved
        if verdict.kind != "shut" or verdict.detail == "lease":
            raise LeaseLost(job.id)
        raise CapReached(verdict.detail, self._opens(verdict.detail, verdict.value, now))

    def nudge(
        self, provider: str, job_id: str, attempt: int, task_id: str | None, now: int, thumbnail_url: str | None = None
    ) -> str:
        """A callback came: look at the job now. Answers `unknown`, `ended` or `noted`."""
        hint = record.encode_nudge(Nudge(now, attempt, task_id, thumbnail_url))
        return self.store.nudge(f"poll:{provider}", job_id, hint, now)

    def retire(self, job: Job) -> None:
        """Take an ended job that owes nothing more out of the ledger; its counters stay."""
        writes = Writes()
        writes.add("ZREM", keys.index(job), job.id)
        writes.add("ZREM", keys.leased("retire"), job.id)
        writes.add("ZREM", keys.due("retire"), job.id)
        self.store.commit(job.id, job.version, secrets.token_hex(6), "", [], writes, ring=False)

    # --- looking around

    def newest(
        self,
        tenant: str | None,
        limit: int,
        before: str = "",
        states: Iterable[State] = (),
        provider: str | None = None,
    ) -> list[Job]:
        """Jobs newest first; of one tenant or of all, in some states, at one gateway, older than `before`."""
        names = self._indexes(tenant, set(states), provider)
        found = self.get_many(self.store.newest(names, limit, before))
        return [job for job in found if job]

    def counts(self, tenant: str | None) -> dict[State, int]:
        """How many jobs stand in each state."""
        names = self._indexes(tenant, set(), None)
        totals = dict.fromkeys(State, 0)
        for name, size in zip(names, self.store.sizes(names), strict=True):
            totals[State(name.rsplit(":", 2)[1])] += size
        return totals

    def overdue_s(self, lanes: Sequence[str], now: int) -> float:
        """How long the job that waits longest past its due time has waited, in seconds."""
        heads = self.store.heads(lanes)
        return max([0, *(now - at for at in heads.values())]) / 1000

    # --- gateways and workers

    def health(self, gateway: str) -> Mapping[str, str]:
        """What is known of a gateway's health: `paused_until` (ms), `why`, `strikes`."""
        return self.store.counters(keys.gateway(gateway))

    def paused_until(self, gateway: str) -> int:
        """Until when nothing new goes to a gateway; 0 where it is well."""
        return int(self.health(gateway).get("paused_until", 0))

    def strike(self, gateway: str, reason: Reason, retry_after_s: float | None, now: int) -> None:
        """Count a refusal that is the gateway's own trouble; enough of them pause it.

        Calls that were under way when a pause began say nothing new.
        """
        if self.paused_until(gateway) > now:
            return
        strikes = self.store.strike(keys.gateway(gateway), {"why": reason.value})
        pause_s = health.pause_s(reason, strikes, retry_after_s)
        if pause_s:
            self.store.remember(keys.gateway(gateway), {"paused_until": pace.after(now, pause_s)})

    def recovered(self, gateway: str) -> None:
        """The gateway took a job, or an operator says that it is well: pause and strikes are over."""
        if self.store.forget(keys.gateway(gateway)):
            self.store.ring()

    def drifted(self, gateway: str, word: str) -> None:
        """Count a word of a gateway that no document knows."""
        self.store.increase(keys.DRIFT, f"{gateway}|{word}")

    def drift(self) -> Mapping[str, str]:
        """`gateway|word` → how often it was said."""
        return self.store.counters(keys.DRIFT)

    def in_flight(self, gateway: str) -> int:
        """How many jobs a gateway has."""
        return int(self.store.counters(keys.IN_FLIGHT).get(gateway, 0))

    def submits_lately(self, gateway: str, now: int) -> int:
        """How many submits of the last minute count against the cap."""
        return self.store.count_since(keys.window(gateway), now - WINDOW_MS)

    def usage(self, day: str) -> Mapping[str, str]:
        """The counters of a UTC day (books.by_gateway reads them)."""
        return self.store.counters(keys.usage(day))

    def alive(self, worker: str, now: int) -> None:
        """A worker shows that it lives; one that does not for a while has no room in the lanes."""
        self.store.remember(keys.WORKERS, {worker: now})

    def workers(self, now: int) -> int:
        """How many workers have shown themselves lately."""
        seen = self.store.counters(keys.WORKERS)
        return sum(now - int(at) < WORKER_SILENCE_MS for at in seen.values())

    def ring(self) -> None:
        """Wake the scheduler."""
        self.store.ring()

    def listen(self, timeout_s: float) -> None:
        """Sleep until the bell rings or the time is over."""
        self.store.listen(timeout_s)

    def ping(self) -> None:
        """Raise LedgerUnavailable where the store is out of reach."""
        self.store.ping()

    def _indexes(self, tenant: str | None, states: set[State], provider: str | None) -> list[str]:
        return [name for name in self.store.index_names() if _fits(name, tenant, states, provider)]

    # --- writing

    def _commit(self, job: Job, moved: Job, operation: str, now: int) -> Verdict:
        writes = self._moves(job, moved)
        freed = books.difference(job, moved).get(("inflight", job.provider or ""), 0) < 0
        ring = freed or (moved.due_at is not None and moved.due_at <= now)
        body = record.encode(moved, operation)
        return self.store.commit(job.id, job.version, operation, body, [], writes, ring)

    def _moves(self, old: Job | None, new: Job) -> Writes:
        """The one due entry, the one index entry, the counters."""
        writes = Writes(first_key=3 if old is None else 2)
        lane = pace.lane(new)
        for was in pace.places(old) if old else ():
            writes.add("ZREM", keys.leased(was), new.id)
            if was != lane:
                writes.add("ZREM", keys.due(was), new.id)
        if lane and new.due_at is not None:
            writes.add("ZADD", keys.due(lane), new.due_at, new.id)
        self._index(writes, old, new)
        self._count(writes, old, new)
        return writes

    def _index(self, writes: Writes, old: Job | None, new: Job) -> None:
        name = keys.index(new)
        if old and keys.index(old) == name:
            return
        if old:
            writes.add("ZREM", keys.index(old), new.id)
        writes.add("ZADD", name, 0, new.id)
        writes.add("SADD", keys.INDEXES, name)

    def _count(self, writes: Writes, old: Job | None, new: Job) -> None:
        for line, step in books.difference(old, new).items():
            key, field = COUNTERS[line[0]](line)
            writes.add("HINCRBY", key, field, step)

    def _gates(self, writes: Writes, job: Job, ticket: Ticket, caps: Caps, now: int) -> list[list[object]]:
        window, day = keys.window(caps.gateway), books.day_of(now)
        gates: list[list[object]] = [
            ["lease", writes.number(keys.leased(ticket.lane)), job.id, ticket.lease],
            ["inflight", writes.number(keys.IN_FLIGHT), caps.gateway, 1, caps.max_in_flight],
            ["window", writes.number(window), caps.submits_per_minute, now - WINDOW_MS],
        ]
        if caps.budget is not None:
            gates.append(["budget", writes.number(keys.held(day)), job.tenant, caps.price, caps.budget])
        return gates

    def _opens(self, cap: str, value: str, now: int) -> int:
        if cap == "window":
            return int(float(value or now)) + WINDOW_MS + 1
        if cap == "budget":
            return now - now % pace.DAY + pace.DAY
        return now


def _fits(name: str, tenant: str | None, states: set[State], provider: str | None) -> bool:
    head, state, gateway = name.rsplit(":", 2)
    return (
        (tenant is None or head == f"rushes:index:{tenant}")
        and (not states or State(state) in states)
        and (provider is None or gateway == provider)
    )


COUNTERS: dict[str, Callable[[books.Line], tuple[str, str]]] = {
    "inflight": lambda line: (keys.IN_FLIGHT, line[1]),
    "held": lambda line: (keys.held(line[1]), line[2]),
    "usage": lambda line: (keys.usage(line[1]), "|".join(line[2:])),
}
