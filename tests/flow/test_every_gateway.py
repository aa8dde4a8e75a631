"""Each gateway and each operation once, from the request to the bucket."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from hashlib import sha256
from typing import Any

import pytest
from world import World

from rushes.shared.domain.job import State
from rushes.shared.intake.job_document import document

WORDS = {"prompt": "a red kite over the sea", "duration": 3}
SHOTS = [{"prompt": "a kite rises", "duration": 2}, {"prompt": "it falls", "duration": 1}]
Ask = Callable[[World], dict[str, Any]]
FRAMES = ("image_url", "last_image_url")


def clip(model: str, *pictures: str, **more: Any) -> Ask:
    """A clip from words, and from a picture for each of these fields."""
    return lambda world: {"model": model, **WORDS, **dict.fromkeys(pictures, world.picture), **more}


def shots(*pictures: str, **more: Any) -> Ask:
    """A clip of two shots."""
    return lambda world: {
        "model": "kling-v3",
        "multi_prompt": SHOTS,
        "duration": 3,
        **dict.fromkeys(pictures, world.picture),
        **more,
    }


OPERATIONS: dict[tuple[str, str], Ask] = {
    ("apimaster", "motion"): lambda world: world.motion,
    ("apimart", "motion"): lambda world: world.motion,
    ("apimart", "text"): clip("kling-v3", sound=True),
    ("apimart", "text in 4k"): clip("kling-v3", mode="4k"),
    ("apimart", "image"): clip("kling-v3", "image_url", watermark=True),
    ("apimart", "first and last"): clip("kling-v3", *FRAMES, negative_prompt="fog"),
    ("apimart", "shots"): shots("image_url", shot_type="customize"),
    ("apimart", "shots from text"): shots(),
    ("apimart", "shots that the model decides"): clip("kling-v3", shot_type="intelligence"),
    ("apimart", "text of 2.6"): clip("kling-v2-6", duration=5, mode="pro", sound=True),
    ("apimart", "image of 2.6"): clip("kling-v2-6", "image_url", duration=5),
    ("apimart", "first and last of 2.6"): clip("kling-v2-6", *FRAMES, duration=10),
    ("evolink", "text"): clip("kling-v3", sound=True),
    ("evolink", "image"): clip("kling-v3", "image_url", mode="pro"),
    ("evolink", "first and last"): clip("kling-v3", *FRAMES),
    ("newapi", "image"): clip("kling-v3", "image_url", mode="pro", sound=True),
    ("apimodels", "text"): clip("kling-v3", mode="pro", sound=True),
    ("apimodels", "text of 2.6"): clip("kling-v2-6", duration=5, mode="pro", sound=True, voice_ids=["v1"]),
    ("apimodels", "image of 2.6"): clip("kling-v2-6", "image_url", duration=10),
    ("apimodels", "motion"): lambda world: world.motion,
    ("apimodels", "motion of 2.6"): lambda world: {**world.motion, "model": "kling-v2-6-motion-control"},
    ("evolink", "motion"): lambda world: {**world.motion, "mode": "pro"},
    ("apimart", "motion of 2.6"): lambda world: {**world.motion, "model": "kling-v2-6-motion-control"},
    ("evolink", "motion by the video"): lambda world: {**world.motion, "character_orientation": "video"},
    ("newapi", "text"): lambda world: world.text,
    ("newapi", "first and last"): lambda world: {
        "model": "kling-v3",
        "image_url": world.picture,
        "last_image_url": world.picture,
        **WORDS,
    },
    ("newapi", "shots"): lambda world: {
        "model": "kling-v3",
        "image_url": world.picture,
        "multi_prompt": SHOTS,
        "duration": 3,
    },
    ("kling", "text"): lambda world: world.text,
    ("kling", "image"): lambda world: {"model": "kling-v3", "image_url": world.picture, **WORDS},
    ("kling", "first and last"): lambda world: {
        "model": "kling-v3",
        "image_url": world.picture,
        "last_image_url": world.picture,
        **WORDS,
    },
    ("kling", "motion"): lambda world: {**world.motion, "prompt": "she waves", "keep_original_sound": False},
    ("kling", "motion of 2.6"): lambda world: {**world.motion, "model": "kling-v2-6-motion-control", "mode": "pro"},
    ("apimodels", "image"): lambda world: {"model": "kling-v3", "image_url": world.picture, **WORDS},
}


@pytest.mark.parametrize(("gateway", "operation"), OPERATIONS)
def test_a_job_is_billed_once_and_its_clip_lies_in_the_bucket(world: World, gateway: str, operation: str) -> None:
    job = world.finish(world.submit(OPERATIONS[gateway, operation](world), provider=gateway))

    stored, manifest = world.bucket(job), world.manifest(job)
    clip = stored["video.mp4"]
    digest = sha256(world.served(job)).hexdigest()
    assert job.state is State.COMPLETED
    (bill,) = world.bills()
    assert (bill["gateway"], bill["task_id"]) == (gateway, job.current.task_id)
    assert job.current.cost_usd in (None, Decimal(bill["usd"]))  # None: its price is unknown, and it tells none
    assert manifest["job"]["result"]["sha256"] == sha256(clip.body).hexdigest() == digest
    assert manifest["files"] == [
        {"key": manifest["job"]["result"]["key"], "size": len(clip.body), "sha256": digest, "content_type": "video/mp4"}
    ]
    assert (clip.content_type, clip.metadata) == (
        "video/mp4",
        {"job-id": job.id, "sha256": digest, "provider": gateway, "task-id": job.current.task_id},
    )


@pytest.mark.parametrize("gateway", ["apimart", "apimodels"])
def test_the_manifest_is_the_last_object_and_tells_of_the_job_as_it_ended(world: World, gateway: str) -> None:
    job = world.finish(world.submit(world.request_for(gateway)))

    told, known = world.manifest(job)["job"], document(job)
    assert world.written() == ["video.mp4", "manifest.json"]
    moments = ("updated_at", "ended_at")
    assert {k: v for k, v in told.items() if k not in moments} == {k: v for k, v in known.items() if k not in moments}
    assert told["status"] == "completed"
    assert told["ended_at"]


def test_a_clip_costs_what_the_gateway_billed(world: World) -> None:
    job = world.finish(world.submit(world.motion, provider="evolink"))

    (bill,) = world.bills()
    assert job.current.cost_usd == Decimal(bill["usd"]) == Decimal("0.4536")


def test_a_clip_costs_at_kling_what_was_paid_in_cash(world: World) -> None:
    job = world.finish(world.submit(world.text, provider="kling", sound=True))

    (bill,) = world.bills()
    assert job.current.cost_usd == Decimal(bill["usd"]) == Decimal("0.378")
    assert job.current.link
    assert (job.current.link.expires_at or 0) > world.clock() + 29 * 86_400_000
