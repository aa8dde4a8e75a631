"""The signed notification to the caller, by Standard Webhooks (standardwebhooks.com, spec 2026-08)."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from rushes.shared.credentials import webhook_secret
from rushes.shared.domain import trace_context
from rushes.shared.domain.http_messages import Request
from rushes.shared.domain.job import Job
from rushes.shared.intake.batch_document import batch_document
from rushes.shared.intake.job_document import document, moment


def notification(job: Job, secrets: Sequence[str], now: int) -> Request:
    """The notification of a job's end. Its id is the same however often it is sent."""
    return _signed(job, f"job.{job.state.value}", document(job), secrets, now)


def batch_notification(batch: Job, counts: Mapping[str, int], secrets: Sequence[str], now: int) -> Request:
    """The notification that all jobs of a batch have ended. Its id is the same however often it is sent."""
    return _signed(batch, "batch.completed", batch_document(batch, counts), secrets, now)


def _signed(job: Job, kind: str, data: dict[str, Any], secrets: Sequence[str], now: int) -> Request:
    body = {"type": kind, "timestamp": moment(job.ended_at), "data": data}
    message_id, timestamp = f"msg_{job.id.rpartition('_')[2]}", now // 1000
    request = Request("POST", str(job.callback_url), json=body)
    headers = {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "traceparent": trace_context.traceparent(job),
        **signature_header(secrets, message_id, timestamp, request.body() or b""),
    }
    return Request("POST", request.url, headers, body)


def signature_header(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The signature header, with one signature per secret while they rotate; empty if the tenant has no secret."""
    content = f"{message_id}.{timestamp}.".encode() + body
    signatures = [b64encode(hmac.new(webhook_secret(secret), content, sha256).digest()).decode() for secret in secrets]
    return {"webhook-signature": " ".join(f"v1,{signature}" for signature in signatures)} if signatures else {}
