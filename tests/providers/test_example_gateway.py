"""The gateway of deploy/examples/add_a_gateway.py keeps the contract of all gateways."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from canonical_requests import CASES, NO_4K_TEXT
from provider_contract import ProviderContract

from rushes.shared.domain import events
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import Link

EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "add_a_gateway.py"


def example():
    """The module of the example."""
    spec = spec_from_file_location("add_a_gateway", EXAMPLE)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FRAMEHOUSE = example().Framehouse()


NO_MODEL = {
    case: f"does not offer {request['model']}" for case, request in CASES.items() if request["model"] != "kling-v3"
}
NO_PICTURE = {
    case: f"does not offer {'first and last' if 'last_image_url' in request else 'image'} with kling-v3"
    for case, request in CASES.items()
    if request["model"] == "kling-v3" and "image_url" in request
}
TEXT = {
    "model": "kling-3.0",
    "prompt": "a desert at dusk",
    "seconds": 5,
    "ratio": "16:9",
    "quality": "720p",
    "audio": False,
}


class TestFramehouse(ProviderContract):
    name = "framehouse"
    provider = FRAMEHOUSE
    submit_url = "https://api.framehouse.example/v1/videos"
    query_url = "https://api.framehouse.example/v1/videos/a%2Fb%20%3F%C3%A4"
    traits = set()
    bodies = {
        "text": ({}, TEXT),
        "text, pro with sound": ({}, {**TEXT, "quality": "1080p", "audio": True}),
        "text, negative prompt": ({}, {**TEXT, "negative_prompt": "blurred"}),
    }
    unable = {
        **NO_MODEL,
        **NO_PICTURE,
        **NO_4K_TEXT,
        "text, cfg scale": "has no way to say cfg_scale",
        "text, shot type": "has no way to say shot_type",
        "text, intelligent shots": "has no way to say shot_type",
        "text, timed shots": "has no way to say multi_prompt",
        "text, watermark": "has no way to say watermark",
    }
    submits = {
        "submitted": events.Accepted("fh_1"),
        "refused_credits": events.Refused(Reason.BALANCE, "no credits left"),
    }
    queries = {
        "running": events.Progressed(40),
        "completed": events.Succeeded(Link("https://cdn.framehouse.example/fh_1.mp4"), task_id="fh_1"),
        "failed": events.Failed(Reason.PROVIDER, "the render failed", task_id="fh_1"),
        "unknown_task": events.Unclear("HTTP 404: no such video", Reason.PROVIDER, missing=True),
    }
    callbacks = {}
    words = {"running": ("queued", "running"), "completed": ("completed",), "failed": ("failed",)}
    link_at = ("video_url",)
    state_at = ("status",)
    progress_at = ("progress",)
