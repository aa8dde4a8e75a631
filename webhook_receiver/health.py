"""Whether the process lives, and whether it can be of use."""

from __future__ import annotations

from flask import Response, jsonify

from shared.archive import ArchiveUnavailable
from shared.ledger.store import LedgerUnavailable
from webhook_receiver import schemas
from webhook_receiver.auth import services
from webhook_receiver.openapi import OPEN, answers, blueprint, notes

health = blueprint("health", "For load balancers.")


@health.get("/healthz")
@answers(200, schemas.Alive, "It does.")
@notes(security=OPEN)
def healthz() -> Response:
    """The process answers."""
    return jsonify({"status": "ok"})


@health.get("/readyz")
@answers(200, schemas.Readiness, "They are.")
@answers(503, schemas.Readiness, "One of them is not; the body says which and why.")
@notes(security=OPEN)
def readyz() -> Response:
    """Redis and S3 are reached."""
    problems = {"ledger": _ledger_problem(), "archive": _archive_problem()}
    found = {name: problem for name, problem in problems.items() if problem}
    answer = jsonify({"status": "unready" if found else "ready", **found})
    answer.status_code = 503 if found else 200
    return answer


def _ledger_problem() -> str | None:
    try:
        services().ledger.ping()
    except LedgerUnavailable as lost:
        return f"out of reach: {lost}"
    return None


def _archive_problem() -> str | None:
    try:
        services().archive.check()
    except ArchiveUnavailable as unavailable:
        return str(unavailable)
    return None
