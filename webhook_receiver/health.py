"""Whether the process lives, and whether it can be of use."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from flask import Response, jsonify

from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.operations import overdue
from rushes.shared.single_flight import SingleFlight
from rushes.shared.storage.archive import ArchiveUnavailable
from rushes.webhook_receiver import openapi_responses
from rushes.webhook_receiver.auth import services
from rushes.webhook_receiver.openapi import OPEN, answers, blueprint, notes

health = blueprint("health", "For load balancers.")


@health.get("/healthz")
@answers(200, openapi_responses.Alive, "It does.")
@notes(security=OPEN)
def healthz() -> Response:
    """The process answers."""
    return jsonify({"status": "ok"})


@health.get("/readyz")
@answers(200, openapi_responses.Readiness, "They are.")
@answers(503, openapi_responses.Readiness, "One of them is not; the body says which and why.")
@notes(security=OPEN)
def readyz() -> Response:
    """Redis and S3 are reached; how late the work is stands beside it, for jobs are taken all the same."""
    problems = {"ledger": _ledger_problem(), "archive": _archive_problem()}
    found: dict[str, Any] = {name: problem for name, problem in problems.items() if problem}
    late = {} if "ledger" in found else {**_lateness(), **_hold()}
    answer = jsonify({"status": "unready" if found else "ready", **found, **late})
    answer.status_code = 503 if found else 200
    return answer


def _ledger_problem() -> str | None:
    try:
        services().ledger.ping()
    except LedgerUnavailable as lost:
        return f"out of reach: {lost}"
    return None


def _hold() -> dict[str, str]:
    """Jobs are taken meanwhile, so this is no reason to send callers elsewhere."""
    with suppress(LedgerUnavailable):
        if not services().ledger.continuity.is_whole():
            return {"submits": "held until the ledger is compared with the journal: its Redis is another one"}
    return {}


def _lateness() -> dict[str, float]:
    with suppress(LedgerUnavailable):
        return {"oldest_overdue_s": overdue.oldest_s(services().ledger, services().settings.gateways, services().now())}
    return {}


# boto asks three times, for half a minute each; whoever balances load gives up sooner.
ARCHIVE_S = 2.5


LOOK = SingleFlight[None](ARCHIVE_S)


def _archive_problem() -> str | None:
    try:
        LOOK.look(services().archive.check)
    except TimeoutError:
        return "out of reach: it does not answer"
    except ArchiveUnavailable as unavailable:
        return str(unavailable)
    return None
