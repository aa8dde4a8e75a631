from __future__ import annotations

from decimal import Decimal

import pytest
from canonical_requests import CLIP, MOTION_ONLY, NO_4K_MOTION, PICTURE
from provider_contract import NO_LINK, ProviderContract

from rushes.shared.domain import events
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import Link

TASK = "task_aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0dF"
CONTENT = Link(f"https://apimaster.ai/v1/videos/{TASK}/content")
NO_26 = "does not offer kling-v2-6-motion-control"


class TestApimaster(ProviderContract):
    name = "apimaster"
    submit_url = "https://apimaster.ai/v1/videos/generations"
    query_url = "https://apimaster.ai/v1/videos/a%2Fb%20%3F%C3%A4"
    traits = {"keyed_content"}
    bodies = {
        "motion": (
            {},
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
            {"duration_s": Decimal("12.04")},
            {
                "model": "kling-v3-motion-control",
                "prompt": "she waves",
                "image_url": PICTURE,
                "video_url": CLIP,
                "keep_original_sound": "no",
                "character_orientation": "video",
                "mode": "pro",
                "watermark_info": {"enabled": False},
                "duration": 13,
            },
        ),
    }
    unable = {
        "motion, element": "has no way to say element_ids",
        **NO_4K_MOTION,
        "motion 2.6": NO_26,
        "motion 2.6, watermark": NO_26,
        **NO_4K_MOTION,
        **MOTION_ONLY,
    }
    submits = {
        "submitted": events.Accepted(TASK),
        "submitted_with_null_error": events.Accepted(TASK),
        "refused_invalid_request": events.Refused(Reason.INPUT, "video_url is required"),
        "refused_invalid_model": events.Refused(Reason.PROVIDER, "the model cannot be used here"),
        "refused_key": events.Refused(Reason.KEY, "Invalid token (request id: 1)"),
        "refused_in_200": events.Refused(Reason.DOWN, "Invalid token (request id: 1)"),
        "throttled_400": events.Refused(Reason.RATE, "parallel task over resource pack limit"),
        "throttled_502": events.Refused(Reason.RATE, "rate limit exceeded"),
        "refused_upstream": events.Lost("HTTP 502 says neither yes nor no"),
    }
    queries = {
        "queued": events.Progressed(),
        "running": events.Progressed(30),
        "completed": events.Succeeded(CONTENT, task_id=TASK),
        "completed_in_klings_word": events.Succeeded(CONTENT, task_id=TASK),
        "completed_upstream": events.Succeeded(Link("https://upload.apimart.ai/f/clip.mp4"), task_id=TASK),
        "completed_empty": events.Succeeded(CONTENT, task_id=TASK),
        "completed_nameless": NO_LINK,
        "failed": events.Failed(Reason.PROVIDER, "Video generation failed", task_id=TASK),
        "failed_policy": events.Failed(Reason.POLICY, "Failure to pass the risk control system", task_id=TASK),
        "unknown_task": events.Unclear("HTTP 400: task_not_exist", Reason.INPUT, missing=True),
    }
    callbacks = {}
    words = {"running": ("unknown",), "completed": ("completed",), "failed": ("failed",)}
    link_at = ("url",)
    state_at = ("status",)
    progress_at = ("progress",)

    @pytest.mark.parametrize(
        ("case", "measured", "said"),
        [("motion", "3", 3), ("motion", "8.2", 9), ("motion", "10.04", 10), ("motion, all said", "30.04", 30)],
    )
    def test_a_measured_length_is_said_in_whole_seconds_up_to_the_longest(self, case, measured, said):
        duration = self.provider.body(self.submission(case, duration_s=Decimal(measured)))["duration"]
        assert (duration, type(duration)) == (said, int)

    def test_the_clip_is_behind_the_key_at_the_address_that_was_asked(self):
        elsewhere = "http://127.0.0.1:5000/apimaster"
        event = self.provider.read_query(
            self.saying("completed", "completed_empty"), type(self.access)(f"{elsewhere}/v1/", "k")
        )
        assert event.link.video_url == f"{elsewhere}/v1/videos/{TASK}/content"
