"""The one door to what is known of every job."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from rushes.shared.domain import cheapest_wait, counters, gateway_pauses, metric_counters, schedule, timing
from rushes.shared.domain.events import Accepted, Event, Failed, Reason, Succeeded
from rushes.shared.domain.frozen import replace
from rushes.shared.domain.job import Attempt, Job, Nudge, State
from rushes.shared.domain.schedule import Policy
from rushes.shared.domain.transitions import transition
from rushes.shared.ledger import keys, record
from rushes.shared.ledger.quarantine import Quarantine
from rushes.shared.ledger.store import Commit, LaneRoom, Once, Opening, Store, Verdict, Writes
from rushes.shared.ledger.timings import LearnedTimes

IDEMPOTENCY_S = 7 * 86_400
# The caps say "a minute"; a second more, because our clock and the gateway's tick apart.
WINDOW_MS = 61_000
# A commit is decided anew this often when others were first; each of them made progress.
CONFLICTS = 50
WORKER_SILENCE_MS = 20_000
# A submit that met a ledger not known to be whole is tried again after this long.
WHOLE_S = 2
# So many jobs of a lane are looked at to tell how long they wait.
SAMPLE = 20
# What a gateway's own answers say of its health, as against what an operator decided.
SAID = ("paused_until", "why", "strikes")


Moved = Callable[[Job | None, Job, Event | None], None]


@dataclass(frozen=True)
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


@dataclass(frozen=True, slots=True)
class Submit:
    """A paid call that is about to be made: what to write down before, and what must be so."""

    job: Job
    """As it was opened, or with what the same step learned since."""
    ticket: Ticket
    event: Event
    caps: Caps


class Conflict(Exception):
    """The idempotency key was used before, with another body."""


class NotWhole(Exception):
    """What the ledger had may be lost with another server: `unmarked` where nobody ever said that it is whole."""


UNWHOLE = frozenset({"unmarked", "elsewhere"})


class LeaseLost(Exception):
    """The ticket's lease ran out; another may hold the job."""


class CapReached(Exception):
    """`cap` stands in the way: `pause`, `window`, `inflight` or `budget`; `until` when it may be tried again."""

    def __init__(self, cap: str, until: int) -> None:
        super().__init__(cap)
        self.cap, self.until = cap, until


class Ledger:
    """Every method is one promise; each raises LedgerUnavailable where the store is out of reach."""

    def __init__(self, store: Store, policy: Policy, moved: Moved = lambda old, new, event: None) -> None:
        """`moved` is told of each change once it is written; it must not raise."""
        self.store = store
        self._moved = moved
        self.quarantine = Quarantine(store)
        self.learned_times = LearnedTimes(store)
        self._pace = policy

    # --- the life of a job

    def create(self, job: Job, key: str | None = None, digest: str = "", guarded: bool = False) -> Job | None:
        """Write a new job down; the first job where the key was used with this body, None where this one is it.

        Raises Conflict where the key was used with another body; where it is `guarded` also NotWhole, if the key may
        have been used in what the ledger has lost.
        """
        job = cheapest_wait.begun(job, self._pace)
        if key:  # told by the record too, so that a retry finds its job in a ledger that was put back
            job = replace(job, idempotency=f"{keys.digest(key)} {digest}")
        return self._create(job, guarded)

    def _create(self, job: Job, guarded: bool = False) -> Job | None:
        writes = self._moves(None, job, counters.difference(None, job))
        mark = writes.number(keys.MARK) if guarded else 0
        key_digest, _, digest = (job.idempotency or "").partition(" ")
        once = Once(keys.sealed(job.tenant, key_digest), f"{job.id} {digest}", IDEMPOTENCY_S, mark)
        body = record.encode(job, secrets.token_hex(6))
        held = self.store.create(job.id, body, writes, once if key_digest else None)
        if held in UNWHOLE:
            raise NotWhole(held)
        if not held or held.startswith(job.id):
            self._moved(None, job, None)
            return None
        first_id = _of_the_same(held, digest)
        return self.get(first_id) or replace(job, id=first_id)

    def first(self, tenant: str, key: str, digest: str) -> Job | None:
        """The job that was created under this key with this body; None where none was, or it has left the ledger.

        Raises Conflict where the body was another.
        """
        held = self.store.text(keys.idempotency(tenant, key))
        return self.get(_of_the_same(held, digest)) if held else None

    def get(self, job_id: str) -> Job | None:
        """The job as it is now."""
        return self.get_many([job_id])[0]

    def get_many(self, job_ids: Sequence[str]) -> list[Job | None]:
        """The jobs as they are now, in the order asked for."""
        return [record.decode(held) if held else None for held in self.store.records(job_ids)]

    def claim(self, rooms: Sequence[LaneRoom], now: int) -> tuple[int | None, list[Ticket]]:
        """Lease what is due, and say when the next will be."""
        lease = schedule.after(now, schedule.HANDOUT_S)
        soonest, given = self.store.claim(rooms, now, lease, WINDOW_MS)
        return soonest, [Ticket(lane, job_id, lease) for lane, job_id in given]

    def begin_many(self, tickets: Sequence[Ticket], now: int) -> list[tuple[Job, Ticket] | None]:
        """Open tickets in one call, each once; None where another holds the job or it has moved on."""
        new, openings = _longer(tickets, now)
        records = self.store.begin(openings, secrets.token_hex(6))
        return [(record.decode(held), mine) if held else None for held, mine in zip(records, new, strict=True)]

    def renew(self, ticket: Ticket, now: int) -> Ticket | None:
        """Hold the job for longer; None where it is no longer ours."""
        return self.renew_many([ticket], now)[0]

    def renew_many(self, tickets: Sequence[Ticket], now: int) -> list[Ticket | None]:
        """Hold jobs for longer, in one call; None where one is no longer ours."""
        new, openings = _longer(tickets, now)
        return [mine if kept else None for mine, kept in zip(new, self.store.renew(openings), strict=True)]

    def apply(self, job_id: str, event: Event, now: int, known: Job | None = None) -> Job | None:
        """Apply what happened; late news changes nothing. None where the job has left the ledger.

        `known` is the job as the caller last saw it: where nobody was there since, it need not be read again.
        """
        job = known or self.get(job_id)
        for _ in range(CONFLICTS):
            if job is None:
                return None
            moved = self._after(job, event, now)
            if moved is job and job is not known:
                return job
            if moved is job:  # no news for what the caller saw; it may be some for what stands there now
                job, known = self.get(job_id), None
                continue
            (verdict,) = self.store.commit([self._commit(job, moved, now, event)])
            if verdict.kind == "done":
                self._moved(job, moved, event)
                return moved
            job = record.decode(verdict.detail) if verdict.kind == "conflict" else None
        raise RuntimeError(f"{job_id} changed {CONFLICTS} times while one event was applied")

    def apply_all(self, happened: Sequence[tuple[Job, Event]], now: int) -> None:
        """Apply what happened to jobs as the caller last saw them, in one call; where others were first, one by one."""
        pairs = [(job, self._after(job, event, now), event) for job, event in happened]
        news = [(job, moved, event) for job, moved, event in pairs if moved is not job]
        verdicts = (
            self.store.commit([self._commit(job, moved, now, event) for job, moved, event in news]) if news else []
        )
        late = [(job, event) for job, moved, event in pairs if moved is job]
        for (job, moved, event), verdict in zip(news, verdicts, strict=True):
            if verdict.kind == "done":
                self._moved(job, moved, event)
            elif verdict.kind == "conflict":
                late.append((job, event))
        for job, event in late:
            self.apply(job.id, event, now)

    def _after(self, job: Job, event: Event, now: int) -> Job:
        """The job after the event, to be committed; the same object where it changes nothing."""
        moved = transition(job, event, now, self._policy_at(now))
        return moved if moved is job else replace(moved, version=job.version + 1)

    def engage_many(self, submits: Sequence[Submit], now: int) -> list[Job | LeaseLost | CapReached]:
        """Write submits down before they are sent, in one call, each if its ticket is still ours and every cap allows.

        Of one that is told by an exception nothing was written.
        """
        moved = [replace(transition(s.job, s.event, now, self._pace), version=s.job.version + 1) for s in submits]
        commits = [self._engagement(submit, new, now) for submit, new in zip(submits, moved, strict=True)]
        verdicts = self.store.commit(commits)
        return [self._engaged(*one, now) for one in zip(submits, moved, verdicts, strict=True)]

    def _engagement(self, submit: Submit, moved: Job, now: int) -> Commit:
        job, ticket, caps = submit.job, submit.ticket, submit.caps
        writes = Writes()
        gates = self._gates(writes, job, ticket, caps, now)
        writes.add("ZADD", keys.leased(ticket.lane), schedule.after(now, schedule.LEASE_S), job.id)
        writes.add("ZADD", keys.window(caps.gateway), now, f"{job.id}{moved.version}")
        self._stand_by(writes, job, moved)
        self._index(writes, job, moved)
        _count(writes, counters.difference(job, moved) | metric_counters.moved(job, moved))
        return _commit(job.version, moved, writes, gates)

    def _engaged(self, submit: Submit, moved: Job, verdict: Verdict, now: int) -> Job | LeaseLost | CapReached:
        if verdict.kind == "done":
            self._moved(submit.job, moved, submit.event)
            return moved
        if verdict.kind != "shut" or verdict.detail == "lease":
            return LeaseLost(submit.job.id)
        return CapReached(verdict.detail, self._opens(verdict.detail, verdict.value, now))

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
        held = self.store.records([job_id])[0]
        for _ in range(CONFLICTS):
            if held is None:
                return
            job = record.decode(held)
            noted = replace(job.noted(now, what, detail), version=job.version + 1)
            (verdict,) = self.store.commit([_commit(job.version, noted, Writes())])
            if verdict.kind != "conflict":
                return
            held = verdict.detail

    def retire(self, job: Job) -> None:
        """Take an ended job that owes nothing more out of the ledger; its counters stay."""
        writes = Writes()
        writes.add("ZREM", keys.index(job), job.id)
        writes.add("ZREM", keys.leased("retire"), job.id)
        writes.add("ZREM", keys.due("retire"), job.id)
        self.store.commit([Commit(job.id, job.version, secrets.token_hex(6), "", writes)])

    def restore(self, job: Job, newest: Attempt, overwrite: bool) -> bool:
        """Put a job back as the journal tells it; True where that changed anything.

        Where the job has ended here, knows its newest attempt, or must not be overwritten, it stays as it is.
        """
        for _ in range(CONFLICTS):
            held = self.get(job.id)
            if held is None:
                self._create_anyhow(job)
                return True
            if held.ended or held.knows(newest) or not overwrite:
                return False
            moved = replace(job, version=held.version + 1)
            (verdict,) = self.store.commit([self._commit(held, moved, job.updated_at, Event())])
            if verdict.kind == "done":
                return True
        raise RuntimeError(f"{job.id} changed {CONFLICTS} times while it was put back")

    def _create_anyhow(self, job: Job) -> None:
        """A caller that was quicker with the same key has another job by now; this one was paid for all the same."""
        with suppress(Conflict):
            if self._create(job) is None:
                return
        self._create(replace(job, idempotency=None))

    def keep_key(self, job: Job, now: int) -> None:
        """Know again the idempotency key of a job that the ledger has lost: the same request is not paid for anew."""
        digest, _, body_digest = (job.idempotency or "").partition(" ")
        left_s = IDEMPOTENCY_S - (now - job.created_at) // 1000
        if digest and left_s > 0:
            self.store.keep(keys.sealed(job.tenant, digest), f"{job.id} {body_digest}", left_s)

    def server(self) -> str:
        """Which server answers, and which line of descent its data are of; '' where it does not say."""
        return self.store.server()

    def mark(self) -> Mapping[str, str]:
        """The `server` that the ledger was last found whole on, and until when (`at`, ms) that was so."""
        return self.store.counters(keys.MARK)

    def set_mark(self, server: str, now: int) -> None:
        """The ledger is whole at this moment, on this server."""
        self.store.remember(keys.MARK, {"server": server, "at": now})

    def unmark(self) -> None:
        """From now on nobody says whether the ledger is whole, and nothing is held for that."""
        self.store.forget(keys.MARK, ("server", "at"))

    def plan_afterlook(self, at: int, since: int) -> None:
        """The journal is to be compared once more from `at` on, read from `since` (ms)."""
        self.store.remember(keys.AFTERLOOKS, {str(at): since})

    def afterlooks(self) -> dict[int, int]:
        """The comparisons that are still to be made: when each is due → since when the journal is read, ms."""
        return {int(at): int(since) for at, since in self.store.counters(keys.AFTERLOOKS).items()}

    def drop_afterlooks(self, moments: Iterable[int]) -> None:
        """These comparisons are made; one that was planned meanwhile stays."""
        self.store.forget(keys.AFTERLOOKS, [str(at) for at in moments])

    def whole(self) -> bool:
        """False while submits hold, because the ledger may have lost something with its last server."""
        marked = self.mark().get("server")
        return marked is None or marked == self.server()

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

    def waiting(self, lanes: Sequence[str], now: int) -> dict[str, int]:
        """Lane → since when the job that waits longest there could have been handed out; of the first in line."""
        found = self._sample([(keys.due(lane), now) for lane in lanes])
        return _longest(lanes, [[schedule.ripe_since(job, now) for job, _ in held] for held in found])

    def unopened(self, lanes: Sequence[str], now: int) -> dict[str, int]:
        """The same of jobs that were handed out and that nobody works at: their ticket is unused or ran out.

        A job that is worked at has more of its lease left than a ticket lives.
        """
        found = self._sample([(keys.leased(lane), schedule.after(now, schedule.HANDOUT_S)) for lane in lanes])
        idle = [[job for job, lease in held if lease <= now or not job.tries] for held in found]
        return _longest(lanes, [[schedule.ripe_since(job, now) for job in held] for held in idle])

    def oldest(self, state: State, limit: int) -> list[Job]:
        """Jobs of all tenants that stand in a state, oldest first."""
        names = self._indexes(None, {state}, None)
        return [job for job in self.get_many(self.store.oldest(names, limit)) if job]

    # --- gateways and workers

    def health(self, gateway: str) -> Mapping[str, str]:
        """What is known of a gateway's health: `paused_until` (ms), `why`, `strikes`; the pause that lasts longer."""
        known = self.store.counters(keys.gateway(gateway))
        if int(known.get("stopped_until", 0)) <= int(known.get("paused_until", 0)):
            return known
        return {**known, "paused_until": known["stopped_until"], "why": known["stopped_why"]}

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
        pause_s = gateway_pauses.pause_s(reason, strikes, retry_after_s)
        if pause_s:
            self.store.remember(keys.gateway(gateway), {"paused_until": schedule.after(now, pause_s)})

    def pause(self, gateway: str, why: str, until: int) -> None:
        """Send nothing new there until then, whatever the gateway says meanwhile; jobs go elsewhere or wait."""
        self.store.remember(keys.gateway(gateway), {"stopped_until": until, "stopped_why": why})
        self.store.ring()

    def resume(self, gateway: str, enabled: Iterable[str]) -> None:
        """An operator says that it is well: its pauses are over, and what waits at any gateway looks around again."""
        self.store.forget(keys.gateway(gateway), (*SAID, "stopped_until", "stopped_why"))
        for name in enabled:
            self.store.move(keys.due(f"parked:{name}"), keys.due(f"submit:{name}"))
        self.store.ring()

    def drifted(self, gateway: str, word: str) -> None:
        """Count a word of a gateway that no document knows."""
        self.store.increase(keys.DRIFT, {f"{gateway}|{word}": 1})

    def drift(self) -> Mapping[str, str]:
        """`gateway|word` → how often it was said."""
        return self.store.counters(keys.DRIFT)

    def count(self, counts: Mapping[str, int]) -> None:
        """Add to the tallies what no move of a job tells."""
        self.store.increase(keys.TALLY, counts)

    def tallies(self) -> Mapping[str, str]:
        """What was counted for the metrics since the ledger was new: `what|…` → how often, or how many ms."""
        return self.store.counters(keys.TALLY)

    def in_flight(self, gateway: str) -> int:
        """How many jobs a gateway has."""
        return int(self.store.counters(keys.IN_FLIGHT).get(gateway, 0))

    def handed_out(self, lane: str) -> int:
        """How many tickets of a lane are out, or worked at."""
        return self.store.sizes([keys.leased(lane)])[0]

    def submits_lately(self, gateway: str, now: int) -> int:
        """How many submits of the last minute count against the cap."""
        return self.store.count_since(keys.window(gateway), now - WINDOW_MS)

    def usage(self, day: str) -> Mapping[str, str]:
        """The counters of a UTC day (books.by_gateway reads them)."""
        return self.store.counters(keys.usage(day))

    def held(self, day: str) -> Mapping[str, str]:
        """Tenant → what it has held or spent of a UTC day's budget, 10^-8 USD."""
        return self.store.counters(keys.held(day))

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

    def _sample(self, places: Sequence[tuple[str, int]]) -> list[list[tuple[Job, int]]]:
        found = self.store.ripe(places, SAMPLE)
        ids = sorted({job_id for held in found for job_id, _ in held})
        jobs = {job.id: job for job in self.get_many(ids) if job}
        return [[(jobs[job_id], at) for job_id, at in held if job_id in jobs] for held in found]

    def _indexes(self, tenant: str | None, states: set[State], provider: str | None) -> list[str]:
        return [name for name in self.store.index_names() if _fits(name, tenant, states, provider)]

    # --- writing

    def _commit(self, job: Job, moved: Job, now: int, event: Event) -> Commit:
        change = counters.difference(job, moved)
        writes = self._moves(job, moved, change)
        if isinstance(event, Accepted) and moved.provider and moved.state is State.RUNNING:
            writes.add("HDEL", keys.gateway(moved.provider), *SAID)  # it took a job, so it is well
        self._learn(writes, job, moved, event)
        freed = change.get(("inflight", job.provider or ""), 0) < 0
        due = moved.due_at is not None and moved.due_at <= now
        return _commit(job.version, moved, writes, ring=freed or due)

    def _moves(self, old: Job | None, new: Job, change: dict[counters.Line, int]) -> Writes:
        """The one due entry, the one index entry, the counters with the change of the books."""
        writes = Writes(first_key=3 if old is None else 2)
        lane = schedule.lane(new)
        for was in schedule.leasing(old) if old else ():
            writes.add("ZREM", keys.leased(was), new.id)
        for was in schedule.places(old) if old else ():
            if was != lane:
                writes.add("ZREM", keys.due(was), new.id)
        if lane and new.due_at is not None:
            writes.add("ZADD", keys.due(lane), new.due_at, new.id)
        self._stand_by(writes, old, new)
        self._index(writes, old, new)
        _count(writes, change | metric_counters.moved(old, new))
        return writes

    def _stand_by(self, writes: Writes, old: Job | None, new: Job) -> None:
        """The further gateways of a job in line may take it, from the end of its wait for the first one on."""
        stands = cheapest_wait.standby(new, self._pace)
        for name in cheapest_wait.standby(old, self._pace) if old else ():
            if name not in stands:
                writes.add("ZREM", keys.standby(name), new.id)
        for name, at in stands.items():
            writes.add("ZADD", keys.standby(name), at, new.id)

    def _learn(self, writes: Writes, job: Job, moved: Job, event: Event) -> None:
        """What the end of a task teaches, once: how long it took, and whether its callback came."""
        if not isinstance(event, (Succeeded, Failed)) or job.current.heard_by is not None:
            return
        attempt, kind = moved.current, timing.kind(moved)
        took_s = timing.finished_s(attempt, event.took_s if isinstance(event, Succeeded) else None)
        if took_s is not None:
            field = f"{kind.partition('|')[2]}|{timing.bucket(took_s)}"
            writes.add("HINCRBY", keys.times(attempt.provider), field, 1)
        if attempt.callback and attempt.heard_by == "callback":
            writes.add("HDEL", keys.gateway(attempt.provider), "silent")
        elif attempt.callback:
            writes.add("HINCRBY", keys.gateway(attempt.provider), "silent", 1)

    def _policy_at(self, now: int) -> Policy:
        return replace(self._pace, timings=self.learned_times.timings(now))

    def _index(self, writes: Writes, old: Job | None, new: Job) -> None:
        name = keys.index(new)
        if old and keys.index(old) == name:
            return
        if old:
            writes.add("ZREM", keys.index(old), new.id)
        writes.add("ZADD", name, 0, new.id)
        writes.add("SADD", keys.INDEXES, name)

    def _gates(self, writes: Writes, job: Job, ticket: Ticket, caps: Caps, now: int) -> list[list[object]]:
        window, day = keys.window(caps.gateway), counters.day_of(now)
        gates: list[list[object]] = [
            ["lease", writes.number(keys.leased(ticket.lane)), job.id, ticket.lease],
            ["whole", writes.number(keys.MARK)],
            ["pause", writes.number(keys.gateway(caps.gateway)), now],
            ["inflight", writes.number(keys.IN_FLIGHT), caps.gateway, 1, caps.max_in_flight],
            ["window", writes.number(window), caps.submits_per_minute, now - WINDOW_MS],
        ]
        if caps.budget is not None:
            gates.append(["budget", writes.number(keys.held(day)), job.tenant, caps.price, caps.budget])
        return gates

    def _opens(self, cap: str, value: str, now: int) -> int:
        if cap == "pause":
            return int(value)
        if cap == "whole":
            return schedule.after(now, WHOLE_S)
        if cap == "window":
            return int(float(value or now)) + WINDOW_MS + 1
        if cap == "budget":
            return now - now % schedule.DAY + schedule.DAY
        return now


def _commit(
    version: int, moved: Job, writes: Writes, gates: Sequence[Sequence[object]] = (), ring: bool = False
) -> Commit:
    operation = secrets.token_hex(6)
    return Commit(moved.id, version, operation, record.encode(moved, operation), writes, gates, ring)


def _longer(tickets: Sequence[Ticket], now: int) -> tuple[list[Ticket], list[Opening]]:
    new = [replace(ticket, lease=max(schedule.after(now, schedule.LEASE_S), ticket.lease + 1)) for ticket in tickets]
    return new, [Opening(t.lane, t.job_id, t.lease, n.lease) for t, n in zip(tickets, new, strict=True)]


def _longest(lanes: Sequence[str], since: Sequence[Sequence[int]]) -> dict[str, int]:
    return {lane: min(held) for lane, held in zip(lanes, since, strict=True) if held}


def _of_the_same(held: str, digest: str) -> str:
    first_id, _, first_digest = held.partition(" ")
    if first_digest != digest:
        raise Conflict(first_id)
    return first_id


def _fits(name: str, tenant: str | None, states: set[State], provider: str | None) -> bool:
    head, state, gateway = name.rsplit(":", 2)
    return (
        (tenant is None or head == f"rushes:index:{tenant}")
        and (not states or State(state) in states)
        and (provider is None or gateway == provider)
    )


def _count(writes: Writes, change: Mapping[counters.Line, int]) -> None:
    for line, step in change.items():
        key, field = COUNTERS[line[0]](line)
        writes.add("HINCRBY", key, field, step)


COUNTERS: dict[str, Callable[[counters.Line], tuple[str, str]]] = {
    "inflight": lambda line: (keys.IN_FLIGHT, line[1]),
    "held": lambda line: (keys.held(line[1]), line[2]),
    "usage": lambda line: (keys.usage(line[1]), "|".join(line[2:])),
    "tally": lambda line: (keys.TALLY, "|".join(line[1:])),
}
