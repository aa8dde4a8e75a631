"""What a request asks a gateway to do, and what a gateway can do with a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rushes.shared.providers.reading import EMPTY

MOTION, TEXT, IMAGE, FIRST_LAST = "motion", "text", "image", "first_last"
SHOT_DURATION = "multi_prompt.duration"
# These values are the gateways' own defaults, so they need not be sent.
DEFAULTS: Mapping[str, Any] = {"watermark": False, "sound": False}
# Fields of ours that no gateway is sent.
RUSHES_FIELDS = frozenset(
    {"model", "provider", "max_cost_usd", "priority", "not_before", "start_before", "batch", "callback_url"}
    | {"metadata"}
)


@dataclass(frozen=True, slots=True)
class ModelSupport:
    """What a gateway does with one of our models: its name there, the operations, the fields that the gateway takes."""

    model: str
    operations: frozenset[str]
    fields: frozenset[str]
    modes: frozenset[str] = frozenset({"std", "pro"})
    guessed: frozenset[str] = frozenset()
    """Our fields, also `model` and SHOT_DURATION, that are said under names which no document of the gateway gives."""


def operation_of(request: Mapping[str, Any]) -> str:
    """The operation that a request of ours asks for."""
    if request["model"].endswith("motion-control"):
        return MOTION
    if request.get("last_image_url"):
        return FIRST_LAST
    return IMAGE if request.get("image_url") else TEXT


def needed_fields(request: Mapping[str, Any]) -> set[str]:
    """The fields of a request that a gateway has to be sent."""
    return {
        name
        for name, value in request.items()
        if name not in RUSHES_FIELDS and value not in EMPTY and DEFAULTS.get(name, ...) != value
    }
