"""What the ledger tells of many jobs at once: lists, counts, and how long jobs have been waiting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from rushes.shared.domain import ids, schedule
from rushes.shared.domain.accounts import of_label
from rushes.shared.domain.job import Job, State
from rushes.shared.ledger import keys, record
from rushes.shared.ledger.store import Store

# So many jobs of a lane are looked at to tell how long they wait.
SAMPLE = 20
# So many lines of tenants, and in each of them so many jobs.
LINES = 5
# So many jobs of one millisecond are looked at in a call; there are more only in a batch.
FOUND_AT_ONCE = 32
BEHIND_ALL = "~"
"""Sorts behind every letter of an id."""
AT_AN_ACCOUNT = {State.SUBMITTING, State.UNCONFIRMED, State.RUNNING, State.ARCHIVING}


class Overview:
    """Reads and changes nothing. Every method raises LedgerUnavailable where the store is out of reach."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def newest(
        self,
        tenant: str | None,
        limit: int,
        before: str = "",
        states: Iterable[State] = (),
        provider: str | None = None,
    ) -> list[Job]:
        """Jobs newest first; of one tenant or of all, in some states, at one gateway, older than `before`."""
        names = self.indexes(tenant, set(states), provider)
        return self._jobs(self._store.newest(names, limit, before))

    def find(self, tenant: str | None, short: str, now: int) -> Job | None:
        """The job that a short id names (ids.short); of one tenant or of all. None where none does, or several do."""
        parts = ids.parse_short(short, now)
        if parts is None:
            return None
        begin, end = parts
        names, before, found = self.indexes(tenant, set(), None), begin + BEHIND_ALL, list[str]()
        while page := [name for name in self._store.newest(names, FOUND_AT_ONCE, before) if name.startswith(begin)]:
            found += [name for name in page if name.endswith(end)]
            before = page[-1]
        return self._jobs(found)[0] if len(found) == 1 else None

    def oldest(self, state: State, limit: int) -> list[Job]:
        """Jobs of all tenants that stand in a state, oldest first."""
        return self._jobs(self._store.oldest(self.indexes(None, {state}, None), limit))

    def counts(self, tenant: str | None) -> dict[State, int]:
        """How many jobs stand in each state; of one tenant or of all."""
        names = self.indexes(tenant, set(), None)
        totals = dict.fromkeys(State, 0)
        for name, size in zip(names, self._store.sizes(names), strict=True):
            totals[State(name.rsplit(":", 2)[1])] += size
        return totals

    def jobs_by_account(self) -> dict[str, int]:
        """Account (accounts.label) → how many jobs it has that have not ended: those that it must be asked about."""
        names = [name for name in self._store.index_names() if _matches(name, None, AT_AN_ACCOUNT, None)]
        jobs: Counter[str] = Counter()
        for name, size in zip(names, self._store.sizes(names), strict=True):
            jobs[name.rpartition(":")[2]] += size
        return {account: count for account, count in jobs.items() if count}

    def waiting_since(self, lanes: Sequence[str], now: int) -> dict[str, int]:
        """Lane → since when (ms) the job that waits longest there could have been handed out; of the first in line."""
        lines = self._lines(lanes, now)
        places = [(lane, place) for lane in lanes for place in (keys.due(lane), *lines.get(lane, ()))]
        samples = self._sample([(place, now) for _, place in places])
        waits: dict[str, list[int]] = {lane: [] for lane in lanes}
        for (lane, _), sample in zip(places, samples, strict=True):
            waits[lane] += [schedule.ripe_since(job, now) for job, _ in sample]
        return _earliest(lanes, [waits[lane] for lane in lanes])

    def _lines(self, lanes: Sequence[str], now: int) -> dict[str, set[str]]:
        """Lane → the places of those lines of tenants in it whose first job waits longest."""
        sets = []
        for lane in lanes:
            kind, _, gateway = lane.partition(":")
            known = {"submit": (keys.later, keys.waiting), "parked": (keys.later,)}.get(kind, ())
            sets += [(lane, name(kind, gateway)) for name in known]
        lines: dict[str, set[str]] = {}
        found = self._store.ripe([(name, now) for _, name in sets], LINES)
        for (lane, _), entries in zip(sets, found, strict=True):
            lines.setdefault(lane, set()).update(keys.due(f"{lane}:{line}") for line, _ in entries)
        return lines

    def unopened_since(self, lanes: Sequence[str], now: int) -> dict[str, int]:
        """The same of jobs that were handed out and that nobody works at: their ticket is unused or ran out.

        A job that is worked at has more of its lease left than a ticket lives.
        """
        samples = self._sample([(keys.leased(lane), schedule.after(now, schedule.HANDOUT_S)) for lane in lanes])
        idle = [[job for job, lease in sample if lease <= now or not job.tries] for sample in samples]
        return _earliest(lanes, [[schedule.ripe_since(job, now) for job in jobs] for jobs in idle])

    def tickets_out(self, lane: str) -> int:
        """How many tickets of a lane are handed out, or worked at."""
        return self._store.sizes([keys.leased(lane)])[0]

    def without_jobs(self, gateways: Iterable[str]) -> set[str]:
        """Those of some gateways for which no job waits and none is leased."""
        sets = [(gateway, name) for gateway in gateways for name in keys.gateway_sets(gateway)]
        sizes = self._store.sizes([name for _, name in sets])
        return {gateway for gateway, _ in sets} - {
            gateway for (gateway, _), size in zip(sets, sizes, strict=True) if size
        }

    def tenants(self) -> list[str]:
        """Every tenant that ever had a job here."""
        return sorted({keys.tenant_of_index(name) for name in self._store.index_names()})

    def _jobs(self, job_ids: Sequence[str]) -> list[Job]:
        return [record.decode(text) for text in self._store.records(job_ids) if text]

    def _sample(self, places: Sequence[tuple[str, int]]) -> list[list[tuple[Job, int]]]:
        samples = self._store.ripe(places, SAMPLE)
        jobs = {job.id: job for job in self._jobs(sorted({job_id for sample in samples for job_id, _ in sample}))}
        return [[(jobs[job_id], at) for job_id, at in sample if job_id in jobs] for sample in samples]

    def indexes(self, tenant: str | None, states: set[State], provider: str | None) -> list[str]:
        """The names of the indexes of one tenant or of all, of some states or all, of one gateway or all."""
        return [name for name in self._store.index_names() if _matches(name, tenant, states, provider)]


def _earliest(lanes: Sequence[str], moments: Sequence[Sequence[int]]) -> dict[str, int]:
    return {lane: min(since) for lane, since in zip(lanes, moments, strict=True) if since}


def _matches(name: str, tenant: str | None, states: set[State], provider: str | None) -> bool:
    head, state, account = name.rsplit(":", 2)
    return (
        (tenant is None or head == f"{keys.ROOT}:index:{tenant}")
        and (not states or State(state) in states)
        and (provider is None or of_label(account)[0] == provider)
    )
