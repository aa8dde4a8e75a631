"""One seed, one history: the code of the product, a virtual clock, and faults at each of its effects."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import batch_orders
import bulk_orders
import parts
from actor_scheduler import Actor, ActorScheduler, Died
from batch_orders import BatchOrder
from bulk_orders import BulkOrder
from model_bucket import Bucket
from model_gateways import INPUTS, Gateways, Task

from rushes.shared.domain import schedule
from rushes.shared.domain.job import Chore, Job
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.ledger.tickets import Ticket

NOW = 1_790_000_000_000
# A tenant at its `max_in_flight` is looked at twice a second, for as long as a submit in doubt holds its place.
MOST_TURNS, MOST_VIRTUAL_MS = 60_000, 12 * 3_600_000
# Away for longer than this, a living worker may lose what it holds.
AWAY_MS = (schedule.LEASE_S - schedule.RENEW_S) * 1000
WORKERS = ("worker-1", "worker-2", "worker-3")
ACTORS = ActorScheduler()

DEADLY = ("die before", "die after")
# The faults of an effect, by part, with their relative frequency.
FATES: dict[str, dict[str, int]] = {
    "store": {"lost": 6, "refused": 2, "outage": 1, "die before": 3, "die after": 3, "freeze": 2, "slow": 1},
    "gateway": {"lost": 5, "unheard": 2, "refused": 3, "die before": 3, "die after": 4, "freeze": 2, "slow": 3},
    "caller": {"lost": 3, "refused": 2, "die before": 2, "die after": 3, "freeze": 1},
    "s3": {"lost": 4, "refused": 3, "again": 3, "die before": 3, "die after": 4, "freeze": 4, "slow": 1},
}

# How long a slow call may take, in s: the deadlines of the product's own calls bound it.
LONG_S = {"store": (1, 4), "gateway": (5, 14, 25, 55), "caller": (5, 9), "s3": (5, 25, 55)}


class Violation(AssertionError):
    """An invariant was broken."""


@dataclass
class Order:
    """A job that a caller enqueues, and the id that it got."""

    marker: str
    body: dict[str, Any]
    id: str | None = None
    canceled: bool = False

    @property
    def tenant(self) -> str:
        """Every other order is the second tenant's."""
        return "zenith" if self.marker[-1] in "13579" else "acme"


@dataclass(frozen=True)
class FaultPlan:
    """The faults of a seed: how many at most, how likely at each effect, and how often actors switch."""

    faults: int = 0
    rate: float = 0
    restless: float = 0
    parts: tuple[str, ...] = tuple(FATES)
    workers: int = 2
    resubmit: bool = False


class WorkerProcesses:
    """A worker's threads: as many as there is work for."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def start(self, kind: str, function: Callable[[Any], None], items: Sequence[Any]) -> None:
        """Start the items without waiting for them."""
        actor = ACTORS.running
        assert actor
        for item in items:
            jobs = tuple(job.id for job in _jobs(item))
            name = jobs[0] if len(jobs) == 1 else kind
            self._simulation.start(name, actor.process, lambda item=item: function(item)).jobs = jobs  # type: ignore[misc]

    def map_in_groups(
        self, kind: str, function: Callable[[Any], Any], items: Sequence[Any]
    ) -> Iterator[list[tuple[Any, Any]]]:
        """Start the items and wait for them, while other actors run."""
        come: list[tuple[Any, Any]] = []
        self.start(kind, lambda item: come.append((item, function(item))), items)
        waiting = len(items)
        while waiting:
            while not come:
                self._simulation.wait()
            group, come[:] = [*come], []
            waiting -= len(group)
            yield group


def _jobs(item: Any) -> list[Job]:
    """Whom it is done for: a job, one in hand, that with its copy, the plan of its submit, or many in hand."""
    if isinstance(item, list):
        return [job for each in item for job in _jobs(each)]
    if isinstance(item, Ticket):  # of a bulk action
        return []
    if isinstance(item, tuple):
        return _jobs(item[0])
    return [item if isinstance(item, Job) else item.job]


class Simulation:
    """`orders` are wanted at the beginning; `fate` may be replaced to decide what befalls each effect."""

    def __init__(
        self,
        store: Any,
        seed: int,
        fault_plan: FaultPlan,
        orders: list[Order],
        batches: Sequence[BatchOrder] = (),
        bulks: Sequence[BulkOrder] = (),
    ) -> None:
        self.seed, self.fault_plan, self.batches, self.bulks = seed, fault_plan, batches, bulks
        self.orders = [*orders, *(order for wanted in batches for order in wanted.orders)]
        self._alone = orders
        self.random = random.Random(seed)
        self.now = NOW
        self.trace: list[str] = []
        self.actors: list[Actor] = []
        self.agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self.jobs_seen: dict[str, Job] = {}
        self.raw: dict[str, str] = {}
        self.ends: Counter[str] = Counter()
        self.excuses: defaultdict[str, set[str]] = defaultdict(set)
        self.happened: Counter[str] = Counter()
        self.faults_left = fault_plan.faults
        self.outage_until = 0
        self.looking = False
        self.frozen: dict[str, int] = {}
        self.violations: list[str] = []
        self.beating: set[str] = set()
        self.wake_at = 0
        self.how_long: Callable[[tuple[int, ...]], int] = self.random.choice
        self.fate: Callable[[str, str], str] = self._fate
        self.bucket = Bucket(self.effect)
        self.gateways = Gateways(self.effect, lambda: self.now)
        self.gateways.accepted = self._accepted
        self.gateways.broke = self.broke
        self.callback_times: Callable[[Task], list[int]] = self._callback_times
        self.broker: Callable[[], list[int]] = self._broker_times
        self.gateways.refused = lambda job, word: self.excuses[job].add("refused")
        self.parts = parts.assemble(self, store, self.gateways, self.bucket, fault_plan.resubmit, self._hand)
        self.services = self.parts.services
        self.on_bill: Callable[[Task, Job | None], None] = lambda task, job: None

    # --- a run

    def run(self) -> Simulation:
        """Run until every job has ended and nothing is left to do."""
        with parts.simulated_modules(self):
            for number, order in enumerate(self._alone):
                self.at(self.now + number * self.random.choice((0, 10, 3000)), lambda order=order: self._ask(order))  # type: ignore[misc]
            for wanted in self.batches:
                self.at(self.now, lambda wanted=wanted: self._ask_batch(wanted))  # type: ignore[misc]
            for bulk in self.bulks:
                self.at(self.now + bulk.at_ms, lambda bulk=bulk: self._ask_bulk(bulk))  # type: ignore[misc]
            self.at(self.now, self._turn)
            try:
                for _ in range(MOST_TURNS):
                    if not self._go_on():
                        return self
                raise Violation(f"it never came to rest: {self._description()}")
            finally:
                self._kill_all()

    def _go_on(self) -> bool:
        self._do_agenda()
        ready = [actor for actor in self.actors if actor.ready_at <= self.now]
        if ready:
            self._resume(ready[0] if len(ready) == 1 else self.random.choice(ready))
            return True
        if self._quiet():
            return False
        moments = [actor.ready_at for actor in self.actors] + [at for at, _, _ in self.agenda[:1]]
        self.now = max(self.now, min(moments))
        if self.now > NOW + MOST_VIRTUAL_MS:
            raise Violation(f"stuck: {self._description()}")
        return True

    def _do_agenda(self) -> None:
        while self.agenda and self.agenda[0][0] <= self.now:
            heapq.heappop(self.agenda)[2]()

    def _resume(self, actor: Actor) -> None:
        ACTORS.resume(actor)
        if actor.ended:
            self.actors.remove(actor)
            if self.violations:
                raise Violation(f"seed {self.seed}\n{self.violations[0]}") from actor.error
            if actor.error:
                raise Violation(f"{actor.name} let out {actor.error!r}") from actor.error
            if actor.process != "scheduler":
                self._ring()

    def _quiet(self) -> bool:
        if self.actors or any(order.id is None for order in self.orders):
            return False
        if len(self.agenda) > 1:  # the scheduler's next turn is always on it
            return False
        if not all(batch_orders.has_come_to_rest(self, wanted) for wanted in self.batches):
            return False
        if not all(bulk_orders.has_come_to_rest(self, wanted) for wanted in self.bulks):
            return False
        return all(job.chores == (Chore.RETIRE,) for job in self.jobs_seen.values())

    def _description(self) -> str:
        alive = [(actor.name, actor.process, actor.ready_at - NOW) for actor in self.actors]
        jobs = [(j.id, j.state.value, j.due_at and j.due_at - NOW, j.history[-4:]) for j in self.jobs_seen.values()]
        ahead = [(at - NOW, do) for at, _, do in self.agenda]
        return f"at {self.now - NOW} ms, actors {alive}, ahead {ahead}, jobs {jobs}"

    def _kill_all(self) -> None:
        for actor in list(self.actors):
            actor.killed = True
            while not actor.ended:
                ACTORS.resume(actor)
        self.actors.clear()

    # --- what the parts call

    def at(self, moment: int, do: Callable[[], None]) -> None:
        """Schedule an action."""
        heapq.heappush(self.agenda, (moment, next(self._numbers), do))

    def start(self, name: str, process: str, work: Callable[[], None]) -> Actor:
        """Start an actor."""
        actor = Actor(name, process, work, max(self.now, self.frozen.get(process, 0)))
        self.actors.append(actor)
        return actor

    def bits(self, count: int) -> int:
        return self.random.getrandbits(count)

    def broke(self, what: str) -> None:
        """Note what must not be, even where the product catches what is raised here."""
        self.violations.append(what)
        raise Violation(what)

    def process(self) -> str:
        return ACTORS.running.process if ACTORS.running else "judge"

    def wait(self) -> None:
        """Let others go first."""
        actor = ACTORS.running
        assert actor
        actor.ready_at = max(actor.ready_at, self.now + 100)
        ACTORS.pause()

    def sleep(self, seconds: float) -> None:
        actor = ACTORS.running
        assert actor
        if actor.killed:
            raise Died
        actor.ready_at = self.now + round(seconds * 1000)
        ACTORS.pause()

    def effect(self, part: str, name: str, function: Callable[[], Any], refused: Exception, lost: Exception) -> Any:
        """An effect: other actors may run before it and before its answer, and it may fail."""
        actor = ACTORS.running
        if actor is None or self.looking:
            return function()
        if actor.killed:
            raise Died
        if self.random.random() < self.fault_plan.restless:
            ACTORS.pause()
        fate = "refused" if part == "store" and self.now < self.outage_until else self.fate(part, name)
        self.trace.append(f"{actor.process} {actor.name} {part} {name} {fate}".rstrip())
        self.now += self.random.randrange(20)
        return self._befall(fate, actor, part, name, function, refused, lost)

    def _befall(
        self,
        fate: str,
        actor: Actor,
        part: str,
        name: str,
        function: Callable[[], Any],
        refused: Exception,
        lost: Exception,
    ) -> Any:
        if fate:
            self.happened[fate] += 1
            self._excuse(actor, fate, name)
            BEFORE.get(fate, _nothing)(self, actor, part)
        if fate in ("refused", "outage"):
            raise refused
        if fate == "unheard":
            raise lost
        answer = self._done(part, name, function)
        if fate == "again":
            ACTORS.pause()
            answer = self._done(part, name, function)
        if fate == "die after":
            self.kill(actor.process, actor)
        if fate == "lost":
            raise lost
        if self.random.random() < self.fault_plan.restless / 2:
            ACTORS.pause()
        return answer

    def _done(self, part: str, name: str, function: Callable[[], Any]) -> Any:
        answer = function()
        if part == "store" and name not in parts.READS:
            if name in ("create", "create_batch"):
                self._discover()
            self._watch()
        return answer

    def _discover(self) -> None:
        """Jobs that were written down, whether their callers heard of it or not."""
        for job_id, raw in self.parts.everything().items():
            if job_id not in self.jobs_seen:
                self.raw[job_id], self.jobs_seen[job_id] = raw, parts.decode(raw)

    def _excuse(self, actor: Actor, fate: str, name: str) -> None:
        if fate in DEADLY or fate == "freeze":
            for other in self.actors:
                if other.process == actor.process:
                    self._excused(other, "away")
        elif name.startswith("submit") and fate in ("lost", "unheard"):
            self._excused(actor, "lost")
        elif fate == "slow":
            self._excused(actor, "slow")
        elif fate == "outage":
            for job_id in self.jobs_seen:
                self.excuses[job_id].add("outage")

    def _excused(self, actor: Actor, why: str) -> None:
        for job in actor.jobs:
            self.excuses[job].add(why)

    # --- what goes wrong

    def _fate(self, part: str, name: str) -> str:
        """The seed decides."""
        if not self.faults_left or part not in self.fault_plan.parts or self.random.random() > self.fault_plan.rate:
            return ""
        self.faults_left -= 1
        odds = FATES[part]
        return self.random.choices(list(odds), list(odds.values()))[0]

    def kill(self, process: str, actor: Actor | None = None) -> None:
        """kill -9 of a process, at whatever its threads are."""
        self.frozen.pop(process, None)
        for other in self.actors:
            if other.process == process:
                other.killed, other.ready_at = True, self.now
        if actor:
            raise Died

    def freeze(self, actor: Actor) -> None:
        """The whole process stands still for a while."""
        until = self.now + self.how_long((3, 12, 17, 40, 400)) * 1000
        self.frozen[actor.process] = until
        for other in self.actors:
            if other.process == actor.process:
                other.ready_at = max(other.ready_at, until)
        actor.ready_at = until
        ACTORS.pause()

    def slow(self, actor: Actor, part: str) -> None:
        """One call takes long, as long as its deadline lets it; the process lives."""
        actor.ready_at = self.now + self.how_long(LONG_S[part]) * 1000
        ACTORS.pause()

    def outage(self) -> None:
        """Redis is gone for a while."""
        self.outage_until = self.now + self.how_long((1, 5, 20, 60)) * 1000

    # --- watching

    def _watch(self) -> None:
        """Look at every record after each write: what has ended is never left, and ends once."""
        ids = list(self.jobs_seen)
        for job_id, raw in zip(ids, self.parts.raw(ids), strict=True):
            if raw is not None and raw != self.raw[job_id]:
                self._moved(self.jobs_seen[job_id], parts.decode(raw))
                self.raw[job_id] = raw

    def _moved(self, was: Job, job: Job) -> None:
        if was.ended and (job.state is not was.state or job.result != was.result):
            self.broke(f"{job.id} had ended as {was.state} and is {job.state}")
        if job.version <= was.version:
            self.broke(f"{job.id} went back from version {was.version} to {job.version}")
        self.ends[job.id] += job.ended and not was.ended
        self.jobs_seen[job.id] = job

    # --- the processes

    def _turn(self) -> None:
        self.wake_at = self.now + 3_600_000
        self.start("turn", "scheduler", self._claim)

    def _claim(self) -> None:
        nap_s = 1.0
        try:
            nap_s = self.parts.scheduler.turn(self.now)
            if any(job.parked and not job.ended for job in self.jobs_seen.values()):
                nap_s = min(nap_s, 5.0)
        except LedgerUnavailable:
            pass
        finally:
            self._wake(self.now + max(1, round(nap_s * 1000)))

    def _wake(self, moment: int) -> None:
        if moment < self.wake_at or self.wake_at <= self.now:
            self.wake_at = moment
            self.agenda = [entry for entry in self.agenda if entry[2] != self._turn]
            heapq.heapify(self.agenda)
            self.at(moment, self._turn)

    def _ring(self) -> None:
        """Whoever came to an end may have made something due."""
        if not any(actor.process == "scheduler" for actor in self.actors):
            self._wake(self.now + 1)

    def _hand(self, tickets: Any) -> None:
        """The broker delivers a message, once as a rule."""
        for late_ms in self.broker():
            self.at(self.now + late_ms, lambda: self._deliver(tickets))

    def _broker_times(self) -> list[int]:
        """After how many ms a message comes: it is lost, delivered twice or late where the seed says so."""
        copies = 1
        if self.faults_left and self.random.random() < self.fault_plan.rate:
            self.faults_left -= 1
            copies = self.random.choice((0, 2, 2, 3))
            self.happened[f"message x {copies}"] += 1
        return [self.random.choice((0, 5, 500, 11_000, 40_000)) if copies > 1 else 0 for _ in range(copies)]

    def _deliver(self, tickets: Any) -> None:
        process = self.random.choice(WORKERS[: self.fault_plan.workers])
        self.start("message", process, lambda: parts.perform(tickets, self.services, WorkerProcesses(self)))
        if process not in self.beating:
            self.beating.add(process)
            self.at(self.now + schedule.RENEW_S * 1000, lambda: self._beat(process))

    def _beat(self, process: str) -> None:
        self.beating.discard(process)
        held = [actor for actor in self.actors if actor.process == process]
        if held:
            if all(actor.name != "beat" for actor in held):
                self.start("beat", process, lambda: parts.beat(process, self.services))
            self.beating.add(process)
            next_at = max(self.frozen.get(process, 0), self.now) + schedule.RENEW_S * 1000
            self.at(next_at, lambda: self._beat(process))

    # --- callers, and the callbacks of the gateways

    def _ask(self, order: Order) -> None:
        self.start(order.marker, "web", lambda: self._post_job(order))

    def _ask_batch(self, wanted: BatchOrder) -> None:
        self.start(wanted.marker, "web", lambda: batch_orders.ask(self, wanted))

    def _ask_bulk(self, wanted: BulkOrder) -> None:
        self.start("bulk", "web", lambda: bulk_orders.ask(self, wanted))

    def _post_job(self, order: Order) -> None:
        """A caller insists until the job is taken."""
        heard = False
        try:
            answer = self._call("/v1/jobs", order.body, {"Idempotency-Key": order.marker}, order.tenant)
            heard = answer.status_code in (200, 202)
            if heard:
                self._taken(order, answer.json["id"])
            elif answer.status_code != 503:
                self.broke(f"the job was not taken: {answer.status_code} {answer.text}")
        finally:
            if not heard:
                self.at(self.now + 2000, lambda: self._ask(order))

    def _taken(self, order: Order, job_id: str) -> None:
        order.id = job_id
        if job_id not in self.jobs_seen:
            self.broke(f"{job_id} was promised and is not there")

    def _call(self, path: str, body: Any, headers: dict[str, str], tenant: str = "acme") -> Any:
        return self.parts.web_client.post(path, json=body, headers={"Authorization": f"Bearer {tenant}-key", **headers})

    def cancel(self, order: Order) -> None:
        """The caller does not want it any more."""

        def ask() -> None:
            if order.id and self._call(f"/v1/jobs/{order.id}/cancel", None, {}, order.tenant).status_code == 200:
                order.canceled = True

        self.start(order.marker, "web", ask)

    def _accepted(self, task: Task) -> None:
        """A bill was written: is it one that may be?"""
        self.on_bill(task, self._payer_of(task.job))
        if task.callback_url:
            for moment in self.callback_times(task):
                self.at(moment, lambda: self._call_back(task))

    def _callback_times(self, task: Task) -> list[int]:
        early = [self.now + self.random.choice((0, 1, 30))] if self.random.random() < 0.3 else []
        after = [self.random.choice((0, 1, 40, 3000, 60_000)) for _ in range(self.random.choice((1, 1, 2, 3)))]
        return [*early, *(task.ends_at + wait for wait in after)]

    def _call_back(self, task: Task, tries: int = 0) -> None:
        self.start(f"callback of {task.job}", "web", lambda: self._deliver_callback(task, tries))

    def _deliver_callback(self, task: Task, tries: int) -> None:
        """A callback is sent again until it is accepted."""
        heard = False
        try:
            assert task.callback_url
            path = task.callback_url.removeprefix("https://rushes.example")
            heard = self._call(path, self.gateways.told(task), {}).status_code == 200
            if heard and self.now >= task.ends_at:
                self.happened[f"heard of {task.id}"] += 1
        finally:
            if not heard and tries < 20:
                self.at(self.now + 5000, lambda: self._call_back(task, tries + 1))

    def forge(self, order: Order) -> None:
        """Somebody who knows no secret says that the job is done, and names a task of his own at the same gateway."""
        own = Task("apimodels", f"theirs-{len(self.gateways.tasks)}", "a stranger's", None, None, self.now, self.now)
        self.gateways.tasks.append(own)

        def knock() -> None:
            for attempt in (1, 2) if order.id else ():
                self._call(f"/callbacks/apimodels/{order.id}/{attempt}-{'A' * 32}", self.gateways.told(own), {})

        self.start("forger", "web", knock)

    # --- looking

    def job_of(self, marker: str) -> Job | None:
        """The job of an order as it stands in the ledger."""
        ids = [job.id for job in self._jobs_of(marker) if job.retry_of is None]
        if len(ids) > 1:
            self.broke(f"{marker} was taken twice: {ids}")
        raws = self.parts.raw(ids)
        return parts.decode(raws[0]) if raws and raws[0] else None

    def _payer_of(self, marker: str) -> Job | None:
        """Who has a submit of an order written down: the job, or its newest retry."""
        first, retries = self.job_of(marker), [job for job in self._jobs_of(marker) if job.retry_of]
        if len({job.retry_of for job in retries}) < len(retries):
            self.broke(f"{marker} was retried twice: {[job.id for job in retries]}")
        return max(retries, key=lambda job: job.id) if retries else first

    def _jobs_of(self, marker: str) -> list[Job]:
        return [job for job in self.jobs_seen.values() if job.request["prompt"] == marker]


def _nothing(_: Simulation, __: Actor, ___: str) -> None:
    pass


BEFORE: dict[str, Callable[[Simulation, Actor, str], None]] = {
    "die before": lambda simulation, actor, _: simulation.kill(actor.process, actor),
    "freeze": lambda simulation, actor, _: simulation.freeze(actor),
    "slow": lambda simulation, actor, part: simulation.slow(actor, part),
    "outage": lambda simulation, _, __: simulation.outage(),
}


def text(marker: str, **fields: Any) -> Order:
    """A job that newapi and apimodels can do."""
    return Order(marker, {"model": "kling-v3", "prompt": marker, "duration": 3, **fields})


def motion(marker: str, **fields: Any) -> Order:
    """A job that apimart and apimodels can do."""
    urls = {"image_url": f"https://{INPUTS}/picture.jpg", "video_url": f"https://{INPUTS}/clip.mp4"}
    base = {"model": "kling-v2-6-motion-control", "prompt": marker, "character_orientation": "image", **urls}
    return Order(marker, {**base, **fields})
