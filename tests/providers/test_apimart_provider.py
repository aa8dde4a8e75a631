from __future__ import annotations

from decimal import Decimal

import pytest
from canonical_requests import CLIP, LAST, NO_4K_MOTION, PICTURE, TEXT, TIMED
from provider_contract import CALL_ME, NO_LINK, ProviderContract

from rushes.shared.domain import events
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import Link
from rushes.shared.providers.base import CallbackReport

TASK = "task_01J9HA7JPQ9A0Z6JZ3V8M9W6PZ"
VIDEO = "https://upload.apimart.ai/f/clip.mp4"
LINK = Link(VIDEO, None, 1763174708000)


INDEXED = [
    {"index": 1, "prompt": "she looks down", "duration": 2},
    {"index": 2, "prompt": "and up", "duration": 3},
]
WITHOUT_PROMPT = {name: value for name, value in TEXT.items() if name != "prompt"}


def shots(*durations_s, prompt="up"):
    return [{"prompt": prompt, "duration": seconds} for seconds in durations_s]


class TestApimart(ProviderContract):
    name = "apimart"
    submit_url = "https://api.apimart.ai/v1/videos/generations"
    query_url = "https://api.apimart.ai/v1/tasks/a%2Fb%20%3F%C3%A4"
    traits = {"idempotent", "tells_cost", "calls_back"}
    bodies = {
        "motion": (
            {"duration_s": Decimal("8.2")},
            {
                "model": "kling-v3-motion-control",
                "image_url": PICTURE,
                "video_url": CLIP,
                "keep_original_sound": "yes",
                "character_orientation": "image",
                "mode": "std",
                "watermark_info": {"enabled": False},
            },
        ),
        "motion, all said": (
            {},
            {
                "model": "kling-v3-motion-control",
                "prompt": "she waves",
                "image_url": PICTURE,
                "video_url": CLIP,
                "keep_original_sound": "no",
                "character_orientation": "video",
                "mode": "pro",
                "watermark_info": {"enabled": False},
            },
        ),
        "motion 2.6, watermark": (
            {},
            {
                "model": "kling-v2-6-motion-control",
                "image_url": PICTURE,
                "video_url": CLIP,
                "keep_original_sound": "yes",
                "character_orientation": "image",
                "mode": "std",
                "watermark_info": {"enabled": True},
            },
        ),
        "text": (
            {},
            {
                "model": "kling-v3",
                "prompt": "a desert at dusk",
                "mode": "std",
                "duration": 5,
                "aspect_ratio": "16:9",
                "audio": False,
                "watermark": False,
            },
        ),
        "text, 4k": (
            {},
            {
                "model": "kling-v3",
                "prompt": "a desert at dusk",
                "mode": "4k",
                "duration": 5,
                "aspect_ratio": "16:9",
                "audio": False,
                "watermark": False,
            },
        ),
        "text, watermark": (
            {},
            {
                "model": "kling-v3",
                "prompt": "a desert at dusk",
                "mode": "std",
                "duration": 5,
                "aspect_ratio": "16:9",
                "audio": False,
                "watermark": True,
            },
        ),
        "text, intelligent shots": (
            {},
            {
                "model": "kling-v3",
                "prompt": "a desert at dusk",
                "mode": "std",
                "duration": 5,
                "aspect_ratio": "16:9",
                "audio": False,
                "watermark": False,
                "multi_shot": True,
                "shot_type": "intelligence",
            },
        ),
        "text, timed shots": (
            {},
            {
                "model": "kling-v3",
                "mode": "std",
                "duration": 5,
                "aspect_ratio": "16:9",
                "audio": False,
                "watermark": False,
                "multi_shot": True,
                "shot_type": "customize",
                "multi_prompt": INDEXED,
            },
        ),
        "image, timed shots": (
            {},
            {
                "model": "kling-v3",
                "image_urls": [PICTURE],
                "mode": "std",
                "duration": 5,
                "aspect_ratio": "16:9",
                "audio": False,
                "watermark": False,
                "multi_shot": True,
                "shot_type": "customize",
                "multi_prompt": INDEXED,
            },
        ),
        "first and last, all said": (
            {},
            {
                "model": "kling-v3",
                "prompt": "a desert at dusk",
                "negative_prompt": "blurred",
                "image_urls": [PICTURE, LAST],
                "mode": "pro",
                "duration": 5,
                "aspect_ratio": "16:9",
                "audio": True,
                "watermark": False,
            },
        ),
        "text 2.6, sound": (
            {},
            {
                "model": "kling-v2-6",
                "prompt": "a desert at dusk",
                "mode": "pro",
                "duration": 5,
                "aspect_ratio": "16:9",
                "audio": True,
                "watermark": False,
            },
        ),
        "image 2.6": (
            {},
            {
                "model": "kling-v2-6",
                "prompt": "a desert at dusk",
                "image_urls": [PICTURE],
                "mode": "std",
                "duration": 5,
                "aspect_ratio": "16:9",
                "audio": False,
                "watermark": False,
            },
        ),
        "first and last 2.6": (
            {},
            {
                "model": "kling-v2-6",
                "prompt": "a desert at dusk",
                "image_urls": [PICTURE, LAST],
                "mode": "std",
                "duration": 5,
                "aspect_ratio": "16:9",
                "audio": False,
                "watermark": False,
            },
        ),
    }
    unable = {
        "motion, element": "has no way to say element_ids",
        **NO_4K_MOTION,
        "text, cfg scale": "has no way to say cfg_scale",
        "text, shot type": "takes shot_type customize only with multi_prompt",
        "image, shots": "needs a duration for each shot of multi_prompt",
        "text 2.6, voice": "has no way to say voice_ids",
        "image 2.6, no prompt": "needs a prompt with kling-v2-6",
    }
    submits = {
        "submitted": events.Accepted(TASK),
        "submitted_versioned": events.Accepted(TASK),
        "refused_401": events.Refused(Reason.KEY, "Invalid API key"),
        "throttled_400": events.Refused(Reason.RATE, "parallel task over resource pack limit"),
        "throttled_500": events.Refused(Reason.RATE, "system overloaded"),
        "refused_in_200": events.Refused(Reason.BALANCE, "Insufficient balance"),
    }
    queries = {
        "pending": events.Progressed(0),
        "running": events.Progressed(45),
        "completed": events.Succeeded(LINK, task_id=TASK, took_s=19.0),
        "completed_in_klings_word": events.Succeeded(LINK, task_id=TASK, took_s=19.0),
        "completed_paid": events.Succeeded(LINK, Decimal("0.82304"), task_id=TASK, took_s=19.0),
        "completed_empty": NO_LINK,
        "failed": events.Failed(Reason.PROVIDER, "generation failed", task_id=TASK),
        "failed_refunded": events.Failed(Reason.PROVIDER, "generation failed", Decimal(0), TASK),
        "failed_policy": events.Failed(Reason.POLICY, "The prompt contains sensitive words", task_id=TASK),
        "failed_in_error_envelope": events.Failed(Reason.PROVIDER, "generation failed", task_id=TASK),
        "unknown_task": events.Unclear("HTTP 404: task not found", Reason.PROVIDER, missing=True),
    }
    callbacks = {
        "callback_completed": CallbackReport(TASK, events.Succeeded(Link(VIDEO), task_id=TASK)),
        # The documents' form: exactly the answer to a query.
        "completed_paid": CallbackReport(TASK, events.Succeeded(LINK, Decimal("0.82304"), task_id=TASK, took_s=19.0)),
        "failed": CallbackReport(TASK, events.Failed(Reason.PROVIDER, "generation failed", task_id=TASK)),
        "running": CallbackReport(TASK, events.Progressed(45)),
    }
    words = {"running": ("Processing",), "completed": ("COMPLETED",), "failed": ("Failed",)}
    link_at = ("data", "result")
    state_at = ("data", "status")
    progress_at = ("data", "progress")

    def calling(self, body):
        return {**body, "webhook": CALL_ME}

    @pytest.mark.parametrize(
        ("url", "calls"),
        [
            *[
                ("https://rushes.example", True),
                ("https://rushes.example:443/x", True),
                ("http://rushes.example:80", True),
            ],
            *[("https://rushes.example:8443", False), ("http://rushes.example:8000", False)],
            ("http://127.0.0.1:9000", True),
        ],
    )
    def test_it_calls_the_usual_ports_only(self, url, calls):
        assert self.provider.can_call(url) is calls

    def test_two_submits_of_one_attempt_carry_the_same_key(self):
        first, second = (self.provider.submit_request(self.submission("motion"), self.access) for _ in range(2))
        assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"] == "attempt-key"

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"multi_prompt": shots(5)}, None),
            ({"multi_prompt": shots(1, 1, 1, 1, 1, 1), "duration": 6}, None),
            ({"multi_prompt": shots(2, 3, prompt="x" * 512)}, None),
            ({"multi_prompt": shots(1, 1, 1, 1, 1, 1, 1), "duration": 7}, "takes at most 6 shots in multi_prompt"),
            ({"multi_prompt": shots(2, 2)}, "needs shots in multi_prompt whose durations add up to 5 s"),
            (
                {"multi_prompt": shots(2, 3, prompt="x" * 513)},
                "takes at most 512 characters for a shot of multi_prompt",
            ),
            ({"multi_prompt": [{"prompt": "up"}]}, "needs a duration for each shot of multi_prompt"),
            (
                {"multi_prompt": TIMED, "shot_type": "intelligent"},
                "takes multi_prompt only with shot_type customize",
            ),
            ({"shot_type": "intelligent"}, "needs a prompt for shot_type intelligent"),
        ],
    )
    def test_its_shots_keep_to_its_document(self, changes, why):
        for request in (WITHOUT_PROMPT, {**WITHOUT_PROMPT, "image_url": PICTURE}):
            assert self.provider.why_not({**request, **changes}) == why
