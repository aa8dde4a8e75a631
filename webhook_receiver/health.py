"""Liveness and readiness of the process."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from flask import Response, jsonify

from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.operations import overdue, submit_hold
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
@answers(200, openapi_responses.Readiness, "Jobs are accepted and submitted.")
@answers(503, openapi_responses.Readiness, "They are not; the body says what is wrong.")
@describes(security=OPEN)
def readyz() -> Response:
    """Whether the ledger takes writes, broker and S3 are reached, and submits are not held.

    Late work is shown too, and keeps nobody away: jobs are still accepted.
    """
    by_part = {"ledger": _ledger_problem(), "archive": _archive_problem()}
    if not by_part["ledger"]:
        by_part |= {"broker": _broker_problem(), "submits": _held_submits()}
    problems: dict[str, Any] = {name: problem for name, problem in by_part.items() if problem}
    details = {} if "ledger" in problems else _lateness()
    response = jsonify({"status": "unready" if problems else "ready", **problems, **details})
    response.status_code = 503 if problems else 200
    return response


def _ledger_problem() -> str | None:
    try:
        services().ledger.check_writes()
    except LedgerUnavailable as lost:
        return f"out of reach: {lost}"
    return None


def _broker_problem() -> str | None:
    """What the schedulers found: this process sends nothing over the broker, and knows no client for it."""
    with suppress(LedgerUnavailable):
        if problem := services().ledger.broker_reports.problem(services().now()):
            return f"out of reach: {problem}"
    return None


def _held_submits() -> str | None:
    with suppress(LedgerUnavailable):
        return submit_hold.reason(services())
    return None


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
