"""Which fields fit what is wished for: the schema of the request is asked, so that its rules stand in one place."""

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
# For each field a value that is right by itself: whether it fits depends on the others alone.
SAMPLES: Mapping[str, Any] = {
    "prompt": "a",
    "negative_prompt": "a",
    "multi_prompt": [{"prompt": "a"}],
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
    "callback_url": "https://example.com/",
    "metadata": {},
}
# Those that make one operation out of another.
DEFINING = frozenset({"image_url", "last_image_url", "video_url", "multi_prompt"})
DURATIONS_S = range(1, 61)
MEDIA_TYPES = {"jpeg": "image/jpeg", "png": "image/png", "mp4": "video/mp4", "mov": "video/quicktime"}


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that people come for, and the fields without which it is another."""

    name: str
    about: str
    models: tuple[str, ...]
    needs: tuple[str, ...]


OPERATIONS: Mapping[str, Operation] = {
    "text": Operation("Text to video", "A clip from words alone.", CLIP_MODELS, ("prompt",)),
    "image": Operation("Image to video", "A picture begins to move.", CLIP_MODELS, ("image_url",)),
    "first_last": Operation(
        "First and last frame", "From one picture to another.", CLIP_MODELS, ("image_url", "last_image_url")
    ),
    "shots": Operation(
        "Multi-shot", "Several shots, each with its own prompt.", CLIP_MODELS, ("image_url", "multi_prompt")
    ),
    "motion": Operation(
        "Motion control",
        "A person in a picture moves as in a clip.",
        MOTION_MODELS,
        ("image_url", "video_url", "character_orientation"),
    ),
}


def wish(operation: Operation, model: str, mode: str = "std", sound: bool = False) -> dict[str, Any]:
    """The smallest request of this kind."""
    said = {name: SAMPLES[name] for name in operation.needs}
    return {"model": model, "mode": mode, **said, **({"sound": True} if sound else {})}


@cache
def refusals(operation: str, model: str, mode: str, sound: bool) -> dict[str, str]:
    """The fields that do not fit, and why not."""
    asked = OPERATIONS[operation]
    said = wish(asked, model, mode, sound)
    told = {name: f"Not for {asked.name.lower()}." for name in DEFINING - set(asked.needs)}
    for name in SAMPLES.keys() - told.keys():
        problems = JobRequest().validate({**said, name: SAMPLES[name]})
        if name in problems:
            told[name] = str(problems[name][0])
    return told


@cache
def durations_s(model: str) -> list[int]:
    """The lengths that a clip of this model may have; none for a model that makes them as long as its reference."""
    said = wish(OPERATIONS["text"], model)
    return [each for each in DURATIONS_S if "duration" not in JobRequest().validate({**said, "duration": each})]


def offered(operation: str, enabled: Iterable[str]) -> list[str]:
    """The models with which some enabled gateway can do it; all of them where none can, so that it is said why."""
    asked = OPERATIONS[operation]
    able = [
        model
        for model in asked.models
        if any(PROVIDERS[name].unable(validated(wish(asked, model))) is None for name in enabled)
    ]
    return able or list(asked.models)


def table(enabled: Iterable[str]) -> dict[str, Any]:
    """All of it, for the script of the form."""
    return {
        "operations": {
            key: {"models": offered(key, enabled), "needs": operation.needs, "refuses": refused(key)}
            for key, operation in OPERATIONS.items()
        },
        "durations": {model: durations_s(model) for model in CLIP_MODELS},
        "uploads": {name: upload_rules(name) for name in INPUT_RULES},
        "widest": MAX_ASPECT,
        "shortest_s": MIN_DURATION_S,
        "longest_s": MAX_DURATION_S,
        "chars": {name: most(name) for name in ("prompt", "negative_prompt")},
        "shots": most("multi_prompt"),
    }


@cache
def refused(operation: str) -> dict[str, dict[str, str]]:
    """The refusals of an operation, by model, mode and whether there is sound."""
    ways = product(OPERATIONS[operation].models, choices("mode"), (False, True))
    return {
        f"{model} {mode} {str(sound).lower()}": refusals(operation, model, mode, sound) for model, mode, sound in ways
    }


def upload_rules(field: str) -> dict[str, Any]:
    """What may be put into the bucket for a field."""
    rules = INPUT_RULES[field]
    return {
        "names": rules.format_names,
        "types": sorted(MEDIA_TYPES[each] for each in rules.formats),
        "max_bytes": rules.max_bytes,
        "sides_px": rules.sides_px,
    }


def most(field: str) -> int:
    """How long the schema lets a text or a list be."""
    (rule,) = (each for each in _rules(field) if isinstance(each, validate.Length))
    return int(rule.max or 0)


def choices(field: str) -> list[str]:
    """The words that the schema takes."""
    (rule,) = (each for each in _rules(field) if isinstance(each, validate.OneOf))
    return list(rule.choices)


def _rules(field: str) -> list[Any]:
    held: fields.Field[Any] = JobRequest().fields[field]
    return list(held.validators)
