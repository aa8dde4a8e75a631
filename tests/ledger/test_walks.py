"""Long random lives of a few jobs: whatever happens in whatever order, the ledger stays whole."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from factories import DAY, HOUR, MINUTE, NOW, POLICY, SECOND, job, link, result
from ledger_steps import ALL_ROOMS, GATEWAYS, LANES, Both, Twice, contents, engage, plan

from rushes.shared.domain import cheapest_wait, counters, events, fair_shares, ids, schedule
from rushes.shared.domain.events import Event, Reason
from rushes.shared.domain.job import Chore, Error, Job, State
from rushes.shared.ledger import keys
from rushes.shared.ledger.idempotency import Conflict
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.submits import CapReached, Caps
from rushes.shared.ledger.tickets import LeaseLost, Ticket
from rushes.shared.ledger.writes import COUNTERS

STEPS = 300
PAUSES = (0, 1, 1, SECOND, SECOND, 5 * SECOND, 20 * SECOND, MINUTE)


class Walk:
    """The same seed does the same, whatever the ledger stands on."""

    def __init__(self, store: Any, seed: int) -> None:
        self.ledger, self.random = Ledger(store, POLICY), random.Random(seed)
        self.now = NOW
        self.jobs: list[str] = ["job_unknown"]
        self.tickets: list[Ticket] = []
        self.held: list[tuple[Job, Ticket]] = []
        self.left: list[Job] = []
        self.seen: Counter[str] = Counter()

    def go(self, look: Callable[[Walk], None] = lambda _: None) -> Walk:
        for number in range(1, STEPS + 1):
            self.now += self.random.choice([*PAUSES, *PAUSES, HOUR])
            act = self.random.choices(list(ACTS), list(ACTS.values()))[0]
            self.seen[act.__name__] += bool(act(self))
            if number % 3 == 0:
                look(self)
        return self

    def create(self) -> bool:
        if len(self.jobs) > 12:
            return False
        route = tuple(self.random.sample(GATEWAYS, self.random.randint(1, 3)))
        made = replace(
            job(created_at=self.now, route=route),
            id=f"job_{ids.moment_letters(self.now)}{len(self.jobs):016d}",
            due_at=self.now,
        )
        self.jobs.append(made.id)
        key = self.random.choice(["", "", "one", "two"])
        try:
            return self.ledger.create(made, key, self.random.choice("ab")) is None
        except Conflict:
            return False

    def claim(self) -> bool:
        tight = [replace(room, room=self.random.randint(0, 4)) for room in ALL_ROOMS]
        tickets = self.ledger.claim(self.random.choice([tight, ALL_ROOMS]), self.now)[1]
        self.tickets += tickets
        return bool(tickets)

    def begin(self) -> bool:
        if not self.tickets:
            return False
        ticket = self.random.choice(self.tickets[-4:])
        opened = self.ledger.open_tickets([ticket], self.now)[0]
        self.held += [opened] if opened else []
        return opened is not None

    def renew(self) -> bool:
        if not self.held:
            return False
        at = self.random.randrange(len(self.held))
        kept = self.ledger.renew(self.held[at][1], self.now)
        self.held[at] = (self.held[at][0], kept or self.held[at][1])
        return kept is not None

    def engage(self) -> bool:
        waiting = [(each, ticket) for each, ticket in self.held if each.state is State.QUEUED]
        if not waiting:
            return False
        subject, ticket = self.random.choice(waiting[-2:])
        gateway = ticket.lane.partition(":")[2]
        if gateway != subject.route[0]:  # handed out for another gateway, to which it goes
            route = (gateway, *(name for name in subject.route if name != gateway))
            return self.ledger.apply(subject.id, events.Rerouted(route, "waited"), self.now) is not None
        budget = self.random.choice([None, 60 * 42_000_000])
        caps = Caps(subject.route[0], self.random.randint(1, 9), self.random.randint(1, 9), budget, 42_000_000)
        try:
            engage(self.ledger, subject, ticket, events.Begun(plan(subject, self.now)), caps, self.now)
        except (LeaseLost, CapReached):
            return False
        return True

    def apply(self) -> bool:
        subject = self.ledger.get(self.random.choice(self.jobs))
        if subject is None:
            return self.ledger.apply("job_unknown", events.Lost("reset"), self.now) is not None
        moved = self.ledger.apply(subject.id, self.event(subject), self.now)
        self.seen[moved.state if moved else "gone"] += 1
        return moved != subject

    def event(self, subject: Job) -> Event:
        """Something that fits the state, or anything at all."""
        fits = [word for word in FACTS if word in USUAL[subject.state]] if self.random.random() < 0.8 else list(FACTS)
        fact = FACTS[self.random.choice(fits)](self)
        attempt = self.random.choice([0, 0, 0, 0, 0, 0, 1, 2])
        return replace(fact, attempt=attempt, asked_at=self.now - self.random.choice([0, SECOND, MINUTE]))

    def nudge(self) -> bool:
        task_id = self.random.choice([None, "task 1", "task:2"])
        who = self.random.choice(self.jobs)
        gateway, attempt = self.random.choice(GATEWAYS), self.random.randint(1, 3)
        return self.ledger.nudge(gateway, who, attempt, task_id, self.now) == "noted"

    def retire(self) -> bool:
        over = self.ledger.overview.newest(None, 9, states=[State.COMPLETED, State.FAILED, State.CANCELED])
        leaving = [each for each in over if each.chores == (Chore.RETIRE,)]
        for each in leaving[:1]:
            self.ledger.retire(each)
            self.left.append(each)
        return bool(leaving)

    def trouble(self) -> bool:
        gateway = self.random.choice(GATEWAYS)
        chance = self.random.random()
        if chance < 0.5:
            self.ledger.gateways.strike(gateway, self.random.choice([Reason.DOWN, Reason.RATE]), None, self.now)
        elif chance < 0.53:
            self.ledger.gateways.pause(gateway, "operator", self.now + 30 * MINUTE)
        else:
            self.ledger.gateways.resume(gateway, GATEWAYS)
        return True

    def look_around(self) -> bool:
        before = self.random.choice(["", *self.jobs])
        self.ledger.overview.newest(self.random.choice([None, "acme"]), 3, before)
        self.ledger.overview.counts(None)
        self.ledger.overview.waiting_since(LANES, self.now)
        self.ledger.overview.unopened_since(LANES, self.now)
        self.ledger.overview.oldest(State.ARCHIVING, 3)
        return True


ACTS: dict[Callable[[Walk], bool], int] = {
    Walk.create: 2,
    Walk.claim: 5,
    Walk.begin: 7,
    Walk.renew: 3,
    Walk.engage: 7,
    Walk.apply: 9,
    Walk.nudge: 3,
    Walk.retire: 1,
    Walk.trouble: 1,
    Walk.look_around: 1,
}
FACTS: dict[str, Callable[[Walk], Event]] = {
    "accepted": lambda walk: events.Accepted(f"task-{walk.random.randint(1, 9)}"),
    "refused": lambda walk: events.Refused(walk.random.choice(list(Reason)), "no"),
    "lost": lambda walk: events.Lost("reset"),
    "unclear": lambda walk: events.Unclear("?", missing=walk.random.random() < 0.5),
    "progressed": lambda walk: events.Progressed(walk.random.randint(0, 100)),
    "succeeded": lambda walk: events.Succeeded(link(expires_at=walk.now + HOUR), Decimal("0.3")),
    "failed": lambda walk: events.Failed(walk.random.choice(list(Reason)), "no luck", Decimal("0.1")),
    "deferred": lambda walk: events.Deferred(walk.now + SECOND, "cap"),
    "rerouted": lambda walk: events.Rerouted(tuple(walk.random.sample(GATEWAYS, 2)), "paused"),
    "measured": lambda walk: events.Measured({"s": 5}, tuple(walk.random.sample(GATEWAYS, 3)), None),
    "barred": lambda walk: events.Barred(Error("no_provider", "none")),
    "canceled": lambda walk: events.Canceled(),
    "resolved": lambda walk: events.Resolved(walk.random.choice(["resubmit", "fail", "adopt"])),
    "archived": lambda walk: events.Archived(result()),
    "archive failed": lambda walk: events.ArchiveFailed("archive_failed", "S3"),
    "manifested": lambda walk: events.Manifested(),
    "notified": lambda walk: events.Notified(),
    "notice failed": lambda walk: events.NoticeFailed("500"),
}
CHORES = {"manifested", "notified", "notice failed", "archive failed"}
USUAL: dict[State, set[str]] = {
    State.QUEUED: {"deferred", "rerouted", "measured"},
    State.SUBMITTING: {"accepted", "refused", "lost"},
    State.UNCONFIRMED: {"accepted", "lost", "unclear", "resolved"},
    State.RUNNING: {"progressed", "lost", "succeeded", "failed"},
    State.ARCHIVING: {"archived", "archive failed"},
    State.COMPLETED: CHORES,
    State.FAILED: CHORES,
    State.CANCELED: CHORES,
}


# --- what must hold at any moment


def stands_in_one_place(held: dict[str, Any], jobs: list[Job]) -> None:
    wanted = ("{rushes}:due:", "{rushes}:leased:")
    found = [(member, name) for name, zset in held.items() if name.startswith(wanted) for member in zset]
    jobs = [each for each in jobs if not schedule.rests(each)]
    assert Counter(member for member, _ in found) == Counter(each.id for each in jobs)
    places = dict(found)
    for each in jobs:
        due, leased = map(keys.due, schedule.places(each)), map(keys.leased, schedule.leasing(each))
        assert places[each.id] in {*due, *leased}
    stands_by = {(member, name) for name, zset in held.items() if name.startswith(keys.standby("")) for member in zset}
    assert stands_by <= {
        (each.id, keys.standby_line(name, fair_shares.line(each)))
        for each in jobs
        for name in cheapest_wait.standby(each, POLICY)
    }


def no_line_is_forgotten(held: dict[str, Any], jobs: list[Job]) -> None:
    """A job in a line that the claim does not know of would wait for ever."""
    for kind, prefix in (("submit", "due:submit"), ("standby", "standby"), ("parked", "due:parked")):
        for gateway in GATEWAYS:
            line = held.get(f"{{rushes}}:{prefix}:{gateway}:acme:5", {})
            later = held.get(keys.later(kind, gateway), {}).get("acme:5")
            has_turn = "acme" in held.get(f"{{rushes}}:lines:{kind}:{gateway}", {})
            assert not line or has_turn or (later is not None and (kind == "parked" or later <= min(line.values())))
    queued = {each.id: fair_shares.ticket(each) for each in jobs if each.state is State.QUEUED}
    assert held.get(keys.QUEUED, {}) == queued
    charged = {member for name, zset in held.items() if name.startswith("{rushes}:charged:") for member in zset}
    leased = {member for name, zset in held.items() if name.startswith("{rushes}:leased:submit") for member in zset}
    assert charged <= leased & queued.keys()


def is_in_one_index(held: dict[str, Any], jobs: list[Job]) -> None:
    wanted = "{rushes}:index:"
    found = sorted((member, name) for name, zset in held.items() if name.startswith(wanted) for member in zset)
    assert found == sorted((each.id, f"{wanted}acme:{each.state.value}:{each.provider or '-'}") for each in jobs)


def counters_can_be_counted_anew(held: dict[str, Any], jobs: list[Job]) -> None:
    expected: Counter[tuple[str, str]] = Counter()
    for each in jobs:
        for line, count in counters.entries(each).items():
            expected[COUNTERS[line[0]](line)] += count
    hashes = ("{rushes}:inflight", "{rushes}:held:", "{rushes}:usage:")
    counted = {(name, field): int(n) for name in held if name.startswith(hashes) for field, n in held[name].items()}
    assert {line: count for line, count in counted.items() if count} == {
        line: count for line, count in expected.items() if count
    }


def ledger_is_whole(walk: Walk) -> None:
    held = contents(walk.ledger.store)
    ids = [name.removeprefix("{rushes}:job:") for name in held if name.startswith("{rushes}:job:")]
    jobs = [each for each in walk.ledger.get_many(ids) if each]
    stands_in_one_place(held, jobs)
    no_line_is_forgotten(held, jobs)
    is_in_one_index(held, jobs)
    counters_can_be_counted_anew(held, jobs + walk.left)
    assert all(sum(attempt.paid for attempt in each.attempts) <= 3 for each in jobs)


@pytest.mark.parametrize("seed", range(10))
def test_wherever_a_walk_leads_the_ledger_is_whole(seed: int) -> None:
    Walk(MemoryStore(), seed).go(ledger_is_whole)


def test_the_walks_go_everywhere() -> None:
    walks = [Walk(MemoryStore(), seed).go() for seed in range(10)]
    acts = sum((walk.seen for walk in walks), Counter[str]())
    assert {place for place in [*State, *(act.__name__ for act in ACTS)] if acts[place] < 3} == set()


@pytest.mark.parametrize("seed", range(100, 103))
def test_redis_and_its_twin_answer_the_same(redis_store: RedisStore, seed: int) -> None:
    twin = MemoryStore()
    both = Both(twin, redis_store)
    Walk(both, seed).go()
    assert both.calls > STEPS
    assert contents(redis_store) == contents(twin)


@pytest.mark.parametrize("seed", range(200, 203))
def test_programs_that_are_all_sent_twice_change_nothing(redis_store: RedisStore, seed: int) -> None:
    once = MemoryStore()
    Walk(once, seed).go()
    Walk(Twice(redis_store), seed).go()
    assert contents(redis_store) == contents(once)


def test_a_day_of_nothing_but_crashes_loses_no_job(store: Any) -> None:
    ledger = Ledger(store, POLICY)
    for moment in range(NOW, NOW + 5):
        ledger.create(job(created_at=moment))
    now = NOW
    while now < NOW + DAY // 24:
        soonest, tickets = ledger.claim(ALL_ROOMS, now)
        for ticket in tickets[::2]:
            ledger.open_tickets([ticket], now)[0]
        now = soonest or now + HOUR
    assert sum(ledger.overview.counts("acme").values()) == 5
    waiting = ledger.overview.newest("acme", 9)
    assert len(waiting) == 5
    assert all(each.state is State.QUEUED and each.tries > 10 for each in waiting)
