"""The response to what was enqueued: a job, a batch, a bulk action."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, request


def accepted_response(document: Any, path: str, replayed: bool) -> Response:
    """202 with its address, or 200 where it was accepted before under the same key."""
    response = jsonify(document)
    response.status_code = 200 if replayed else 202
    response.headers["Location"] = f"{request.script_root}{path}"
    if replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response
