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
    if (
        not path_parameters
        or "batch_id" in path_parameters
        or door not in JOBS
        or not (next(TURNS) or door == "events")
    ):
        return path_parameters
    _, provider, job_id, token = next(JOBS[door]).rsplit("/", 3)
    named = {"provider": provider, "job_id": job_id, "token": token}
    return {name: named[name] for name in path_parameters}


# Whether a gateway can do it, and what lies behind an address, no document of the calls can tell.
BEYOND_THE_DOCUMENT = {"no_provider", "input_rejected"}


@schemathesis.check
def what_fits_the_document_is_taken(context: Any, response: Any, case: Any) -> None:
    """schemathesis' own check of this kind does not look at the code of a refusal."""
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code not in (400, 415, 422):
        return
    error = response.json()["error"]
    assert error["code"] in BEYOND_THE_DOCUMENT, error
