"""What the ledger asks of the place it lives in: a few programs and a few reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from rushes.shared.domain.accounts import DEFAULT, label
from rushes.shared.domain.events import Event
from rushes.shared.domain.job import Job

# The number of the first key of the writes of a new job: before it are the record and the two of its idempotency key.
FIRST_OF_CREATE = 4

MoveListener = Callable[[Job | None, Job, Event | None], None]
"""Hears of a move: the job before and after it, and what happened."""


class LedgerUnavailable(Exception):
    """The ledger is out of reach; whether the last call was done is not known."""


@dataclass(slots=True)
class Writes:
    """Commands that a program carries out together; each names its key by number."""

    keys: list[str] = field(default_factory=list)
    commands: list[list[Any]] = field(default_factory=list)
    first_key: int = 2
    _numbers: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._numbers.update((key, at) for at, key in enumerate(self.keys, self.first_key))

    def add(self, command: str, key: str, *arguments: Any) -> None:
        self.commands.append([command, self.number(key), *arguments])

    def add_when(self, counts: str, field: str, value: str, command: str, key: str, *arguments: Any) -> None:
        """Add a command that is carried out only if a field of a hash has this value by then."""
        self.commands.append(["WHEN", self.number(counts), field, value, [command, self.number(key), *arguments]])

    def number(self, key: str) -> int:
        if key not in self._numbers:
            self.keys.append(key)
            self._numbers[key] = len(self.keys) - 1 + self.first_key
        return self._numbers[key]


@dataclass(frozen=True, slots=True)
class LaneRoom:
    """How many tickets a lane may have out, and for submits whose caps apply."""

    lane: str
    """For `start_deadline.LANE` jobs are taken out of whatever line they wait in."""
    room: int
    gateway: str = ""
    max_in_flight: int = 0
    submits_per_minute: int = 0
    accounts: tuple[str, ...] = (DEFAULT,)
    """Those that take submits; the caps are of each."""

    @property
    def labels(self) -> list[str]:
        return [label(self.gateway, account) for account in self.accounts]


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """A ticket to be opened or kept: the lease on it, and the lease that its holder is to have."""

    lane: str
    job_id: str
    lease: int
    new_lease: int


@dataclass(frozen=True, slots=True)
class Commit:
    """What became of a job, to be written if nobody was there first and every gate stands open."""

    job_id: str
    version: int
    """The one that it was decided on."""
    operation: str
    """Unlike any other: where the answer is lost and this is sent again, it is known again."""
    record: str
    """Empty: the job leaves."""
    writes: Writes
    gates: Sequence[Sequence[Any]] = ()
    wakes: bool = False
    """Whether the scheduler is woken."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a commit came to: `done`, `gone`, `conflict` (with the record) or `shut` (with the gate and its value)."""

    kind: str
    detail: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class QuarantineLimits:
    """How much of what is set aside is kept: of one job, in all, and from when on (ms)."""

    of_a_job: int
    in_all: int
    since: int


@dataclass(frozen=True, slots=True)
class ExpectedLine:
    """Where the claim must know of a job in line, or it would be forgotten.

    Its line is in `later`, or its priority in `lines` while its tenant is in `turns` or `capped`.
    """

    name: str
    tenant: str
    priority: str
    ticket: str
    """What the claim knows of the job (fair_shares.ticket)."""
    later: str
    lines: str
    turns: str
    capped: str


@dataclass(frozen=True, slots=True)
class ExpectedPlaces:
    """Where a job must be found: in its index, under its labels, and in exactly one of these places.

    Where it is in none of them, the first is right.
    """

    job_id: str
    version: int
    index: str
    places: tuple[str, ...]
    due_at: int
    line: ExpectedLine | None = None
    """Of a job that waits in line: how its line is found."""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IdempotencyEntry:
    """An idempotency key, and what it is to hold where it is not known (idempotency.py)."""

    name: str
    earlier_key: str
    """The key of Redis under which an earlier version kept it."""
    value: str
    since: str
    """The letters of the moment (ids.moment_letters) since which keys are known."""
    mark: int = 0
    """The number of the mark's key where the ledger must be known to be whole, or 0."""


class Store(Protocol):
    """The Redis of the ledger, or its twin in memory."""

    def records(self, job_ids: Sequence[str]) -> list[str | None]: ...

    def create(self, job_id: str, record: str, writes: Writes, once: IdempotencyEntry | None = None) -> str: ...

    def create_batch(
        self, batch_id: str, records: Mapping[str, str], writes: Writes, once: IdempotencyEntry | None = None
    ) -> str: ...

    def commit(self, commits: Sequence[Commit]) -> list[Verdict]: ...

    def claim(
        self, lanes: Sequence[LaneRoom], now: int, lease: int, window_ms: int
    ) -> tuple[int | None, list[tuple[str, str]]]: ...

    def open_tickets(self, openings: Sequence[LeaseRequest], operation: str) -> list[str | None]: ...

    def renew(self, requests: Sequence[LeaseRequest]) -> list[bool]: ...

    def nudge(self, lane: str, job_id: str, nudge: str, now: int) -> str: ...

    def quarantine(
        self, callback_id: str, job_id: str, gateway: str, callback: str, now: int, limits: QuarantineLimits
    ) -> bool: ...

    def release(self, callback_id: str) -> bool: ...

    def newest(self, indexes: Sequence[str], limit: int, before: str, since: str = "") -> list[str]: ...

    def oldest(self, indexes: Sequence[str], limit: int) -> list[str]: ...

    def sizes(self, indexes: Sequence[str]) -> list[int]: ...

    def index_names(self) -> list[str]: ...

    def keep(self, key: str, value: str, seconds: int) -> bool: ...

    def known_keys(self, entries: Sequence[IdempotencyEntry]) -> list[str]: ...

    def keep_key(self, entry: IdempotencyEntry) -> str: ...

    def counters(self, key: str) -> Mapping[str, str]: ...

    def remember(self, key: str, values: Mapping[str, str | int]) -> None: ...

    def strike(self, key: str, values: Mapping[str, str | int]) -> int: ...

    def increase(self, key: str, steps: Mapping[str, int]) -> None: ...

    def forget(self, key: str, fields: Sequence[str]) -> None: ...

    def unpark(self, gateway: str) -> None: ...

    def move(self, source: str, target: str) -> None: ...

    def ripe(self, places: Sequence[tuple[str, int]], limit: int) -> list[list[tuple[str, int]]]: ...

    def halve_counts(self, key: str, prefix: str, above: int) -> None: ...

    def count_since(self, key: str, since: int) -> int: ...

    def wake(self) -> None: ...

    def listen(self, timeout_s: float) -> None: ...

    def check_writes(self) -> None: ...

    def server(self) -> str: ...

    def time_ms(self) -> int: ...

    def page(self, name: str | None, cursor: int, count: int) -> tuple[int, list[str]]: ...

    def names(self, prefix: str, cursor: int, count: int) -> tuple[int, list[str]]: ...

    def repair(self, standings: Sequence[ExpectedPlaces], repair: bool) -> list[list[str]]: ...

    def remove_misplaced(self, name: str, job_id: str, version: int | None, repair: bool) -> bool: ...

    def tally(self, key: str, indexes: Sequence[str]) -> tuple[Mapping[str, str], dict[str, int]]: ...
