"""The bulk actions in the ledger: a record each, and a due time in the lane `bulk` until it has ended.

A record is written only over the version that it was decided on, so that of two workers one goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence

from rushes.shared.compact_json import compact
from rushes.shared.domain import bulk, schedule
from rushes.shared.domain.bulk import Action, Bulk, Status
from rushes.shared.domain.frozen import replace
from rushes.shared.domain.job import State
from rushes.shared.domain.job_filter import JobFilter
from rushes.shared.ledger import keys
from rushes.shared.ledger.record import new_operation
from rushes.shared.ledger.store import FIRST_OF_CREATE, Commit, Store, Writes
from rushes.shared.ledger.tickets import Ticket, extended, openings

LANE = "bulk"
PAGE = 100
# A commit is decided anew this often when others were first; each of them made progress.
CONFLICTS = 50


class BulkActions:
    """Every method raises LedgerUnavailable where the store is out of reach."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, action: Bulk) -> None:
        """Write it down, due now; one that is written already stays as it is. Old ones leave."""
        self._drop_old(schedule.after(action.created_at, -bulk.KEPT_S))
        writes = Writes(first_key=FIRST_OF_CREATE)
        writes.add("ZADD", keys.BULKS, 0, action.id)
        writes.add("ZADD", keys.due(LANE), action.created_at, action.id)
        self._store.create(action.id, _encode(action, 0, "create"), writes)

    def get(self, bulk_id: str) -> Bulk | None:
        """The bulk action as it is now."""
        found = self._read(bulk_id)
        return found[1] if found else None

    def newest(self, scope: str | None, limit: int) -> list[Bulk]:
        """Those that a tenant asked for, or all, newest first."""
        found: list[Bulk] = []
        for page in self.pages():
            found += [each for _, each in page if scope in (None, each.tenant)]
            if len(found) >= limit:
                break
        return found[:limit]

    def pages(self) -> Iterator[list[tuple[int, Bulk]]]:
        """All with the versions of their records, newest first, page by page."""
        before = ""
        while ids := self._store.newest([keys.BULKS], PAGE, before):
            yield self.read(ids)
            before = ids[-1]

    def read(self, bulk_ids: Sequence[str]) -> list[tuple[int, Bulk]]:
        """Those of these that are there, with the versions of their records."""
        return [_decode(text) for text in self._store.records(bulk_ids) if text]

    def open(self, ticket: Ticket, now: int) -> tuple[Bulk, int, Ticket] | None:
        """Open a ticket: the bulk action, its tries, and the ticket with its new lease; None where others have it."""
        (longer,) = extended([ticket], now)
        (text,) = self._store.open_tickets(openings([ticket], [longer]), new_operation())
        return (_decode(text)[1], int(text.split(" ", 3)[2]), longer) if text else None

    def advance(self, known: Bulk, job_id: str, outcome: str) -> Bulk | None:
        """Count what came of a job, and move on; None where another worker did, or the bulk action is gone.

        One that was aborted meanwhile counts it too: what was done is told.
        """
        return self._change(known.id, lambda now: now.after(job_id, outcome) if _same(now, known) else None)

    def plan(self, known: Bulk, job_ids: Sequence[str], cursor: str) -> Bulk | None:
        """Write down which jobs are next, after those up to the cursor that do not fit; None as above."""
        planned = tuple(job_ids)
        return self._change(
            known.id, lambda now: replace(now, cursor=cursor, planned=planned) if _same(now, known) else None
        )

    def end_turn(self, known: Bulk, due_at: int) -> None:
        """Leave it to the next worker, due then; one that has ended leaves the lane."""
        if known.status is not Status.RUNNING:
            return
        self._change(known.id, lambda now: now if _same(now, known) and now.status is Status.RUNNING else None, due_at)

    def end(self, bulk_id: str, status: Status, at: int) -> Bulk | None:
        """End it; one that has ended stays as it is."""
        return self._change(bulk_id, lambda now: now.ended(status, at) if now.status is Status.RUNNING else None)

    def _change(self, bulk_id: str, change: Callable[[Bulk], Bulk | None], due_at: int | None = None) -> Bulk | None:
        for _ in range(CONFLICTS):
            found = self._read(bulk_id)
            after = change(found[1]) if found else None
            if found is None or after is None:
                return None
            version, writes, operation = found[0], Writes(), new_operation()
            if after.status is not Status.RUNNING or due_at is not None:
                writes.add("ZREM", keys.leased(LANE), bulk_id)
                writes.add("ZREM", keys.due(LANE), bulk_id)
            if due_at is not None:
                writes.add("ZADD", keys.due(LANE), due_at, bulk_id)
            record = _encode(after, version + 1, operation, tries=0)
            commit = Commit(bulk_id, version, operation, record, writes, wakes=due_at is not None)
            (verdict,) = self._store.commit([commit])
            if verdict.kind == "done":
                return after
        raise RuntimeError(f"{bulk_id} changed {CONFLICTS} times while one change was made")

    def _read(self, bulk_id: str) -> tuple[int, Bulk] | None:
        text = self._store.records([bulk_id])[0] if bulk_id.startswith(bulk.PREFIX) else None
        return _decode(text) if text else None

    def _drop_old(self, before: int) -> None:
        for text in self._store.records(self._store.oldest([keys.BULKS], PAGE)):
            version, old = _decode(text) if text else (0, None)
            if old and old.status is not Status.RUNNING and old.created_at < before:
                writes = Writes()
                writes.add("ZREM", keys.BULKS, old.id)
                self._store.commit([Commit(old.id, version, new_operation(), "", writes)])


def _same(now: Bulk, known: Bulk) -> bool:
    """Whether nobody else has moved on."""
    return (now.cursor, now.planned) == (known.cursor, known.planned)


def _encode(action: Bulk, version: int, operation: str, tries: int = 0) -> str:
    """The record: the header is that of a job (record.py), for the same programs read it."""
    wanted = {**action.wanted.__dict__, "states": sorted(action.wanted.states)}
    body = compact({**action.__dict__, "wanted": wanted})
    return f"{version} {operation} {tries} 0 - -\n{body}"


def _decode(text: str) -> tuple[int, Bulk]:
    """Version and content of a record."""
    header, _, body = text.partition("\n")
    fields = json.loads(body)
    states = frozenset(map(State, fields["wanted"].pop("states")))
    fields["planned"] = tuple(fields["planned"])
    fields["wanted"] = JobFilter(**fields["wanted"], states=states)
    fields |= {"action": Action(fields["action"]), "status": Status(fields["status"])}
    return int(header.partition(" ")[0]), Bulk(**fields)
