"""Liveness and readiness of the process."""

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
from rushes.webhook_receiver.openapi import OPEN, answers, blueprint, describes

health = blueprint("health", "For load balancers.")


@health.get("/healthz")
@answers(200, openapi_responses.Alive, "The process answers.")
@describes(security=OPEN)
def healthz() -> Response:
    """The process answers."""
    return jsonify({"status": "ok"})


@health.get("/readyz")
@answers(200, openapi_responses.Readiness, "Redis and S3 are reached.")
@answers(503, openapi_responses.Readiness, "One of them is out of reach; the body says which and why.")
@describes(security=OPEN)
def readyz() -> Response:
    """Whether Redis and S3 are reached. Late work is shown too, and keeps nobody away: jobs are still accepted."""
    by_part = {"ledger": _ledger_problem(), "archive": _archive_problem()}
    problems: dict[str, Any] = {name: problem for name, problem in by_part.items() if problem}
    details = {} if "ledger" in problems else {**_lateness(), **_held_submits()}
    response = jsonify({"status": "unready" if problems else "ready", **problems, **details})
    response.status_code = 503 if problems else 200
    return response


def _ledger_problem() -> str | None:
    try:
        services().ledger.check_writes()
    except LedgerUnavailable as lost:
        return f"out of reach: {lost}"
    return None


def _held_submits() -> dict[str, str]:
    """Why submits are held. Jobs are accepted meanwhile, so this is no reason to send callers elsewhere."""
    with suppress(LedgerUnavailable):
        if not services().ledger.continuity.is_whole():
            return {"submits": "held until the ledger is compared with the journal: its Redis is another one"}
    return {}


def _lateness() -> dict[str, float]:
    with suppress(LedgerUnavailable):
        return {"oldest_overdue_s": overdue.oldest_s(services().ledger, services().settings.gateways, services().now())}
    return {}


# boto tries three times, half a minute each; a load balancer gives up sooner.
ARCHIVE_S = 2.5
# Many probes at once share one check of the bucket.
ARCHIVE_CHECK = SingleFlight[None](ARCHIVE_S)


def _archive_problem() -> str | None:
    try:
        ARCHIVE_CHECK.call(services().archive.check)
    except TimeoutError:
        return "out of reach: it does not answer"
    except ArchiveUnavailable as unavailable:
        return str(unavailable)
    return None
