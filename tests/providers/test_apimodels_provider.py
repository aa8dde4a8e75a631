from __future__ import annotations

from decimal import Decimal

import pytest
from canonical_requests import (
    CASES,
    CLIP,
    FIRST_LAST,
    MOTION,
    NO_4K_MOTION,
    NO_4K_TEXT,
    NO_SHOTS,
    PICTURE,
    TEXT,
    TEXT_26,
)
from provider_contract import CALL_ME, NO_LINK, ProviderContract, answer, recorded

from rushes.shared.domain import events
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import Link
from rushes.shared.providers.base import Access, CallbackReport, Submission

TASK = "clx0a1b2c3d4e5f6g7h8i9j0k"
VIDEO, THUMBNAIL = "https://r2.apimodels.app/videos/xxx.mp4", "https://r2.apimodels.app/videos/xxx.jpg"
MADE = CallbackReport(TASK, events.Succeeded(Link(VIDEO, THUMBNAIL), None, Decimal(5), TASK, took_s=50.0))
FAILED = events.Failed(Reason.PROVIDER, "Upstream generation failed", task_id=TASK)
FAILED_POLICY = events.Failed(Reason.POLICY, "Content policy violation", task_id=TASK)


class TestApimodels(ProviderContract):
    name = "apimodels"
    submit_url = "https://apimodels.app/api/v1/video/generations"
    query_url = "https://apimodels.app/api/v1/video/generations?task_id=a%2Fb%20%3F%C3%A4"
    traits = {"calls_back"}
    bodies = {
        "motion": (
            {"duration_s": Decimal("8.2")},
            {
                "model": "kling-motion-control",
                "version": "3.0",
                "image": PICTURE,
                "motion_video": CLIP,
                "mode": "std",
                "character_orientation": "image",
                "keep_original_sound": "yes",
            },
        ),
        "motion, all said": (
            {"callback_url": CALL_ME},
            {
                "model": "kling-motion-control",
                "version": "3.0",
                "prompt": "she waves",
                "image": PICTURE,
                "motion_video": CLIP,
                "mode": "pro",
                "character_orientation": "video",
                "keep_original_sound": "no",
                "callback_url": CALL_ME,
            },
        ),
        "motion 2.6": (
            {},
            {
                "model": "kling-motion-control",
                "version": "2.6",
                "image": PICTURE,
                "motion_video": CLIP,
                "mode": "std",
                "character_orientation": "image",
                "keep_original_sound": "yes",
            },
        ),
        "text": (
            {},
            {
                "model": "kling-v3",
                "prompt": "a desert at dusk",
                "mode": "std",
                "duration": "5",
                "aspect_ratio": "16:9",
            },
        ),
        "text, pro with sound": (
            {},
            {
                "model": "kling-v3",
                "prompt": "a desert at dusk",
                "mode": "pro",
                "duration": "5",
                "aspect_ratio": "16:9",
                "sound": "on",
            },
        ),
        "image, no prompt": (
            {},
            {"model": "kling-v3", "image": PICTURE, "mode": "std", "duration": "5", "aspect_ratio": "16:9"},
        ),
        "text 2.6, voice": (
            {},
            {
                "model": "kling-v2-6",
                "prompt": "a desert at dusk",
                "mode": "pro",
                "duration": "5",
                "aspect_ratio": "16:9",
                "sound": "on",
                "voice_list": [{"voice_id": "v1"}],
            },
        ),
        "image 2.6": (
            {},
            {
                "model": "kling-v2-6",
                "prompt": "a desert at dusk",
                "image": PICTURE,
                "mode": "std",
                "duration": "5",
                "aspect_ratio": "16:9",
            },
        ),
    }
    unable = {
        **NO_4K_MOTION,
        **NO_4K_TEXT,
        "motion, watermark": "has no way to say watermark",
        "motion, element": "has no way to say element_ids",
        "motion 2.6, watermark": "has no way to say watermark",
        "text, watermark": "has no way to say watermark",
        **NO_4K_MOTION,
        **NO_4K_TEXT,
        **NO_SHOTS,
        # Its document names none of these three.
        "text, negative prompt": "has no way to say negative_prompt",
        "text, cfg scale": "has no way to say cfg_scale",
        **dict.fromkeys(("first and last", "first and last, all said"), "does not offer first and last with kling-v3"),
        "first and last 2.6": "does not offer first and last with kling-v2-6",
    }
    submits = {
        "submitted": events.Accepted(TASK),
        "refused_400": events.Refused(Reason.INPUT, "prompt is required"),
        "refused_402": events.Refused(Reason.BALANCE, "Insufficient credits"),
        "refused_402_in_200": events.Refused(Reason.BALANCE, "Insufficient credits"),
        "refused_model": events.Refused(
            Reason.PROVIDER, "Invalid model: motion-control. Supported: kling-v2-6, kling-v3"
        ),
        "submitted_other_form": events.Accepted(TASK),
        "throttled_400": events.Refused(Reason.RATE, "请求过于频繁"),
        "throttled_500": events.Refused(Reason.RATE, "system overloaded"),
        "lost_500": events.Lost("HTTP 500 says neither yes nor no"),
    }
    queries = {
        "pending": events.Progressed(),
        "running": events.Progressed(),
        "completed": events.Succeeded(Link(VIDEO), task_id=TASK, took_s=50.0),
        "completed_in_klings_word": events.Succeeded(Link(VIDEO), task_id=TASK, took_s=50.0),
        "completed_other_form": events.Succeeded(Link(VIDEO), task_id=TASK),
        "failed_other_form": FAILED,
        "completed_empty": NO_LINK,
        "failed": FAILED,
        "failed_policy": FAILED_POLICY,
        "unknown_task": events.Unclear("HTTP 404: Task not found", Reason.PROVIDER, missing=True),
    }
    callbacks = {
        "callback_completed": MADE,
        "callback_completed_objects": MADE,
        "callback_completed_empty": CallbackReport(TASK, NO_LINK),
        "callback_failed": CallbackReport(TASK, FAILED),
        "callback_failed_empty_result": CallbackReport(TASK, FAILED_POLICY),
        "callback_processing": CallbackReport(TASK, events.Progressed()),
        "callback_result_not_json": "resultJson is not JSON",
        "callback_param_not_json": "param is not JSON",
        "callback_stateless": "no state in it",
    }
    words = {"running": ("pending",), "completed": ("completed",), "failed": ("fail",)}
    link_at = ("data", "resultUrls")
    state_at = ("data", "state")
    progress_at = ("data", "progress")

    @pytest.mark.parametrize(
        ("base_url", "begins"),
        [
            *[(f"https://apimodels.app{end}", "https://apimodels.app/api/v1/") for end in ("", "/", "/api/v1", "/api")],
            *[(f"https://api.apimodels.app{end}", "https://api.apimodels.app/v1/") for end in ("", "/", "/v1", "/v1/")],
            ("http://127.0.0.1:8000/apimodels", "http://127.0.0.1:8000/apimodels/api/v1/"),
            ("http://127.0.0.1:8000/apimodels/v1", "http://127.0.0.1:8000/apimodels/v1/"),
        ],
    )
    def test_it_is_called_at_both_of_its_addresses(self, base_url, begins):
        access = Access(base_url, "k")
        assert self.provider.submit_request(self.submission("text"), access).url == f"{begins}video/generations"
        assert self.provider.query_request("t", access).url == f"{begins}video/generations?task_id=t"

    @pytest.mark.parametrize(
        ("request_", "guesses"),
        [
            (MOTION, ["character_orientation", "keep_original_sound", "mode", "model"]),
            (TEXT, []),
            ({**TEXT, "sound": True}, ["sound"]),
            ({**TEXT_26, "mode": "pro", "sound": True, "voice_ids": ["v"]}, ["sound", "voice_ids"]),
            (FIRST_LAST, []),
        ],
    )
    def test_it_says_what_it_only_guesses(self, request_, guesses):
        assert self.provider.guesses(request_) == guesses

    @pytest.mark.parametrize("seconds", [3, 10, 15])
    def test_a_duration_is_a_string(self, seconds):
        assert self.provider.body(Submission({**CASES["text"], "duration": seconds}, "k"))["duration"] == str(seconds)

    def test_a_result_in_a_string_is_read_from_a_query_too(self):
        assert self.read_query(recorded(self.name, "callback_completed")) == MADE.event

    @pytest.mark.parametrize("completed_at", [None, 0, 1705123450000, 1705123449000, "soon"])
    def test_an_end_that_does_not_follow_its_beginning_is_not_told(self, completed_at):
        task = self.sample("completed")
        body = {**task, "data": {**task["data"], "completeTime": completed_at}}
        assert self.read_query(answer(200, body)).took_s is None

    def test_a_result_that_is_not_json_is_no_verdict_on_the_task(self):
        unclear = NO_LINK
        assert self.read_query(recorded(self.name, "callback_result_not_json")) == unclear
