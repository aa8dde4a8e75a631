"""Which jobs are meant: the filters of GET /v1/jobs and of a bulk action, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rushes.shared.domain import ids
from rushes.shared.domain.job import Job, State
from rushes.shared.domain.labels import BATCH, METADATA, Label

# Only a job that ended without a clip has an error.
WITH_ERROR = frozenset({State.FAILED, State.CANCELED})


@dataclass(frozen=True)
class JobFilter:
    """A job fits if it fits each part that is given. Moments are in ms; `until` is the first that is too late."""

    states: frozenset[State] = frozenset()
    provider: str | None = None
    model: str | None = None
    error: str | None = None
    batch: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    since: int | None = None
    until: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether every job fits."""
        return self == JobFilter()

    @property
    def possible_states(self) -> frozenset[State]:
        """The states in which a job can fit."""
        states = self.states or frozenset(State)
        return states & WITH_ERROR if self.error else states

    @property
    def is_by_index_only(self) -> bool:
        """Whether state, gateway and time decide: the indexes hold these, and no record has to be read."""
        return not (self.model or self.error or self.batch or self.metadata)

    def labels(self, tenant: str) -> list[Label]:
        """The labels that a job of this tenant must have."""
        pairs = [(METADATA + name, value) for name, value in self.metadata.items()]
        return [Label(tenant, *pair) for pair in ([(BATCH, self.batch), *pairs] if self.batch else pairs)]

    def bounds(self) -> tuple[str, str]:
        """The id from which on a job may fit, and the one before which; empty for no bound. Ids sort by time."""
        return _first_id(self.since), _first_id(self.until)

    def matches(self, job: Job) -> bool:
        """Whether the job fits."""
        request = job.request
        first, end = self.bounds()
        return (
            (not self.states or job.state in self.states)
            and self.provider in (None, job.provider)
            and self.model in (None, request.get("model"))
            and (self.error is None or (job.error is not None and job.error.code == self.error))
            and self.batch in (None, request.get("batch"))
            and self.metadata.items() <= (request.get("metadata") or {}).items()
            and first <= job.id
            and (not end or job.id < end)
        )


def _first_id(at: int | None) -> str:
    """What sorts before every id of that moment, and after every earlier one."""
    return "" if at is None else "job_" + ids.ulid(at << ids.RANDOM_BITS)
