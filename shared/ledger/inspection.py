"""The ledger looked through page by page: what stands where, against what the records say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from rushes.shared.domain import fair_shares, schedule, start_deadline
from rushes.shared.domain.job import IN_FLIGHT, Job, State
from rushes.shared.domain.labels import labels
from rushes.shared.ledger import keys, record
from rushes.shared.ledger.store import ExpectedLine, ExpectedPlaces, Store

PAGE = 100
# More submits in doubt than this are not counted one by one.
DOUBTS = 1000


class Inspection:
    """Looks and repairs; a job that moves meanwhile is left alone. Every door raises LedgerUnavailable."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def jobs(self) -> Iterator[list[tuple[str, Job | None]]]:
        """Every job with its id, in pages; None for a record that cannot be read."""
        for ids in self._pages(None):
            records = zip(ids, self._store.records(ids), strict=True)
            yield [(job_id, _decoded(text)) for job_id, text in records if text is not None]

    def repair(self, jobs: Sequence[Job], repair: bool) -> list[tuple[str, str]]:
        """What is wrong with the entries of these jobs: (job id, `nowhere` | `twice` | `unindexed` | `unlined`)."""
        # Nothing is missing where a job waits for its retention to pass: it is made due then (`retire`).
        standings = [_standing(job, () if schedule.rests(job) else _places(job)) for job in jobs]
        problems = self._store.repair(standings, repair)
        return [(job.id, what) for job, words in zip(jobs, problems, strict=True) for what in words]

    def repair_deadlines(self, jobs: Sequence[Job], now: int, repair: bool) -> list[str]:
        """The ids of those jobs that would not end by their `start_before`.

        Those whose moment is near are left alone: the claim takes them out, and a worker that holds one looks himself.
        """
        near = schedule.after(now, schedule.LEASE_S)
        ahead = [job for job in jobs if (start_deadline.of(job) or 0) > near]
        problems = self._store.repair([_deadline(job) for job in ahead], repair)
        return [job.id for job, words in zip(ahead, problems, strict=True) if words]

    def retire(self, jobs: Sequence[Job]) -> None:
        """Make ended jobs due whose retention is over; one that moved meanwhile is left alone."""
        self._store.repair([_standing(job, _places(job)) for job in jobs], True)

    def misplaced(self, name: str, repair: bool) -> Iterator[list[str]]:
        """The ids in a set (due, leased, standby, an index) that do not belong there, page by page."""
        for ids in self._pages(name):
            records = zip(ids, self._store.records(ids), strict=True)
            yield [job_id for job_id, text in records if self._is_misplaced(name, job_id, text, repair)]

    def line_places(self, gateways: Sequence[str]) -> Iterator[str]:
        """Every place where jobs of a tenant stand in line, stand by or are parked, as far as the claim knows of it."""
        for gateway in gateways:
            prefixes = {kind: keys.due(f"{kind}:{gateway}") for kind in ("submit", "parked")}
            prefixes["standby"] = keys.standby(gateway)
            for kind, prefix in prefixes.items():
                for name in (keys.later(kind, gateway), keys.waiting(kind, gateway)):
                    for lines in self._pages(name):
                        yield from (f"{prefix}:{line}" for line in lines)

    def index_names(self) -> list[str]:
        return self._store.index_names()

    def label_names(self) -> Iterator[str]:
        """The sets of the labels."""
        cursor = 0
        while True:
            cursor, names = self._store.names(keys.LABELS, cursor, PAGE)
            yield from names
            if cursor == 0:
                return

    def in_flight(self, gateways: Sequence[str]) -> dict[str, int]:
        """By how much the counters of jobs in flight are off, from the indexes; of each account where that can be told.

        Of these gateways, and of every other account (accounts.label) that has a counter or a job.
        """
        off = self._off(keys.IN_FLIGHT, _account, lambda job: job.account_label or "")
        return {**dict.fromkeys(gateways, 0), **off} if off is not None else {}

    def tenants_in_flight(self) -> dict[str, int]:
        """The same of every tenant, where that can be told."""
        return self._off(keys.TENANTS_IN_FLIGHT, _tenant, lambda job: job.tenant) or {}

    def _off(self, key: str, part: Callable[[str], str], part_of: Callable[[Job], str]) -> dict[str, int] | None:
        """By how much each field of a hash is off; None while too many submits are in doubt to be looked at."""
        names = self._store.index_names()
        doubted = [name for name in names if _state(name) is State.UNCONFIRMED]
        counters, sizes = self._store.tally(key, [name for name in names if _state(name) in IN_FLIGHT])
        standing = Counter[str]()
        for name, size in sizes.items():
            standing[part(name)] += size
        ids = self._store.oldest(doubted, DOUBTS + 1)
        if len(ids) > DOUBTS:
            return None
        jobs = [_decoded(text) for text in self._store.records(ids) if text]
        standing.subtract(part_of(job) for job in jobs if job and job.attempts and job.current.let_go)
        return {name: int(counters.get(name, 0)) - standing[name] for name in {*counters, *standing}}

    def set_right(self, account: str, off_by: int) -> None:
        """Correct the counter of an account's jobs in flight."""
        self._store.increase(keys.IN_FLIGHT, {account: -off_by})

    def set_tenant_right(self, tenant: str, off_by: int) -> None:
        """Correct the counter of a tenant's jobs in flight."""
        self._store.increase(keys.TENANTS_IN_FLIGHT, {tenant: -off_by})

    def _pages(self, name: str | None) -> Iterator[list[str]]:
        if name and keys.is_of_ended(name):
            yield from self._pages_by_id(name)
            return
        cursor = 0
        while True:
            cursor, ids = self._store.page(name, cursor, PAGE)
            for start in range(0, len(ids), PAGE):
                yield ids[start : start + PAGE]
            if cursor == 0:
                return

    def _pages_by_id(self, index: str) -> Iterator[list[str]]:
        """Of an index with leaves."""
        before = ""
        while ids := self._store.newest([index], PAGE, before):
            yield ids
            before = ids[-1]

    def _is_misplaced(self, name: str, job_id: str, text: str | None, repair: bool) -> bool:
        job = _decoded(text) if text else None
        if text and (job is None or name in _belongs(job)):
            return False
        return self._store.remove_misplaced(name, job_id, job.version if job else None, repair)


def _decoded(text: str) -> Job | None:
    try:
        return record.decode(text)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _state(index: str) -> State:
    return State(index.rsplit(":", 2)[1])


def _account(index: str) -> str:
    return index.rpartition(":")[2]


def _tenant(index: str) -> str:
    return keys.tenant_of_index(index)


def _places(job: Job) -> tuple[str, ...]:
    return (*map(keys.due, schedule.places(job)), *map(keys.leased, schedule.leasing(job)))


def _belongs(job: Job) -> tuple[str, ...]:
    further = job.route[1:] if job.state is State.QUEUED else ()
    line = fair_shares.line(job)
    standby = [name for gateway in further for name in (keys.standby(gateway), keys.standby_line(gateway, line))]
    deadline = () if start_deadline.of(job) is None else (keys.START_BEFORE,)
    found_by = map(keys.label, labels(job))
    return (keys.index(job), *found_by, *_places(job), *standby, *deadline)


def _line(job: Job) -> ExpectedLine | None:
    if job.state is not State.QUEUED:
        return None
    kind, gateway = "parked" if job.parked else "submit", job.route[0]
    later, _, turns, lines, capped = keys.line_sets(kind, gateway)
    return ExpectedLine(
        fair_shares.line(job), job.tenant, str(job.priority), fair_shares.ticket(job), later, lines, turns, capped
    )


def _deadline(job: Job) -> ExpectedPlaces:
    places = (keys.START_BEFORE, keys.leased(start_deadline.LANE))
    return ExpectedPlaces(job.id, job.version, keys.index(job), places, start_deadline.of(job) or 0)


def _standing(job: Job, places: tuple[str, ...]) -> ExpectedPlaces:
    return ExpectedPlaces(
        job_id=job.id,
        version=job.version,
        index=keys.index(job),
        places=places,
        due_at=job.due_at or job.updated_at,
        line=_line(job),
        labels=tuple(dict.fromkeys(map(keys.label, labels(job)))),
    )
