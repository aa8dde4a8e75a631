"""The Models API: what can be made, where, and for how much."""

from __future__ import annotations

from flask import Response, jsonify

from rushes.shared.intake import catalog
from rushes.webhook_receiver import openapi_models
from rushes.webhook_receiver.auth import authenticate, services
from rushes.webhook_receiver.openapi import answers, blueprint, refuses

models_api = blueprint("models", "What can be made, and for how much.")


@models_api.get("/v1/models")
@answers(200, openapi_models.Models, "Every model, with the enabled gateways that have it.")
@refuses(401, 429)
def models() -> Response:
    """Each model: its operations, fields and limits, and the price at each enabled gateway."""
    authenticate()
    return jsonify({"data": catalog.documents(services().settings.gateways, services().prices)})
