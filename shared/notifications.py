"""The signed message to the caller, under Standard Webhooks (standardwebhooks.com, spec 2026-08)."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256

from rushes.shared.credentials import webhook_secret
from rushes.shared.domain import trace_context
from rushes.shared.domain.http_messages import Request
from rushes.shared.domain.job import Job
from rushes.shared.intake.job_document import document, moment


def notice(job: Job, secrets: Sequence[str], now: int) -> Request:
    """The message that tells of a job's end. Its id stays the same however often it is sent."""
    body = {"type": f"job.{job.state.value}", "timestamp": moment(job.ended_at), "data": document(job)}
    message_id, timestamp = f"msg_{job.id.removeprefix('job_')}", now // 1000
    request = Request("POST", str(job.callback_url), json=body)
    headers = {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "traceparent": trace_context.traceparent(job),
        **signature(secrets, message_id, timestamp, request.body() or b""),
    }
    return Request("POST", request.url, headers, body)


def signature(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The signature header, one signature for each secret while they rotate; none where the tenant has no secret."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    made = [b64encode(hmac.new(webhook_secret(secret), signed, sha256).digest()).decode() for secret in secrets]
    return {"webhook-signature": " ".join(f"v1,{one}" for one in made)} if made else {}
