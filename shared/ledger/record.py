"""A job as one string: a header line that the scripts read, then JSON.

    {version} {operation} {tries} {live: 1|0} {nudge | -} {tasks | -}\n{json}

A nudge is `at:attempt:task[,thumbnail]`, the tasks are `attempt:task,…`, both percent-encoded.

One string and not a hash, because a hash with a field over 64 bytes costs more than twice the memory under Redis'
default settings. What is at its default is left out.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import quote, unquote

from rushes.shared.compact_json import compact
from rushes.shared.domain.frozen import make, shape_of
from rushes.shared.domain.job import (
    Attempt,
    AttemptStatus,
    Chore,
    CostSource,
    Error,
    Job,
    Link,
    Note,
    Nudge,
    Result,
    State,
)

IN_HEADER = ("version", "tries", "nudge")
# In the record of a new job. A commit has a random one: where that stands in the record, the commit was done.
NO_OPERATION = "-"
# Not the library's own, which others seed; and no two processes may go on from the same state.
OPERATIONS = random.Random()
os.register_at_fork(after_in_child=OPERATIONS.seed)


def new_operation() -> str:
    """A name for an operation, unlike any other.

    It is no secret: `secrets` asks the system each time, and lets another thread have the interpreter meanwhile.
    """
    return f"{OPERATIONS.getrandbits(48):012x}"


def encode(job: Job, operation: str) -> str:
    """The record of a job, written by the named operation."""
    nudge = encode_nudge(job.nudge) if job.nudge else "-"
    # Only callbacks of a job that lives are compared with its tasks (lua/nudge.lua).
    attempts = () if job.ended else job.attempts
    tasks = ",".join(f"{attempt.number}:{_quoted(attempt.task_id)}" for attempt in attempts) or "-"
    header = f"{job.version} {operation} {job.tries} {int(not job.ended)} {nudge} {tasks}"
    body = _plain(job)
    for name in IN_HEADER:
        body.pop(name, None)
    return f"{header}\n{compact(body, default=_plain)}"


def decode(record: str) -> Job:
    """The job of a record."""
    header, _, body = record.partition("\n")
    version, _, tries, _, nudge, *_ = header.split(" ")
    return _job(json.loads(body), version=int(version), tries=int(tries), nudge=decode_nudge(nudge))


def encode_nudge(nudge: Nudge) -> str:
    parts = (nudge.task_id, *([nudge.thumbnail_url] if nudge.thumbnail_url else []))
    return f"{nudge.at}:{nudge.attempt}:{','.join(map(_quoted, parts))}"


def _quoted(text: str | None) -> str:
    return quote(text or "", safe="", errors="surrogatepass")


def decode_nudge(text: str) -> Nudge | None:
    if text == "-":
        return None
    at, attempt, parts = text.split(":")
    task_id, _, thumbnail_url = (unquote(part, errors="surrogatepass") or None for part in parts.partition(","))
    return Nudge(int(at), int(attempt), task_id, thumbnail_url)


def _plain(value: Any) -> Any:
    """What stands for a value that JSON has no type for."""
    if type(value) is Decimal:
        return str(value)
    defaults = shape_of(type(value)).defaults
    # Most of it is at its default, and the very same object: that is asked first, for it costs least.
    return {
        name: field
        for name, field in value.__dict__.items()
        if field is not (default := defaults[name]) and field != default
    }


def _job(body: dict[str, Any], **header: Any) -> Job:
    body["state"] = State(body.get("state", State.QUEUED))
    body["route"] = tuple(body["route"])
    body["chores"] = tuple(Chore(chore) for chore in body.get("chores", ()))
    body["attempts"] = tuple(_attempt(attempt) for attempt in body.get("attempts", ()))
    body["history"] = tuple(make(Note, note) for note in body.get("history", ()))
    body["error"] = _made(Error, body.get("error"))
    body["result"] = _result(body.get("result"))
    return make(Job, _decimals(body | header, "estimated_usd", "batch_budget_usd"))


def _attempt(body: dict[str, Any]) -> Attempt:
    body["status"] = AttemptStatus(body.get("status", AttemptStatus.SUBMITTING))
    body["error"] = _made(Error, body.get("error"))
    body["link"] = _made(Link, body.get("link"))
    if "cost_source" in body:  # records of older code have none
        body["cost_source"] = CostSource(body["cost_source"])
    return make(Attempt, _decimals(body, "estimated_usd", "cost_usd", "reserved_usd", "made_s"))


def _result(body: dict[str, Any] | None) -> Result | None:
    return None if body is None else make(Result, _decimals(body, "duration_s"))


def _made(kind: type[Any], body: Mapping[str, Any] | None) -> Any:
    return None if body is None else make(kind, body)


def _decimals(body: dict[str, Any], *names: str) -> dict[str, Any]:
    for name in names:
        if body.get(name) is not None:
            body[name] = Decimal(body[name])
    return body
