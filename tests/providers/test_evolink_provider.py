from __future__ import annotations

from decimal import Decimal

import pytest
from canonical_requests import CLIP, LAST, NO_4K_MOTION, NO_4K_TEXT, NO_CLIP_26, NO_SHOTS, PICTURE
from provider_contract import CALL_ME, NO_LINK, ProviderContract, answer

from rushes.shared.domain import events
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import Link

TASK = "task-unified-1757169743-7cvnl5zw"
LINK = Link("https://files.evolink.ai/clip.mp4")
NO_26 = "does not offer kling-v2-6-motion-control"


class TestEvolink(ProviderContract):
    name = "evolink"
    submit_url = "https://api.evolink.ai/v1/videos/generations"
    query_url = "https://api.evolink.ai/v1/tasks/a%2Fb%20%3F%C3%A4"
    traits = {"calls_back"}
    bodies = {
        "motion": (
            {"duration_s": Decimal("8.2")},
            {
                "model": "kling-v3-motion-control",
                "image_urls": [PICTURE],
                "video_urls": [CLIP],
                "quality": "720p",
                "model_params": {
                    "character_orientation": "image",
                    "keep_sound": True,
                    "watermark_info": {"enabled": False},
                },
            },
        ),
        "motion, all said": (
            {"callback_url": CALL_ME},
            {
                "model": "kling-v3-motion-control",
                "prompt": "she waves",
                "image_urls": [PICTURE],
                "video_urls": [CLIP],
                "quality": "1080p",
                "model_params": {
                    "character_orientation": "video",
                    "keep_sound": False,
                    "watermark_info": {"enabled": False},
                },
                "callback_url": CALL_ME,
            },
        ),
        "motion, element": (
            {},
            {
                "model": "kling-v3-motion-control",
                "image_urls": [PICTURE],
                "video_urls": [CLIP],
                "quality": "720p",
                "model_params": {
                    "character_orientation": "video",
                    "keep_sound": True,
                    "element_list": [{"element_id": "e1"}],
                    "watermark_info": {"enabled": False},
                },
            },
        ),
        "text": (
            {},
            {
                "model": "kling-v3-text-to-video",
                "prompt": "a desert at dusk",
                "duration": 5,
                "aspect_ratio": "16:9",
                "quality": "720p",
                "sound": "off",
            },
        ),
        "text, pro with sound": (
            {"callback_url": CALL_ME},
            {
                "model": "kling-v3-text-to-video",
                "prompt": "a desert at dusk",
                "duration": 5,
                "aspect_ratio": "16:9",
                "quality": "1080p",
                "sound": "on",
                "callback_url": CALL_ME,
            },
        ),
        "image, no prompt": (
            {},
            {
                "model": "kling-v3-image-to-video",
                "image_start": PICTURE,
                "duration": 5,
                "quality": "720p",
                "sound": "off",
            },
        ),
        "first and last, all said": (
            {},
            {
                "model": "kling-v3-image-to-video",
                "prompt": "a desert at dusk",
                "negative_prompt": "blurred",
                "image_start": PICTURE,
                "image_end": LAST,
                "duration": 5,
                "quality": "1080p",
                "sound": "on",
            },
        ),
    }
    unable = {
        "motion 2.6": NO_26,
        "motion 2.6, watermark": NO_26,
        **NO_4K_MOTION,
        **NO_4K_TEXT,
        **NO_CLIP_26,
        **NO_SHOTS,
        "text, cfg scale": "has no way to say cfg_scale",
        "text, watermark": "has no way to say watermark",
    }
    # With a first frame the clip adapts to it (docs.evolink.ai, kling-v3-image-to-video).
    unsaid = (("image", "aspect_ratio"), ("first_last", "aspect_ratio"))
    submits = {
        "submitted": events.Accepted(TASK, Decimal("0.567")),
        "refused_400": events.Refused(Reason.INPUT, "Invalid prompt parameter"),
        "refused_402": events.Refused(Reason.BALANCE, "Insufficient quota"),
        "refused_404": events.Refused(Reason.PROVIDER, "Model not found"),
        "refused_429": events.Refused(Reason.RATE, "Rate limit exceeded"),
        "refused_503": events.Refused(Reason.DOWN, "Service unavailable"),
        "refused_in_200": events.Refused(Reason.INPUT, "Invalid prompt parameter"),
        "throttled_400": events.Refused(Reason.RATE, "Rate limit exceeded"),
        "throttled_500": events.Refused(Reason.RATE, "parallel task over resource pack limit"),
        "lost_502": events.Lost("HTTP 502 says neither yes nor no"),
    }
    queries = {
        "pending": events.Progressed(0),
        "running": events.Progressed(65),
        "completed": events.Succeeded(LINK, task_id=TASK),
        "completed_in_klings_word": events.Succeeded(LINK, task_id=TASK),
        "completed_with_length": events.Succeeded(LINK, None, Decimal(8), TASK),
        "completed_empty": NO_LINK,
        "failed": events.Failed(Reason.PROVIDER, "The service is not available", task_id=TASK),
        "failed_policy": events.Failed(Reason.POLICY, "The content was refused", task_id=TASK),
        "failed_input": events.Failed(Reason.INPUT, "The picture is too small", task_id=TASK),
        "cancelled": events.Failed(Reason.PROVIDER, "The request was cancelled", task_id=TASK),
        "unknown_task": events.Unclear("HTTP 404: task not found or expired", Reason.PROVIDER, missing=True),
    }
    callbacks = {}
    words = {"running": ("pending",), "completed": ("completed",), "failed": ("cancelled",)}
    link_at = ("results",)
    state_at = ("status",)
    progress_at = ("progress",)

    @pytest.mark.parametrize(
        ("code", "reason"),
        [
            *[("content_policy_violation", Reason.POLICY), ("invalid_parameters", Reason.INPUT)],
            *[("image_processing_error", Reason.INPUT), ("image_dimension_mismatch", Reason.INPUT)],
            *[("generation_failed_no_content", Reason.INPUT), ("resource_not_found", Reason.INPUT)],
            *[("request_cancelled", Reason.PROVIDER), ("service_error", Reason.PROVIDER)],
            *[("generation_timeout", Reason.PROVIDER), ("service_unavailable", Reason.PROVIDER)],
            *[("resource_exhausted", Reason.RATE), ("quota_exceeded", Reason.RATE), ("unknown_error", Reason.PROVIDER)],
        ],
    )
    def test_each_code_of_a_failed_task_has_its_reason(self, code, reason):
        body = {**self.sample("failed"), "error": {"code": code, "message": "no"}}
        assert self.read_query(answer(200, body)) == events.Failed(reason, "no", task_id=TASK)

    @pytest.mark.parametrize("name", ["completed", "failed", "cancelled", "running"])
    def test_a_callback_is_read_as_the_answer_to_a_query(self, name):
        heard = self.read_callback(self.sample(name))
        assert heard.task_id == TASK
        assert heard.event == self.queries[name]

    @pytest.mark.parametrize(("made", "billed"), [("8", 8), ("8.01", 9), ("8.5", 9), ("8.99", 9), ("9.0", 9)])
    def test_it_bills_whole_seconds_up(self, made, billed):
        assert self.provider.billed_s(Decimal(made)) == billed

    @pytest.mark.parametrize(
        ("usage", "usd"),
        [
            ({"billing_rule": "per_second", "credits_reserved": 408240}, "0.567"),
            ({"billing_rule": "per_second", "credits_reserved": "72000"}, "0.1"),
            ({"billing_rule": "per_call", "credits_reserved": 408240}, None),
            ({"billing_rule": "per_second", "credits_reserved": 0}, None),
            ({"billing_rule": "per_second", "credits_reserved": -1}, None),
            ({"credits_reserved": 408240}, None),
            ("408240", None),
        ],
    )
    def test_what_it_reserves_is_read_where_its_unit_is_known(self, usage, usd):
        accepted = self.read_submission(answer(200, {**self.sample("submitted"), "usage": usage}))
        assert accepted == events.Accepted(TASK, usd and Decimal(usd))

    def test_what_it_reserves_is_no_cost(self):
        body = {**self.sample("completed"), "usage": {"billing_rule": "per_second", "credits_reserved": 408240}}
        assert self.read_query(answer(200, body)).cost_usd is None

    def test_a_clip_of_no_length_is_a_field_that_was_not_filled_in(self):
        body = {**self.sample("completed_with_length"), "task_info": {"video_duration": 0}}
        assert self.read_query(answer(200, body)).made_s is None
