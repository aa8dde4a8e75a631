"""What a caller put on a job to find it by: the word of its batch, and its metadata."""

from __future__ import annotations

from typing import NamedTuple

from rushes.shared.domain.job import Job

BATCH, METADATA = "batch", "metadata."


class Label(NamedTuple):
    """A name and a value on a job of a tenant; the name is that of the filter of GET /v1/jobs."""

    tenant: str
    name: str
    value: str


def labels(job: Job) -> tuple[Label, ...]:
    """The labels of a job, each once."""
    batch, metadata = job.request.get("batch"), job.request.get("metadata") or {}
    pairs = [(METADATA + name, value) for name, value in metadata.items()]
    return tuple(Label(job.tenant, *pair) for pair in ([(BATCH, batch), *pairs] if batch else pairs))
