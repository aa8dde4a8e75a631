"""The request of a job in /openapi.json: what fits this schema is accepted, and nothing else.

This module only describes; bodies are read by shared/intake/schema.py.
"""

from __future__ import annotations

import re
from typing import Any

from rushes.shared.domain.job import PRIORITY
from rushes.shared.http.address_guard import INTERNAL_NAMES
from rushes.shared.intake import schema
from rushes.shared.intake.batches import BatchRequest
from rushes.shared.providers import PROVIDERS

GATEWAYS = list(PROVIDERS)
GATEWAY = {"type": "string", "enum": GATEWAYS}

KINDS: dict[type, dict[str, Any]] = {
    schema.Flag: {"type": "boolean"},
    schema.Whole: {"type": "integer"},
    schema.Share: {"type": "number", "minimum": 0, "maximum": 1},
    schema.Dollars: {
        "type": "string",
        "pattern": f"^{schema.USD}$",
        "not": {"pattern": f"^{schema.ZERO_USD}$"},
        "example": "0.50",
    },
    schema.Moment: {
        "type": "string",
        "format": "date-time",
        "pattern": f"^{schema.MOMENT}$",
        "example": "2026-12-01T08:00:00Z",
    },
    schema.InputUrl: {"type": "string", "maxLength": schema.INPUT_URL_CHARS, "example": "https://example.com/input"},
    schema.CallbackUrl: {
        "type": "string",
        "maxLength": schema.CALLBACK_URL_CHARS,
        "example": "https://example.com/notifications",
    },
    schema.Text: {"type": "string", "pattern": f"^{schema.WITHOUT_NUL}$"},
    schema.Metadata: {
        "type": "object",
        "additionalProperties": {"type": "string", "pattern": f"^{schema.WITHOUT_NUL}$"},
        "propertyNames": {"pattern": f"^{schema.WITHOUT_NUL}$"},
        "maxProperties": schema.METADATA_KEYS,
    },
    schema.Preference: {
        "oneOf": [
            {"type": "string", "enum": ["auto", *GATEWAYS]},
            {"type": "array", "items": GATEWAY, "minItems": 1, "uniqueItems": True},
        ]
    },
    schema.ShotType: {"type": "string", "enum": ["customize", "intelligent", *schema.SHOT_TYPE_SYNONYMS]},
}


def any_case(text: str) -> str:
    """A pattern that matches a text in small and capital letters."""
    return "".join(
        f"[{character.upper()}{character}]" if character.isalpha() else re.escape(character) for character in text
    )


# Host names only: a pattern cannot tell whether a literal address is public.
PUBLIC_URL = f"{any_case('https')}://{schema.NAME}(:(443|8443)?)?{schema.PATH}"
# Host names of private networks.
HOUSE_URL = f"^{any_case('https')}://[^/?#:]*({'|'.join(map(any_case, INTERNAL_NAMES))})([:/?#]|$)"
URLS: dict[type, dict[str, Any]] = {
    schema.InputUrl: {"pattern": f"^({PUBLIC_URL}|{schema.S3_URL})$", "not": {"pattern": HOUSE_URL}},
    schema.CallbackUrl: {"pattern": f"^{PUBLIC_URL}$", "not": {"pattern": HOUSE_URL}},
}
DEFAULTS = {**schema.CLIP_DEFAULTS, **schema.MOTION_DEFAULTS}
INPUT = "https or `s3://bucket/key`; a public IP address may stand in place of a host name;"
IMAGE = f"{INPUT} JPG or PNG up to 10 MB, sides 300 to 65536 px, aspect 1:2.5 to 2.5:1."
RULES: dict[str, dict[str, Any]] = {
    "prompt": {"description": "Required for text to video."},
    "negative_prompt": {"description": "Text and image to video."},
    "multi_prompt": {
        "description": "The shots, in their order; excludes `prompt`. Where a gateway wants the seconds of each shot,"
        " they have to add up to `duration`. Without `image_url` each shot needs a duration."
    },
    "image_url": {"description": f"Required for motion; the first frame otherwise. {IMAGE}"},
    "last_image_url": {"description": f"The last frame; needs `image_url`. {IMAGE}"},
    "video_url": {
        "description": f"Required for motion. {INPUT} MP4 or MOV up to 100 MB, sides 340 to 3850 px, 3 s to 10 s "
        "(`image`) or 30 s (`video`)."
    },
    "character_orientation": {"description": "Required for motion; `video` when `element_ids` is given."},
    "keep_original_sound": {"description": "Motion only."},
    "element_ids": {"description": "Motion only."},
    "mode": {"description": "`std` is 720p, `pro` 1080p; `4k` where a gateway documents it."},
    "duration": {"description": "Seconds. v3: 3 to 15; v2-6: 5 or 10. Not for motion.", "minimum": 3, "maximum": 15},
    "aspect_ratio": {"description": "Text and image to video."},
    "sound": {"description": "Text and image to video; with v2-6 `pro` only."},
    "voice_ids": {"description": "v2-6 with `sound`."},
    "cfg_scale": {"description": "Text and image to video."},
    "shot_type": {"description": "Text and image to video; `intelligence` is `intelligent`."},
    "provider": {"description": "`auto` is the cheapest able gateway first; a list is an order of preference."},
    "max_cost_usd": {"description": "No submit whose estimate is higher."},
    "priority": {
        "description": "Among the jobs of a tenant that wait for one gateway the higher goes first.",
        "default": PRIORITY,
    },
    "not_before": {"description": "The job is not submitted before this moment."},
    "start_before": {
        "description": "Not submitted by this moment, the job ends `canceled` with `start_deadline_passed`, and nothing"
        " is paid. Later than `not_before`."
    },
    "batch": {"description": "A word to find the job by, also among others that have it: `GET /v1/jobs?batch=`."},
    "callback_url": {"description": "Gets the notification of the end; https, no internal address."},
    "metadata": {"description": f"Returned in every job document; {schema.METADATA_BYTES} bytes at most."},
}


def field_rules(_: Any, field: Any, **__: Any) -> dict[str, Any]:
    """The rules of a request field that apispec does not find by itself."""
    kind = next((KINDS[base] for base in type(field).__mro__ if base in KINDS), {})
    if schema.CHECK_NOT_BLANK in field.validators:
        kind = {**kind, "pattern": f"^{schema.NOT_BLANK}$"}
    if not isinstance(field.parent, (schema.JobRequest, BatchRequest)):
        return kind
    # An accepted request may hold an address that only RUSHES_EGRESS_ALLOW permits.
    reachable = {} if isinstance(field.parent, AcceptedRequest) else URLS.get(type(field), {})
    default = {"default": DEFAULTS[field.name]} if field.name in DEFAULTS else {}
    return {**kind, **reachable, **default, **RULES.get(field.name, {})}


class AcceptedRequest(schema.JobRequest):
    """The request as it was accepted, with its defaults."""


# --- the rules that span fields: one schema for each valid combination


def without(*names: str) -> dict[str, Any]:
    return dict.fromkeys(sorted(names), False)


def exactly(**values: Any) -> dict[str, Any]:
    """These fields are present, with these values."""
    return {"required": [*values], "properties": {name: {"const": value} for name, value in values.items()}}


MOTION: dict[str, Any] = {
    "required": ["image_url", "video_url", "character_orientation"],
    "properties": {
        "model": {"enum": list(schema.MOTION_MODELS)},
        **without(*schema.CLIP_FIELDS - schema.MOTION_FIELDS),
    },
    "anyOf": [exactly(character_orientation="video"), {"properties": {"element_ids": {"maxItems": 0}}}],
}
OPERATIONS: list[dict[str, Any]] = [
    {"required": ["prompt"], "properties": without("image_url", "last_image_url", "multi_prompt")},
    {"required": ["image_url"], "properties": without("multi_prompt")},
    {"required": ["image_url", "multi_prompt"], "properties": without("prompt")},
    {
        "required": ["multi_prompt"],
        "properties": {
            "multi_prompt": {"items": {"required": ["duration"]}},
            **without("prompt", "image_url", "last_image_url"),
        },
    },
]
NO_MOTION = without(*schema.MOTION_FIELDS - schema.CLIP_FIELDS)
V3: dict[str, Any] = {
    "properties": {"model": {"const": "kling-v3"}, **NO_MOTION, **without("voice_ids")},
    "anyOf": OPERATIONS,
}
SOUNDS: list[dict[str, Any]] = [
    exactly(mode="pro", sound=True),
    {"properties": {"sound": {"const": False}, **without("voice_ids")}},
]
V26: dict[str, Any] = {
    "properties": {"model": {"const": "kling-v2-6"}, "duration": {"enum": [5, 10]}, **NO_MOTION},
    "allOf": [{"anyOf": OPERATIONS}, {"anyOf": SOUNDS}],
}
ACROSS: dict[str, Any] = {"anyOf": [MOTION, V3, V26]}
