"""Ways to bring a job along in the ledger, and to look at all that is stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from factories import NOW, POLICY, SECOND, attempt, job, link

from rushes.shared.domain import events, schedule
from rushes.shared.domain.events import Event
from rushes.shared.domain.job import Attempt, Job
from rushes.shared.ledger import keys
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.store import LaneRoom, Store
from rushes.shared.ledger.submits import Caps, Submit
from rushes.shared.ledger.tickets import Ticket

GATEWAYS = ("apimart", "evolink", "newapi")
CAPS = Caps("apimart", max_in_flight=20, submits_per_minute=60)
HANDOUT, LEASE = schedule.HANDOUT_S * SECOND, schedule.LEASE_S * SECOND


def submits(room: int = 100, gateway: str = "apimart", cap: int = 20, rate: int = 60) -> LaneRoom:
    return LaneRoom(f"submit:{gateway}", room, gateway, cap, rate)


def polls(room: int = 100, gateway: str = "apimart") -> LaneRoom:
    return LaneRoom(f"poll:{gateway}", room)


ALL_ROOMS = [
    *[submits(gateway=gateway) for gateway in GATEWAYS],
    *[polls(gateway=gateway) for gateway in GATEWAYS],
    *[LaneRoom(lane, 100) for lane in ("archive", "notify", "erase", "retire")],
]
LANES = [room.lane for room in ALL_ROOMS]


def created(ledger: Ledger, count: int = 1, at: int = NOW, **changes: Any) -> list[Job]:
    """Jobs that were created one millisecond after the other, and are due then."""
    made = [job(created_at=moment, **{"due_at": moment, **changes}) for moment in range(at, at + count)]
    for each in made:
        ledger.create(each)
    return made


def claim(ledger: Ledger, room: LaneRoom, now: int) -> list[Ticket]:
    return ledger.claim([room], now)[1]


def taken(ledger: Ledger, room: LaneRoom, now: int) -> tuple[Job, Ticket]:
    """The next job of a lane, in a worker's hands."""
    just_one = (claim(ledger, replace(room, room=size), now) for size in range(1, 200))
    opened = ledger.open_tickets(next(tickets for tickets in just_one if tickets)[:1], now)[0]
    assert opened is not None
    return opened


def plan(subject: Job, now: int, **changes: Any) -> Attempt:
    number = subject.current.number + 1 if subject.attempts else 1
    return attempt(number, **{"submitted_at": now, "provider": subject.route[0], **changes})


def engage(ledger: Ledger, subject: Job, ticket: Ticket, event: Event, caps: Caps, now: int) -> Job:
    """Write one submit down; raises what stands in its way."""
    (outcome,) = ledger.begin_submits([Submit(subject, ticket, event, caps)], now)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def engaged(ledger: Ledger, now: int, caps: Caps = CAPS) -> tuple[Job, Ticket]:
    """The next queued job, its submit written down."""
    subject, ticket = taken(ledger, submits(), now)
    return engage(ledger, subject, ticket, events.Begun(plan(subject, now)), caps, now), ticket


def running(ledger: Ledger, now: int = NOW, **changes: Any) -> Job:
    """A job of its own that the gateway has."""
    created(ledger, **changes)
    subject, _ = engaged(ledger, now)
    moved = ledger.apply(subject.id, events.Accepted("task-1", attempt=1, asked_at=now), now)
    assert moved is not None
    return moved


def racing(store: Store, *happenings: Callable[[], Any]) -> Ledger:
    """A ledger to which others come first: right before each of its commits one thing happens."""
    between: Any = Meanwhile(store, *happenings)
    return Ledger(between, POLICY)


def repeating(store: Store) -> Ledger:
    """A ledger whose calls all lose their first answer, and are sent again."""
    twice: Any = Twice(store)
    return Ledger(twice, POLICY)


def archiving(ledger: Ledger, now: int = NOW, **changes: Any) -> Job:
    moved = ledger.apply(running(ledger, now, **changes).id, events.Succeeded(link()), now)
    assert moved is not None
    return moved


# --- what is stored


def contents(store: Store) -> dict[str, Any]:
    """Everything that is stored, without the names of operations."""
    if isinstance(store, MemoryStore):
        held = {**store.strings, **store.zsets, **store.hashes, **store.sets}
    else:
        assert isinstance(store, RedisStore)
        held = {str(name): _value(store, str(name)) for name in store._client.keys("*")}
        held = _with_known_keys(held)
    return {name: _plain(name, value) for name, value in held.items() if value}


def _with_known_keys(held: dict[str, Any]) -> dict[str, Any]:
    """Idempotency keys as the twin has them, without leaves."""
    leaves = {name for name in held if name.startswith(f"{keys.IDEMPOTENCY}:")}
    members = [member for name in leaves if not name.endswith(":leaves") for member in held[name]]
    others = {name: value for name, value in held.items() if name not in leaves}
    return others | {keys.IDEMPOTENCY: {member[:16]: member[16:] for member in members}}


def is_record(name: str) -> bool:
    """Whether a key holds the record of a job, a batch or a bulk action."""
    return name.startswith(("{rushes}:job:", "{rushes}:batch:", "{rushes}:bulk:")) and not name.endswith(":counts")


def _value(store: RedisStore, name: str) -> Any:
    client: Any = store._client
    if is_record(name):
        return store.records([name.rpartition(":")[2]])[0]
    reads: dict[str, Callable[[str], Any]] = {
        "none": lambda _: None,  # it lived for a second only ({rushes}:bell)
        "string": client.get,
        "hash": client.hgetall,
        "set": client.smembers,
        "zset": lambda zset: dict(client.zrange(zset, 0, -1, withscores=True)),
    }
    return reads[client.type(name)](name)


def _plain(name: str, value: Any) -> Any:
    if not is_record(name):
        return dict(value) if isinstance(value, dict) else value
    header, _, body = value.partition("\n")
    version, _, *rest = header.split(" ")
    return [version, *rest, body]


def places(store: Store, job_id: str) -> list[str]:
    """The due and leased sets in which a job stands."""
    wanted = ("{rushes}:due:", "{rushes}:leased:")
    return [name for name, held in contents(store).items() if name.startswith(wanted) and job_id in held]


def score(store: Store, name: str, job_id: str) -> int | None:
    held = contents(store).get(f"{{rushes}}:{name}", {})
    return int(held[job_id]) if job_id in held else None


# --- stores that something happens to


PROGRAMS = frozenset({"create", "create_batch", "commit", "open_tickets", "renew", "nudge", "quarantine"})


class Through:
    """A store that hands everything on to another."""

    def __init__(self, store: Any) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


class Twice(Through):
    """The first answer of every program is lost, so that it is sent again."""

    def __getattr__(self, name: str) -> Any:
        call = getattr(self.store, name)

        def again(*arguments: Any, **named: Any) -> Any:
            call(*arguments, **named)
            return call(*arguments, **named)

        return again if name in PROGRAMS else call


class Both(Through):
    """Two stores that must give the same answers."""

    def __init__(self, store: Any, other: Any) -> None:
        super().__init__(store)
        self.other = other
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        one, two = getattr(self.store, name), getattr(self.other, name)

        def same(*arguments: Any, **named: Any) -> Any:
            self.calls += 1
            answer, other = one(*arguments, **named), two(*arguments, **named)
            assert answer == other, (name, arguments)
            return answer

        return same


class Meanwhile(Through):
    """See `racing`."""

    def __init__(self, store: Any, *happenings: Callable[[], Any]) -> None:
        super().__init__(store)
        self.happenings = list(happenings)

    def commit(self, *arguments: Any, **named: Any) -> Any:
        if self.happenings:
            self.happenings.pop(0)()
        return self.store.commit(*arguments, **named)
