"""Which fields are available for an operation. The schema of the request decides, so its rules stand in one place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

from marshmallow import fields, validate

from rushes.shared.intake.schema import CLIP_MODELS, MOTION_MODELS, JobRequest, validated
from rushes.shared.media.probe import INPUT_RULES, MAX_ASPECT, MAX_DURATION_S, MIN_DURATION_S
from rushes.shared.providers import PROVIDERS

PICTURE, CLIP = "s3://bucket/picture.jpg", "s3://bucket/clip.mp4"
# A value for each field that is valid by itself: whether it fits depends on the other fields alone.
SAMPLES: Mapping[str, Any] = {
    "prompt": "a",
    "negative_prompt": "a",
    "multi_prompt": [{"prompt": "a", "duration": 5}],
    "image_url": PICTURE,
    "last_image_url": PICTURE,
    "video_url": CLIP,
    "character_orientation": "video",
    "keep_original_sound": True,
    "element_ids": ["a"],
    "watermark": True,
    "mode": "std",
    "duration": 5,
    "aspect_ratio": "16:9",
    "sound": True,
    "voice_ids": ["a"],
    "cfg_scale": 0.5,
    "shot_type": "customize",
    "provider": "auto",
    "max_cost_usd": "1",
    "priority": 5,
    "not_before": "2026-12-01T08:00:00Z",
    "start_before": "2026-12-02T08:00:00Z",
    "batch": "autumn",
    "callback_url": "https://example.com/",
    "metadata": {},
}
# Fields that turn one operation into another.
DEFINING = frozenset({"image_url", "last_image_url", "video_url", "multi_prompt"})
DURATIONS_S = range(1, 61)
MEDIA_TYPES = {"jpeg": "image/jpeg", "png": "image/png", "mp4": "video/mp4", "mov": "video/quicktime"}


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind of video, the fields that it needs, and those of other kinds that it may have."""

    name: str
    about: str
    models: tuple[str, ...]
    needs: tuple[str, ...]
    may_have: tuple[str, ...] = ()


OPERATIONS: Mapping[str, Operation] = {
    "text": Operation("Text to video", "A clip from words alone.", CLIP_MODELS, ("prompt",)),
    "image": Operation("Image to video", "A picture begins to move.", CLIP_MODELS, ("image_url",)),
    "first_last": Operation(
        "First and last frame", "From one picture to another.", CLIP_MODELS, ("image_url", "last_image_url")
    ),
    "shots": Operation(
        "Multi-shot", "Several shots, each with its own prompt.", CLIP_MODELS, ("multi_prompt",), ("image_url",)
    ),
    "motion": Operation(
        "Motion control",
        "A person in a picture moves as in a clip.",
        MOTION_MODELS,
        ("image_url", "video_url", "character_orientation"),
    ),
}


def minimal_request(operation: Operation, model: str, mode: str = "std", sound: bool = False) -> dict[str, Any]:
    """The smallest valid request of an operation."""
    request = {name: SAMPLES[name] for name in operation.needs}
    return {"model": model, "mode": mode, **request, **({"sound": True} if sound else {})}


@cache
def unavailable_fields(operation: str, model: str, mode: str, sound: bool) -> dict[str, str]:
    """The fields that an operation cannot have, each with the reason."""
    definition = OPERATIONS[operation]
    request = minimal_request(definition, model, mode, sound)
    reasons = {
        name: f"Not for {definition.name.lower()}."
        for name in DEFINING.difference(definition.needs, definition.may_have)
    }
    for name in SAMPLES.keys() - reasons.keys():
        problems = JobRequest().validate({**request, name: SAMPLES[name]})
        if name in problems:
            reasons[name] = str(problems[name][0])
    return reasons


@cache
def durations_s(model: str) -> list[int]:
    """The lengths of clips that a model makes; empty for a model that follows the length of its reference."""
    request = minimal_request(OPERATIONS["text"], model)
    return [
        seconds for seconds in DURATIONS_S if "duration" not in JobRequest().validate({**request, "duration": seconds})
    ]


def offered_models(operation: str, enabled: Iterable[str]) -> list[str]:
    """The models that an enabled gateway can use for the operation; all where none can, so that the form says why."""
    definition = OPERATIONS[operation]
    able = [
        model
        for model in definition.models
        if any(PROVIDERS[name].why_not(form) is None for name in enabled for form in _forms(definition, model))
    ]
    return able or list(definition.models)


def _forms(operation: Operation, model: str) -> list[dict[str, Any]]:
    """Small valid requests, with and without what it may have.

    They have words: some gateways want a prompt beside a picture.
    """
    words = {} if "multi_prompt" in operation.needs else {"prompt": SAMPLES["prompt"]}
    fewest = {**minimal_request(operation, model), **words}
    return [validated({**fewest, **{name: SAMPLES[name] for name in names}}) for names in ((), operation.may_have)]


def form_rules(enabled: Iterable[str]) -> dict[str, Any]:
    """All rules, for the script of the form."""
    return {
        "operations": {
            key: {
                "models": offered_models(key, enabled),
                "needs": operation.needs,
                "may_have": operation.may_have,
                "unavailable": unavailable_by_choice(key),
            }
            for key, operation in OPERATIONS.items()
        },
        "durations": {model: durations_s(model) for model in CLIP_MODELS},
        "uploads": {name: upload_rules(name) for name in INPUT_RULES},
        "widest": MAX_ASPECT,
        "shortest_s": MIN_DURATION_S,
        "longest_s": MAX_DURATION_S,
        "chars": {name: max_length(name) for name in ("prompt", "negative_prompt")},
        "shots": max_length("multi_prompt"),
    }


@cache
def unavailable_by_choice(operation: str) -> dict[str, dict[str, str]]:
    """The unavailable fields of an operation, by model, mode and sound."""
    combinations = product(OPERATIONS[operation].models, choices("mode"), (False, True))
    return {
        f"{model} {mode} {str(sound).lower()}": unavailable_fields(operation, model, mode, sound)
        for model, mode, sound in combinations
    }


def upload_rules(field: str) -> dict[str, Any]:
    """What may be uploaded for a field."""
    rules = INPUT_RULES[field]
    return {
        "names": rules.format_names,
        "types": sorted(MEDIA_TYPES[each] for each in rules.formats),
        "max_bytes": rules.max_bytes,
        "sides_px": rules.sides_px,
    }


def max_length(field: str) -> int:
    """The longest text or list that the schema takes."""
    (rule,) = (each for each in _rules(field) if isinstance(each, validate.Length))
    return int(rule.max or 0)


def choices(field: str) -> list[str]:
    """The values that the schema takes."""
    (rule,) = (each for each in _rules(field) if isinstance(each, validate.OneOf))
    return list(rule.choices)


def _rules(field: str) -> list[Any]:
    schema_field: fields.Field[Any] = JobRequest().fields[field]
    return list(schema_field.validators)
