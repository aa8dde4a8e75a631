"""Batches in the ledger: taken in one program, counted by the moves of their jobs, closed once by the last of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rushes.shared.domain import batch as batch_module
from rushes.shared.domain import changes, cheapest_wait
from rushes.shared.domain.erasure import scrubbed_batch
from rushes.shared.domain.frozen import replace
from rushes.shared.domain.job import Job, State
from rushes.shared.domain.schedule import Policy
from rushes.shared.ledger import idempotency, keys, record
from rushes.shared.ledger.idempotency import NOT_WHOLE, NotWhole, first_id_of
from rushes.shared.ledger.store import FIRST_OF_CREATE, Commit, MoveListener, Store, Writes
from rushes.shared.ledger.writes import gathered, write_batch_end, write_change


class Batches:
    """Every method raises LedgerUnavailable where the store is out of reach."""

    def __init__(self, store: Store, policy: Policy, on_move: MoveListener) -> None:
        self._store = store
        self._policy = policy
        self._on_move = on_move

    # --- new batches

    def create(
        self, batch: Job, jobs: Sequence[Job], key: str | None = None, digest: str = "", guarded: bool = False
    ) -> tuple[Job, bool]:
        """Write a batch and its jobs, all or nothing; returns it and True, or the one that this key made first.

        Jobs of the same request that a lost ledger had paid for, and that were put back since, are taken over. Raises
        Conflict where the key came with another body, NotWhole where it is `guarded` and the ledger may have lost it.
        """
        if key:
            batch = replace(batch, idempotency=f"{keys.digest(key)} {digest}")
            jobs = [replace(job, idempotency=f"{_item(key, at)} {digest}") for at, job in enumerate(jobs)]
            batch, jobs = self._taken_over(batch, jobs, digest)
        first = self._create(batch, jobs, guarded)
        if first in NOT_WHOLE:
            raise NotWhole(first)
        if first and not first.startswith(batch.id):
            first_id = first_id_of(first, digest)
            return self.get(first_id) or replace(batch, id=first_id), False
        for job in jobs:
            self._on_move(None, job, None)
        return batch, True

    def _create(self, batch: Job, jobs: Sequence[Job], guarded: bool) -> str:
        waiting = [cheapest_wait.begun(job, self._policy) for job in jobs]
        writes = Writes(first_key=FIRST_OF_CREATE + len(jobs))
        for job in waiting:
            write_change(writes, job.id, changes.created(job, self._policy))
        writes = gathered(writes)
        for name in (keys.batches(None), keys.batches(batch.tenant)):
            writes.add("ZADD", name, 0, batch.id)
        # A batch of which nothing is left to be made has ended.
        writes.add("HINCRBY", keys.batch_counts(batch.id), batch_module.OPEN, 0)
        write_batch_end(writes, batch.id, batch.created_at)
        mark = writes.number(keys.MARK) if guarded else 0
        key_digest, _, digest = (batch.idempotency or "").partition(" ")
        once = idempotency.entry(batch.tenant, key_digest, batch.created_at, batch.id, digest, mark)
        operation = record.new_operation()
        records = {each.id: record.encode(each, operation) for each in (*waiting, batch)}
        return self._store.create_batch(batch.id, records, writes, once if key_digest else None)

    def _taken_over(self, batch: Job, jobs: Sequence[Job], digest: str) -> tuple[Job, list[Job]]:
        """The batch over the jobs that were put back (recovery.py), and the jobs that are still to be made."""
        digests = [(job.idempotency or "").partition(" ")[0] for job in jobs]
        entries = [idempotency.entry(batch.tenant, key_digest, batch.created_at) for key_digest in digests]
        known = [first_id_of(first, digest) if first else None for first in self._store.known_keys(entries)]
        if not any(known):
            return batch, list(jobs)
        put_back = [job for job in self._jobs([job_id for job_id in known if job_id]) if job and job.batch_id]
        batch_id = put_back[0].batch_id if put_back else None
        here = {job.id for job in put_back}
        missing = [job for job, job_id in zip(jobs, known, strict=True) if job_id is None]
        made = [replace(job, batch_id=batch_id or batch.id) for job in missing]
        ids = [job_id or job.id for job, job_id in zip(jobs, known, strict=True) if job_id is None or job_id in here]
        request = {**batch.request, "job_ids": ids}
        return replace(batch, id=batch_id or batch.id, request=request), made

    def find_by_key(self, tenant: str, key: str, digest: str, now: int) -> Job | None:
        """The batch that was taken under this key with this body; None where none was, or it has left the ledger.

        Raises Conflict where the body was another.
        """
        (first,) = self._store.known_keys([idempotency.entry(tenant, keys.digest(key), now)])
        return self.get(first_id_of(first, digest)) if first else None

    # --- reading

    def get(self, batch_id: str) -> Job | None:
        """The record of a batch."""
        return self._jobs([batch_id])[0] if batch_module.is_batch(batch_id) else None

    def newest(self, tenant: str | None, limit: int, before: str = "") -> list[Job]:
        """Batches newest first; of one tenant or of all, older than `before`."""
        ids = self._store.newest([keys.batches(tenant)], limit, before)
        return [batch for batch in self._jobs(ids) if batch]

    def counts(self, batch_id: str) -> Mapping[str, int]:
        """What its jobs come to now (domain/batch.py); money in 10^-8 USD."""
        return {what: int(count) for what, count in self._store.counters(keys.batch_counts(batch_id)).items()}

    def jobs(self, batch: Job) -> list[Job | None]:
        """Its jobs as they are now, in the order in which they were given; None for one that has left the ledger."""
        return self._jobs(batch_module.job_ids(batch))

    def queued(self, batch: Job) -> list[Job]:
        """Its jobs that no gateway has."""
        return [job for job in self.jobs(batch) if job and job.state is State.QUEUED]

    def _jobs(self, ids: Sequence[str]) -> list[Job | None]:
        return [record.decode(text) if text else None for text in self._store.records(ids)]

    def with_receipt(self, batch: Job) -> Job:
        """A batch whose jobs have all ended, with its receipt; made from the jobs where it was not written yet."""
        if batch_module.receipt(batch) is not None:
            return batch
        ended_at = self.counts(batch.id).get(batch_module.ENDED_AT, batch.created_at)
        return batch_module.closed(batch, self.jobs(batch), ended_at)

    # --- moves

    def stop(self, batch_id: str) -> None:
        """From now on no job of it is submitted: the gate of every submit looks at this."""
        self._store.remember(keys.batch_counts(batch_id), {batch_module.STOPPED: 1})

    def close(self, batch: Job) -> Job:
        """Write the receipt of a batch whose jobs have all ended, once; returns the batch with it."""
        while batch_module.receipt(batch) is None:
            closed = replace(self.with_receipt(batch), version=batch.version + 1)
            operation = record.new_operation()
            body = record.encode(closed, operation)
            (verdict,) = self._store.commit([Commit(batch.id, batch.version, operation, body, Writes())])
            # Whoever was there first opened a ticket, or closed it.
            batch = record.decode(verdict.detail) if verdict.kind == "conflict" else closed
        return batch

    def erase_content(self, batch_id: str) -> None:
        """Take out of a batch what its caller gave, once all its jobs are to be erased; until then it stays.

        A notification that it still owes goes with its address. The last job that is erased finds all others so.
        """
        batch = self.get(batch_id)
        if batch is None or any(job and job.erase_asked_at is None for job in self.jobs(batch)):
            return
        while batch and (scrubbed := scrubbed_batch(self.with_receipt(batch))) != batch:
            operation = record.new_operation()
            after = replace(scrubbed, version=batch.version + 1)
            body = record.encode(after, operation)
            (verdict,) = self._store.commit([Commit(batch.id, batch.version, operation, body, Writes())])
            batch = record.decode(verdict.detail) if verdict.kind == "conflict" else None

    def retire(self, batch: Job) -> None:
        """Take a batch whose retention is over out of the ledger."""
        writes = Writes()
        for kind in (keys.due, keys.leased):
            writes.add("ZREM", kind("retire"), batch.id)
        for name in (keys.batches(None), keys.batches(batch.tenant)):
            writes.add("ZREM", name, batch.id)
        writes.add("DEL", keys.batch_counts(batch.id))
        self._store.commit([Commit(batch.id, batch.version, record.new_operation(), "", writes)])


def _item(key: str, at: int) -> str:
    """The digest under which one job of a batch is known again after a loss of the ledger."""
    return keys.digest(f"{key}\n{at}")
