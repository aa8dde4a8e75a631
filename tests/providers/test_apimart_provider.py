from __future__ import annotations

from decimal import Decimal

from canonical_requests import CLIP, MOTION_ONLY, NO_4K_MOTION, PICTURE
from provider_contract import NO_LINK, ProviderContract

from rushes.shared.domain import events
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import Link
from rushes.shared.providers.base import CallbackReport

TASK = "task_01J9HA7JPQ9A0Z6JZ3V8M9W6PZ"
VIDEO = "https://upload.apimart.ai/f/clip.mp4"
LINK = Link(VIDEO, None, 1763174708000)


class TestApimart(ProviderContract):
    name = "apimart"
    submit_url = "https://api.apimart.ai/v1/videos/generations"
    query_url = "https://api.apimart.ai/v1/tasks/a%2Fb%20%3F%C3%A4"
    traits = {"idempotent"}
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
    }
    unable = {"motion, element": "has no way to say element_ids", **NO_4K_MOTION, **MOTION_ONLY}
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
        "failed_policy": events.Failed(Reason.POLICY, "The prompt contains sensitive words", task_id=TASK),
        "failed_in_error_envelope": events.Failed(Reason.PROVIDER, "generation failed", task_id=TASK),
        "unknown_task": events.Unclear("HTTP 404: task not found", Reason.PROVIDER, missing=True),
    }
    callbacks = {"callback_completed": CallbackReport(TASK, events.Succeeded(Link(VIDEO), task_id=TASK))}
    words = {"running": ("Processing",), "completed": ("COMPLETED",), "failed": ("Failed",)}
    link_at = ("data", "result")
    state_at = ("data", "status")
    progress_at = ("data", "progress")

    def test_two_submits_of_one_attempt_carry_the_same_key(self):
        first, second = (self.provider.submit_request(self.submission("motion"), self.access) for _ in range(2))
        assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"] == "attempt-key"
