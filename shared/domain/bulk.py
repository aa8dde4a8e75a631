"""A bulk action: one thing that is done to every job that fits a filter, each job once.

It walks the jobs from the newest that stood there when it began to the oldest, some at a time. These are written down
before the first is touched: once it is, it may fit the filter no more, and would not be found again. Its cursor, the id
of the last job that it is done with, moves in the ledger together with the count of what came of that job. A worker
that dies between an act and this has the act repeated, and every act knows itself again by the id of the bulk action:
`touched` for a move, the idempotency key for a retry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from rushes.shared.domain.frozen import replace
from rushes.shared.domain.job import ENDED, Job, State
from rushes.shared.domain.job_filter import JobFilter

PREFIX = "bulk_"
NOTE = "bulk action"
# A turn of one bulk action ends after this long, so that others have theirs.
TURN_S = 5
KEPT_S = 30 * 86_400


class Action(StrEnum):
    """What is done; the words are the public contract's."""

    CANCEL = "cancel"
    RETRY = "retry"
    NOTIFY = "notify"
    ERASE = "erase"


class Status(StrEnum):
    """Where a bulk action stands."""

    RUNNING = "running"
    COMPLETED = "completed"
    ABORTED = "aborted"


# To jobs in other states an action does nothing, so they are not looked at.
STATES: Mapping[Action, frozenset[State]] = {
    Action.CANCEL: frozenset({State.QUEUED}),
    Action.RETRY: frozenset({State.FAILED}),
    Action.NOTIFY: ENDED,
    Action.ERASE: ENDED,
}


@dataclass(frozen=True)
class Bulk:
    """A bulk action and how far it is. Moments are in ms."""

    id: str
    tenant: str
    """Who asked for it."""
    scope: str | None
    """Whose jobs are meant; None for all."""
    action: Action
    wanted: JobFilter
    created_at: int
    matched: int | None = None
    """How many jobs there were at its beginning; None where these were too many to count."""
    status: Status = Status.RUNNING
    cursor: str = ""
    planned: tuple[str, ...] = ()
    """The next jobs."""
    outcomes: Mapping[str, int] = field(default_factory=dict)
    ended_at: int | None = None

    @property
    def bound(self) -> str:
        """Before this id every job stands that was there when it began."""
        return "job_" + self.id.removeprefix(PREFIX)

    @property
    def done(self) -> int:
        return sum(self.outcomes.values())

    def after(self, job_id: str, outcome: str) -> Bulk:
        """The same, done with one more job."""
        outcomes = {**self.outcomes, outcome: self.outcomes.get(outcome, 0) + 1}
        return replace(self, cursor=job_id, planned=self.planned[1:], outcomes=outcomes)

    def ended(self, status: Status, now: int) -> Bulk:
        return replace(self, status=status, ended_at=now)


def narrowed(wanted: JobFilter, action: Action) -> JobFilter | None:
    """The filter without states in which the action does nothing; None where none is left."""
    states = wanted.possible_states & STATES[action]
    return JobFilter(**{**wanted.__dict__, "states": states}) if states else None


def touched(job: Job, by: str) -> bool:
    """Whether this bulk action has moved the job before."""
    return any(note.what == NOTE and note.detail == by for note in job.history)
