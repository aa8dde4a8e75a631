"""Jobs found by the filters of GET /v1/jobs, over all that the ledger has, a bounded piece at each call.

State, gateway and time are held by the indexes, batch and metadata by the labels. Model and error code are read in the
records: such a search walks the shortest set that holds every job that can fit, newest first, and stops after SCANNED
records; its cursor goes on from there. So a call takes the same time and memory whether the ledger has a thousand jobs
or a million, and a page may be short, or empty, although more follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rushes.shared.compact_json import compact
from rushes.shared.domain.job import Job
from rushes.shared.domain.job_filter import JobFilter
from rushes.shared.ledger import keys, record
from rushes.shared.ledger.overview import Overview
from rushes.shared.ledger.store import Store

# So many records are read by one call, in pieces: 0.1 s (2026-11).
SCANNED, PIECE = 5000, 500


@dataclass(frozen=True, slots=True)
class Page:
    """Jobs, newest first, and where the search goes on; None where nothing more can be found."""

    jobs: list[Job]
    cursor: str | None


class Search:
    """Reads and changes nothing. Every method raises LedgerUnavailable where the store is out of reach."""

    def __init__(self, store: Store, overview: Overview) -> None:
        self._store = store
        self._overview = overview

    def page(self, tenant: str | None, wanted: JobFilter, limit: int, cursor: str = "", scanned: int = SCANNED) -> Page:
        """At most `limit` jobs that fit, of one tenant or of all, older than the cursor; reads `scanned` records."""
        names = self._sets(tenant, wanted)
        since, until = wanted.bounds()
        before = min(filter(None, (cursor, until)), default="")
        piece = limit + 1 if wanted.is_by_index_only else PIECE
        found: list[Job] = []
        while names:
            ids = self._store.newest(names, piece, before, since)
            found += self._matching(ids, tenant, wanted)
            scanned -= len(ids)
            if len(found) > limit:
                return Page(found[:limit], found[limit - 1].id)
            if len(ids) < piece:
                break
            before = ids[-1]
            if scanned <= 0:
                return Page(found, before)
        return Page(found, None)

    def count(self, tenant: str | None, wanted: JobFilter) -> int | None:
        """How many jobs fit, where the indexes alone know it; else None."""
        if not wanted.is_by_index_only or wanted.since is not None or wanted.until is not None:
            return None
        return sum(self._store.sizes(self._sets(tenant, wanted)))

    def _sets(self, tenant: str | None, wanted: JobFilter) -> list[str]:
        """The sets that hold every job that can fit, the fewest ids that are to be had."""
        if not wanted.possible_states:
            return []
        choices = [self._overview.indexes(tenant, set(wanted.possible_states), wanted.provider)]
        tenants = [tenant] if tenant else self._overview.tenants()
        by_tenant = [[keys.label(label) for label in wanted.labels(name)] for name in tenants]
        choices += [list(dict.fromkeys(names)) for names in zip(*by_tenant, strict=True)]
        if len(choices) == 1:
            return choices[0]
        return min(choices, key=lambda names: sum(self._store.sizes(names)))

    def _matching(self, ids: Sequence[str], tenant: str | None, wanted: JobFilter) -> list[Job]:
        # A record that cannot fit is not decoded: that takes eight times as long as a look at its text.
        needles = [
            compact({name: text})[1:-1] for name, text in (("model", wanted.model), ("code", wanted.error)) if text
        ]
        texts = [text for text in self._store.records(ids) if text and all(needle in text for needle in needles)]
        jobs = map(record.decode, texts)
        return [job for job in jobs if tenant in (None, job.tenant) and wanted.matches(job)]
