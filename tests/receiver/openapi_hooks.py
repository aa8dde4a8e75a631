"""What schemathesis is told: two of three calls are about jobs that there are."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import schemathesis

SEEDS = json.loads(Path(os.environ["SEEDS"]).read_text("utf-8"))
# A job that has not ended would be followed for ever.
STATES = {
    "events": ["completed", "failed", "canceled"],
    "content": ["completed", "running"],
    "cancel": ["queued", "running"],
    "retry": ["failed", "running"],
    "resolve": ["unconfirmed", "running"],
    "{job_id}": list(SEEDS),
    "{token}": ["running"],
}
TURNS = itertools.cycle([True, True, False])


def taken_in_turn(states: list[str]) -> Iterator[str]:
    return itertools.cycle(itertools.chain.from_iterable(zip(*(SEEDS[state] for state in states), strict=True)))


JOBS = {door: taken_in_turn(states) for door, states in STATES.items()}


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    door = context.operation.path.rpartition("/")[2]
    # Ids are also taken from answers, hence no other for the events.
    if not path_parameters or door not in JOBS or not (next(TURNS) or door == "events"):
        return path_parameters
    _, provider, job_id, token = next(JOBS[door]).rsplit("/", 3)
    named = {"provider": provider, "job_id": job_id, "token": token}
    return {name: named[name] for name in path_parameters}
