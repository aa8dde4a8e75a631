"""A request is accepted as it was said, its defaults added; the doors' own tests hold the table of what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from marshmallow import ValidationError

from rushes.shared.intake import schema
from rushes.shared.intake.intake import digest
from rushes.shared.intake.schema import validated

TEXT: dict[str, Any] = {"model": "kling-v3", "prompt": "a red kite over the sea"}
MOTION: dict[str, Any] = {
    "model": "kling-v3-motion-control",
    "image_url": "https://example.com/ref.png",
    "video_url": "s3://inputs/ref.mp4",
    "character_orientation": "video",
}


def problems(body: dict[str, Any]) -> dict[str, Any]:
    with pytest.raises(ValidationError) as told:
        validated(body)
    return dict(told.value.messages_dict)


def test_the_defaults_are_the_contracts() -> None:
    common = {"mode": "std", "watermark": False, "provider": "auto"}

    assert validated(TEXT) == {**TEXT, **common, "duration": 5, "aspect_ratio": "16:9", "sound": False}
    assert validated(MOTION) == {**MOTION, **common, "keep_original_sound": True}


def test_what_is_said_is_kept_as_it_was_said() -> None:
    said = {**TEXT, "cfg_scale": 1, "max_cost_usd": "0.50", "metadata": {"b": "2", "a": "1"}, "provider": ["newapi"]}

    accepted = validated(said)

    assert json.dumps({name: accepted[name] for name in said}) == json.dumps(said)


def test_a_body_is_not_changed_by_being_read() -> None:
    said = {**TEXT, "metadata": {"a": "1"}, "provider": ["newapi"]}
    before = json.dumps(said)

    validated(said)

    assert json.dumps(said) == before


@pytest.mark.parametrize("model", schema.MODELS)
def test_a_field_of_the_other_models_is_told_where_it_stands(model: str) -> None:
    motion = model in schema.MOTION_MODELS
    misfits = schema.CLIP_FIELDS - schema.MOTION_FIELDS if motion else schema.MOTION_FIELDS - schema.CLIP_FIELDS
    values = {
        "multi_prompt": [{"prompt": "up"}],
        "last_image_url": "https://example.com/last.png",
        "video_url": "https://example.com/ref.mp4",
        "duration": 5,
        "sound": True,
        "keep_original_sound": True,
        "cfg_scale": 0.5,
        "shot_type": "customize",
        "aspect_ratio": "1:1",
        "character_orientation": "image",
        "element_ids": ["e1"],
        "voice_ids": ["v1"],
        "negative_prompt": "blurred",
    }

    told = problems({**(MOTION if motion else TEXT), "model": model, **{name: values[name] for name in misfits}})

    assert set(told) == misfits
    assert {problem for (problem,) in told.values()} == {f"Not a field of {model}."}


def test_every_field_of_the_schema_belongs_to_some_model() -> None:
    assert set(schema.JobRequest().fields) == schema.CLIP_FIELDS | schema.MOTION_FIELDS


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"model": "kling-v3"}, "prompt", "Required for text to video."),
        ({**TEXT, "last_image_url": "https://example.com/x"}, "last_image_url", "Needs image_url"),
        ({**TEXT, "model": "kling-v2-6", "duration": 6}, "duration", "5 or 10"),
        ({**TEXT, "duration": 16}, "duration", "from 3 to 15"),
        ({**TEXT, "model": "kling-v2-6", "sound": True}, "sound", "Needs mode pro"),
        ({**MOTION, "character_orientation": "image", "element_ids": ["e"]}, "character_orientation", "Must be video"),
        ({**TEXT, "prompt": "\ud800"}, "prompt", "surrogate"),
        ({**TEXT, "max_cost_usd": 1}, "max_cost_usd", "decimal string"),
        ({**TEXT, "callback_url": "s3://bucket/key"}, "callback_url", "Not an https address."),
    ],
)
def test_a_problem_says_what_to_change(body: dict[str, Any], field: str, words: str) -> None:
    (problem,) = problems(body)[field]

    assert words in problem


@pytest.mark.parametrize("whole", ["5", "5.0", "5e0", "50E-1", "0.5e1"])
def test_a_whole_number_is_one_however_json_writes_it(whole: str) -> None:
    body = json.loads(f'{{"model": "kling-v3", "prompt": "x", "duration": {whole}}}')

    assert json.dumps(validated(body)["duration"]) == "5"
    assert digest(body) == digest({"model": "kling-v3", "prompt": "x", "duration": 5})


@pytest.mark.parametrize("other", ["5.5", '"5"', '"5.0"', "true", "null", "[5]", "1e400", "-1e400", "5.0000000001"])
def test_what_is_no_whole_number_is_none(other: str) -> None:
    body = json.loads(f'{{"model": "kling-v3", "prompt": "x", "duration": {other}}}')

    assert "duration" in problems(body)


# What JSON never holds, but a caller in Python might.
ODD = [{"a"}, (1, 2), 1j, float("nan"), float("inf"), object(), print, Decimal(1), datetime.now(UTC), ...]


@pytest.mark.parametrize("name", sorted(schema.JobRequest().fields))
def test_no_value_whatever_breaks_the_reading(name: str) -> None:
    for value in ODD:
        assert name in problems({**TEXT, name: value})


# --- the digest of a body


def test_the_digest_does_not_depend_on_how_a_body_is_written_down() -> None:
    one = json.loads('{"model": "kling-v3", "prompt": "caf\\u00e9", "metadata": {"a": "1", "b": "2"}}')
    two = json.loads('{"metadata":{"b":"2","a":"1"},  "prompt":"café","model":"kling-v3"}')

    assert digest(one) == digest(two)


OTHERS: list[dict[str, Any]] = [{"duration": 5}, {"cfg_scale": 0.5}, {"prompt": "A red kite"}, {"metadata": {}}]


def test_the_digest_of_a_body_is_that_of_earlier_versions() -> None:
    """Keys are known for a week: what was sent before an update is sent again after it."""
    odd = {"cfg_scale": 1e-7, "n": [1e16, 2**70, 0.1, -0.0, True, None]}
    text = {"prompt": "ein Drachen \u2014 \ud83d\ude00 \udc00 \x7f\x01", "metadata": {"b": "2", "a": "1"}}
    assert digest({"model": "kling-v3", "duration": 5.0, **text, **odd}) == "b0c99ab1c39748f13bd7b5ced51650eb"


@pytest.mark.parametrize("other", [{**TEXT, **change} for change in OTHERS] + [{"model": "kling-v3"}])
def test_the_digest_of_another_body_is_another(other: dict[str, Any]) -> None:
    assert digest(other) != digest(TEXT)
    assert digest({**TEXT, "provider": ["a", "b"]}) != digest({**TEXT, "provider": ["b", "a"]})
