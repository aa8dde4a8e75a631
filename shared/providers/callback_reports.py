"""What is read from a callback."""

from __future__ import annotations

from dataclasses import dataclass

from rushes.shared.domain.events import Event


@dataclass(frozen=True, slots=True)
class CallbackReport:
    """What a callback says: the id of the task, and what happened to it."""

    task_id: str | None
    event: Event


@dataclass(frozen=True, slots=True)
class CallbackHint:
    """What is taken from a callback whose gateway is asked anyway: the id of the task, and a finished one's thumbnail.

    A poll does not bring the thumbnail; it is used only beside the confirmed clip.
    """

    task_id: str | None
    thumbnail_url: str | None
