"""Many tenants at one gateway: the cost of a turn, and how long a small tenant waits beside a large one."""

from __future__ import annotations

import heapq
import statistics
import time
from collections.abc import Sequence
from decimal import Decimal

from benchmarks.figures.ledger import CAP, CHUNK, GATEWAY, _client, _services
from benchmarks.rig.load import RUSHES_REQUEST
from benchmarks.rig.stack import Rig
from benchmarks.table import Row, Size, at_most
from rushes.shared.domain import events, fair_shares, schedule
from rushes.shared.domain.events import Reason
from rushes.shared.domain.ids import new_id
from rushes.shared.domain.job import Attempt, Job
from rushes.shared.ledger import keys
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.store import LaneRoom
from rushes.shared.ledger.submits import Caps, Submit
from rushes.worker.scheduler import Scheduler

JOBS, TURNS = 100_000, 200
FEW, MANY = 10, 10_000
NOW = 1_790_000_000_000
PRICE = Decimal("0.40")
# A clip takes a minute, so a place becomes free every three seconds.
CLIP_MS = 60_000
QUEUED = 10_000


def turn(size: Size) -> list[Row]:
    """One turn that hands out twenty tickets, the same jobs of few tenants and of many."""
    with Rig() as few, Rig() as many:
        turners = Turner(few, FEW), Turner(many, MANY)
        for _ in range(TURNS // (4 if size.quick else 1)):
            for turner in turners:
                turner.turn()
    small, large = (statistics.median(turner.taken_ms) for turner in turners)
    return [at_most(f"a scheduler's turn, {MANY:,} tenants", large, small, "ms", f"{FEW} tenants", 1.5)]


class Turner:
    """A scheduler of its own over the lines of so many tenants; what it hands out is put back into its line."""

    def __init__(self, rig: Rig, tenants: int) -> None:
        self._services = _services(rig, APIMODELS_MAX_IN_FLIGHT=str(CAP))
        self._client = _client(rig)
        self._handed: list[tuple[str, str, int]] = []
        self._scheduler = Scheduler(self._services, self._handed.extend)
        self._tenants = tenants
        self.taken_ms: list[float] = []
        self._fill(int(time.time() * 1000) - schedule.DAY)
        for _ in range(tenants // 100):  # let every line take its turns, before anything is measured
            self._scheduler.turn(self._services.now())
            self._put_back()

    def turn(self) -> None:
        """One turn, timed."""
        began_at = time.perf_counter()
        self._scheduler.turn(self._services.now())
        self.taken_ms.append(1000 * (time.perf_counter() - began_at))
        self._put_back()

    def _tenant(self, number: int) -> str:
        return f"tenant-{number % self._tenants}"

    def _fill(self, due_at: int) -> None:
        self._client.config_set("appendfsync", "no")
        later = keys.later("submit", GATEWAY)
        for start in range(0, JOBS, CHUNK):
            with self._client.pipeline(transaction=False) as pipe:
                for number in range(start, start + CHUNK):
                    job_id, line = f"job_{number:026d}", f"{self._tenant(number)}:5"
                    pipe.zadd(keys.due(f"submit:{GATEWAY}:{line}"), {job_id: due_at + number})
                    pipe.zadd(later, {line: due_at + number}, lt=True)
                    pipe.hset(keys.QUEUED, job_id, f"{line}:{fair_shares.cost(PRICE)}")
                pipe.execute()
        self._client.config_set("appendfsync", "always")

    def _put_back(self) -> None:
        if not self._handed:
            raise ValueError("the scheduler handed out nothing")
        with self._client.pipeline() as pipe:
            for lane, job_id, _ in self._handed:
                line = f"{self._tenant(int(job_id.removeprefix('job_')))}:5"
                pipe.zrem(keys.leased(lane), job_id)
                pipe.zadd(keys.due(f"{lane}:{line}"), {job_id: 1})
                pipe.zadd(keys.later("submit", GATEWAY), {line: 1}, lt=True)
                pipe.hdel(keys.charged(GATEWAY), job_id)
            pipe.execute()
        self._handed.clear()


def waiting(size: Size) -> list[Row]:
    """From a small tenant's order to its clip: alone, and beside a tenant whose jobs fill the gateway."""
    count = QUEUED // (10 if size.quick else 1)
    rows = []
    for name, orders in (
        ("a job every 15 s", [number * 15_000 for number in range(40)]),
        ("ten jobs every 4 min", [number // 10 * 240_000 for number in range(40)]),
    ):
        alone, beside = (statistics.mean(_waits(orders, queued)) for queued in (0, count))
        what = f"a small tenant's clip ({name}), {count:,} jobs of another queued"
        rows.append(at_most(what, beside, alone, "s", "alone", 2))
    return rows


def _waits(orders: Sequence[int], queued: int) -> list[float]:
    """Seconds from each order of the small tenant to its clip."""
    with Rig() as rig:
        _client(rig).config_set("appendfsync", "no")
        services = _services(rig)
        gateway = Simulated(Ledger(services.ledger.store, services.settings.policy))  # which logs no moves
        for _ in range(queued):
            gateway.order("large", NOW - 600_000)
        gateway.run_until(NOW)  # the large tenant has every place, as it has them in the middle of the day
        for at in orders:
            gateway.run_until(NOW + at)
            gateway.order("small", NOW + at)
        while len(gateway.took_s) < len(orders):
            gateway.step()
        return gateway.took_s


class Simulated:
    """A gateway with twenty places under Rushes' own ledger, by a clock of its own."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lane = LaneRoom(f"submit:{GATEWAY}", 1000, GATEWAY, CAP, 10**6)
        self._ends: list[tuple[int, str]] = []
        self._now = NOW - 600_000
        self.took_s: list[float] = []

    def order(self, tenant: str, now: int) -> None:
        """A job comes in, and is begun if there is a place."""
        job_id = new_id(now)
        job = Job(job_id, tenant, RUSHES_REQUEST, (GATEWAY,), now, now, due_at=now, estimated_usd=PRICE)
        self._ledger.create(job)
        self._begin(max(now, self._now))

    def run_until(self, now: int) -> None:
        """Let all clips end that end by then."""
        while self._ends and self._ends[0][0] <= now:
            self.step()
        self._now = now

    def step(self) -> None:
        """The next clip ends."""
        self._now, job_id = heapq.heappop(self._ends)
        job = self._ledger.get(job_id)
        if job and job.tenant == "small":
            self.took_s.append((self._now - job.created_at) / 1000)
        self._ledger.apply(job_id, events.Failed(Reason.POLICY, "its end"), self._now)
        self._begin(self._now)

    def _begin(self, now: int) -> None:
        caps = Caps(GATEWAY, CAP, 10**6)
        _, tickets = self._ledger.claim([self._lane], now)
        for job, ticket in filter(None, self._ledger.open_tickets(tickets, now)):
            attempt = Attempt(1, GATEWAY, "", "", now, estimated_usd=PRICE)
            self._ledger.begin_submits([Submit(job, ticket, events.Begun(attempt), caps)], now)
            self._ledger.apply(job.id, events.Accepted("task", attempt=1), now)
            # The first places were taken one after another, so they become free so.
            spread_ms = len(self._ends) * CLIP_MS // CAP if now < NOW - 590_000 else 0
            heapq.heappush(self._ends, (now + CLIP_MS + spread_ms, job.id))
