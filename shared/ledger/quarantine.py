"""Quarantined callbacks: they came to a valid address and named another task. Only an operator follows them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256

from rushes.shared.domain import schedule
from rushes.shared.ledger import keys
from rushes.shared.ledger.store import QuarantineLimits, Store

KEPT_S = 7 * 86_400
OF_A_JOB, IN_ALL = 20, 1000
BODY_BYTES = 4096


@dataclass(frozen=True, slots=True)
class QuarantinedCallback:
    """One such callback, as it came at `at` (ms); `expected` is the task that its attempt has, None for no attempt."""

    at: int
    provider: str
    job_id: str
    tenant: str
    attempt: int
    task_id: str | None
    expected: str | None
    word: str | None
    """Its status word."""
    body: str
    """What it said, without what is secret, cut at 4 KB."""

    @property
    def id(self) -> str:
        """The same for the same news, so that a repeat is kept once."""
        news = f"{self.attempt}\n{self.task_id}\n{self.word}".encode("utf-8", "backslashreplace")
        return f"{self.job_id}-{sha256(news).hexdigest()[:12]}"


class Quarantine:
    """At most 20 of a job and 1,000 in all, for seven days. Every door raises LedgerUnavailable."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def keep(self, callback: QuarantinedCallback) -> bool:
        """Count it and keep it; False where the same was kept before, or its job has its share already."""
        since = schedule.after(callback.at, -KEPT_S)
        bounds = QuarantineLimits(OF_A_JOB, IN_ALL, since)
        text = json.dumps(asdict(callback))
        return self._store.quarantine(callback.id, callback.job_id, callback.provider, text, callback.at, bounds)

    def newest(self, tenant: str | None, now: int, limit: int = 100) -> list[QuarantinedCallback]:
        """What is kept, newest first; of one tenant, or of all."""
        kept = [QuarantinedCallback(**json.loads(text)) for text in self._store.counters(keys.QUARANTINE).values()]
        shown = [each for each in kept if tenant in (None, each.tenant) and each.at > schedule.after(now, -KEPT_S)]
        return sorted(shown, key=lambda each: (each.at, each.id), reverse=True)[:limit]

    def get(self, callback_id: str, tenant: str | None, now: int) -> QuarantinedCallback | None:
        """One of them; None where it is another tenant's."""
        return next((each for each in self.newest(tenant, now, IN_ALL) if each.id == callback_id), None)

    def drop(self, callback_id: str) -> bool:
        """Forget one; False where it is not there."""
        return self._store.release(callback_id)

    def drop_all(self, job_id: str) -> None:
        """Forget all of a job."""
        for callback_id in self._store.counters(keys.QUARANTINE):
            if callback_id.startswith(f"{job_id}-"):
                self._store.release(callback_id)

    def counts(self) -> Mapping[str, str]:
        """Gateway → how many different ones came, kept or not."""
        return self._store.counters(keys.QUARANTINE_COUNT)
