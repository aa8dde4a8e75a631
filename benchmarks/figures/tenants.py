"""Many tenants at one gateway: the cost of a turn, and how long a small tenant waits beside a large one."""

from __future__ import annotations

import heapq
import statistics
import time
from collections.abc import Sequence

from benchmarks.figures.filling import GATEWAY, MILLION, PRICE, client_of, due, fill, line, services_of
from benchmarks.rig.load import RUSHES_REQUEST
from benchmarks.rig.stack import Rig
from benchmarks.table import Row, Size, at_most, without_goal
from rushes.shared.domain import events, schedule
from rushes.shared.domain.events import Reason
from rushes.shared.domain.ids import new_id
from rushes.shared.domain.job import Attempt, Job
from rushes.shared.ledger import keys
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.store import LaneRoom
from rushes.shared.ledger.submits import Caps, Submit
from rushes.worker.scheduler import Scheduler

FEW_JOBS, FEW, MANY, TURNS = 10_000, 10, 10_000, 100
CAP = 20
NOW = 1_790_000_000_000
# A clip takes a minute, so a place becomes free every three seconds.
CLIP_MS = 60_000
QUEUED = 3000
GOAL = 1.5


def turn(size: Size) -> list[Row]:
    """One turn that hands out twenty tickets: a million jobs of 10,000 tenants, and 10,000 jobs of ten."""
    many_jobs, turns = (MILLION // 10, TURNS // 2) if size.quick else (MILLION, TURNS)
    with Rig() as few, Rig() as many:
        turners = Turner(few, FEW_JOBS, FEW), Turner(many, many_jobs, MANY)
        for _ in range(turns):
            for turner in turners:
                turner.turn()
    small, large = (statistics.median(turner.taken_ms) for turner in turners)
    figure, name = (
        f"a scheduler's turn, {many_jobs:,} waiting, {MANY:,} tenants",
        f"{FEW_JOBS:,} waiting, {FEW} tenants",
    )
    row = at_most("turn", figure, large, small, "ms", name, GOAL)
    return [without_goal(row, f"with {MILLION:,}") if size.quick else row]


class Turner:
    """A scheduler of its own over so many jobs; what it hands out is put back into its line."""

    def __init__(self, rig: Rig, jobs: int, tenants: int) -> None:
        self._services = services_of(rig, APIMODELS_MAX_IN_FLIGHT=str(CAP))
        self._client = client_of(rig)
        self._handed: list[tuple[str, str, int]] = []
        self._scheduler = Scheduler(self._services, self._handed.extend)
        self._tenants = tenants
        self.taken_ms: list[float] = []
        fill(self._client, jobs, tenants, int(time.time() * 1000) - schedule.DAY)
        for _ in range(tenants // 100):  # let every line take its turns, before anything is measured
            self._scheduler.turn(self._services.now())
            self._put_back()

    def turn(self) -> None:
        """One turn, timed."""
        began_at = time.perf_counter()
        self._scheduler.turn(self._services.now())
        self.taken_ms.append(1000 * (time.perf_counter() - began_at))
        self._put_back()

    def _put_back(self) -> None:
        if not self._handed:
            raise ValueError("the scheduler handed out nothing")
        with self._client.pipeline() as pipe:
            for lane, job_id, _ in self._handed:
                of_job = line(int(job_id.removeprefix("job_0")), self._tenants)
                pipe.zrem(keys.leased(lane), job_id)
                pipe.zadd(due(of_job), {job_id: 1})
                pipe.zadd(keys.later("submit", GATEWAY), {of_job: 1}, lt=True)
                pipe.hdel(keys.charged(GATEWAY), job_id)
            pipe.execute()
        self._handed.clear()


def waiting(size: Size) -> list[Row]:
    """From a small tenant's order to its clip: alone, and beside a tenant whose jobs fill the gateway."""
    count = QUEUED // (10 if size.quick else 1)
    rows = []
    for key, name, orders in (
        ("fairness_steady", "a job every 15 s", [number * 15_000 for number in range(40)]),
        ("fairness_bursts", "ten jobs every 4 min", [number // 10 * 240_000 for number in range(40)]),
    ):
        alone, beside = (statistics.mean(_waits(orders, queued)) for queued in (0, count))
        what = f"a small tenant's clip ({name}), {count:,} jobs of another queued"
        rows.append(at_most(key, what, beside, alone, "s", "alone", 2))
    return rows


def _waits(orders: Sequence[int], queued: int) -> list[float]:
    """Seconds from each order of the small tenant to its clip."""
    with Rig() as rig:
        client_of(rig).config_set("appendfsync", "no")
        services = services_of(rig)
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
