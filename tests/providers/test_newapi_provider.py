from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from canonical_requests import CASES, LAST, NO_4K_TEXT, NO_CLIP_26, PICTURE
from provider_contract import ProviderContract, answer

from rushes.shared.domain import events
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import Link
from rushes.shared.providers.base import Submission

TASK = "task_aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0dF"
LINK = Link("https://cdn.klingai.com/clip.mp4")
CONTENT = Link(f"https://gateway.example/v1/videos/{TASK}/content")
NO_MOTION, NO_MOTION_26 = "does not offer kling-v3-motion-control", "does not offer kling-v2-6-motion-control"
NO_V26 = "does not offer kling-v2-6"
MADE = events.Succeeded(LINK, task_id=TASK)
MADE_5_S = events.Succeeded(LINK, None, Decimal(5), TASK)
# The form of its own tasks tells what was charged: 1000 of 500,000 to the dollar, 0 after a refund.
CHARGED = Decimal("0.002")
RISK = "Failure to pass the risk control system"


def failed(message, reason=Reason.PROVIDER):
    return events.Failed(reason, message, task_id=TASK)


def refunded(message, reason=Reason.PROVIDER):
    return events.Failed(reason, message, Decimal(0), TASK)


class TestNewapi(ProviderContract):
    name = "newapi"
    submit_url = "https://gateway.example/v1/video/generations"
    query_url = "https://gateway.example/v1/video/generations/a%2Fb%20%3F%C3%A4"
    traits = {"keyed_content", "tells_cost"}
    bodies = {
        "text": (
            {},
            {
                "model": "kling-v3-std-silent",
                "prompt": "a desert at dusk",
                "aspect_ratio": "16:9",
                "duration": 5,
                "extra_body": {},
            },
        ),
        "text, pro with sound": (
            {"duration_s": Decimal(5)},
            {
                "model": "kling-v3-pro-audio",
                "prompt": "a desert at dusk",
                "aspect_ratio": "16:9",
                "duration": 5,
                "extra_body": {},
            },
        ),
        "text, negative prompt": (
            {},
            {
                "model": "kling-v3-std-silent",
                "prompt": "a desert at dusk",
                "aspect_ratio": "16:9",
                "duration": 5,
                "extra_body": {"negative_prompt": "blurred"},
            },
        ),
        "text, cfg scale": (
            {},
            {
                "model": "kling-v3-std-silent",
                "prompt": "a desert at dusk",
                "aspect_ratio": "16:9",
                "duration": 5,
                "extra_body": {"cfg_scale": 0.5},
            },
        ),
        "text, shot type": (
            {},
            {
                "model": "kling-v3-std-silent",
                "prompt": "a desert at dusk",
                "aspect_ratio": "16:9",
                "duration": 5,
                "extra_body": {"shot_type": "customize"},
            },
        ),
        "image": (
            {},
            {
                "model": "kling-v3-std-silent",
                "prompt": "a desert at dusk",
                "image": PICTURE,
                "duration": 5,
                "extra_body": {},
            },
        ),
        "image, shots": (
            {},
            {
                "model": "kling-v3-std-silent",
                "image": PICTURE,
                "duration": 5,
                "extra_body": {"multi_prompt": [{"prompt": "she looks down"}, {"prompt": "and up"}]},
            },
        ),
        "first and last": (
            {},
            {
                "model": "kling-v3-std-silent",
                "prompt": "a desert at dusk",
                "image": PICTURE,
                "last_image": LAST,
                "duration": 5,
                "extra_body": {},
            },
        ),
    }
    unable = {
        **dict.fromkeys(("motion", "motion, all said", "motion, watermark", "motion, 4k"), NO_MOTION),
        **dict.fromkeys(("motion, element", "motion, no elements"), NO_MOTION),
        **dict.fromkeys(("motion 2.6", "motion 2.6, watermark"), NO_MOTION_26),
        **NO_4K_TEXT,
        **NO_CLIP_26,
        "text, timed shots": "takes multi_prompt only with image_url",
        "text, watermark": "has no way to say watermark",
        "image, no prompt": "needs a prompt or a multi_prompt",
    }
    # With a picture the clip has the picture's shape (seed 003: the ratio is not heeded there).
    unsaid = (("image", "aspect_ratio"), ("first_last", "aspect_ratio"))
    submits = {
        "submitted": events.Accepted(TASK),
        "submitted_older": events.Accepted("867461231546"),
        "submitted_in_data": events.Accepted(TASK),
        "submitted_in_list": events.Accepted(TASK),
        "submitted_empty": events.Lost("the answer names no task"),
        "refused_invalid": events.Refused(Reason.INPUT, "duration is out of range"),
        "refused_price": events.Refused(Reason.PROVIDER, "模型价格未配置"),
        "refused_by_kling": events.Refused(Reason.POLICY, RISK),
        "refused_balance": events.Refused(Reason.BALANCE, "用户额度不足, 剩余额度: ＄0.01 (request id: 1)"),
        "refused_model": events.Refused(Reason.PROVIDER, "该令牌无权访问模型 (request id: 1)"),
        "refused_saturated": events.Refused(Reason.RATE, "当前分组上游负载已饱和，请稍后再试"),
        "refused_no_channel": events.Refused(Reason.DOWN, "当前分组下无可用渠道 (request id: 1)"),
        "refused_in_200": events.Refused(Reason.INPUT, "duration is out of range"),
        "throttled_403": events.Refused(Reason.RATE, "请求过于频繁 (request id: 1)"),
        "throttled_500": events.Refused(
            Reason.RATE, '{"code": 1303, "message": "parallel task over resource pack limit", "request_id": "r1"}'
        ),
        "lost_500": events.Lost("HTTP 500 says neither yes nor no"),
    }
    queries = {
        "a_not_start": events.Progressed(0),
        "running": events.Progressed(30),
        "completed": replace(MADE_5_S, cost_usd=CHARGED),
        "completed_in_klings_word": replace(MADE_5_S, cost_usd=CHARGED),
        "a_success_older": replace(MADE, cost_usd=CHARGED),
        "a_success_data_uri": events.Succeeded(CONTENT, CHARGED, task_id=TASK),
        "a_success_upstream_only": replace(MADE_5_S, cost_usd=CHARGED),
        "a_success_bare": events.Succeeded(CONTENT, CHARGED, task_id=TASK),
        "failed": refunded("upstream generation failed"),
        "a_failure_silent": refunded("the gateway gives no reason"),
        "a_failure_url_in_text": refunded("https://example.com/why says no"),
        "a_failure_policy": refunded(RISK, Reason.POLICY),
        "a_failure_sweep": refunded("任务超时（1440分钟）"),
        "a_failure_unrecognized": refunded("upstream returned unrecognized message: 账户余额不足"),
        "b_processing": events.Progressed(),
        "b_succeeded": MADE,
        "b_failed": failed("bad picture"),
        "c_in_progress": events.Progressed(),
        "c_completed": MADE_5_S,
        "c_failed": failed("generation failed"),
        "openai_completed": MADE,
        "openai_failed": failed(RISK, Reason.POLICY),
        "openai_unknown": events.Progressed(0),
        "not_implemented": events.Unclear("HTTP 501: not implemented"),
        "unknown_task": events.Unclear("HTTP 400: task_not_exist", Reason.INPUT, missing=True),
    }
    callbacks = {}
    words = {
        "running": ("NOT_START", "SUBMITTED", "QUEUED", "IN_PROGRESS", "UNKNOWN"),
        "completed": ("SUCCESS",),
        "failed": ("FAILURE",),
    }
    link_at, linkless = ("data", "result_url"), "a_success_bare"
    state_at = ("data", "status")
    progress_at = ("data", "progress")

    @pytest.mark.parametrize(
        ("mode", "sound", "model"),
        [
            *[("std", False, "kling-v3-std-silent"), ("std", True, "kling-v3-std-audio")],
            *[("pro", False, "kling-v3-pro-silent"), ("pro", True, "kling-v3-pro-audio")],
        ],
    )
    def test_mode_and_sound_are_said_by_the_model(self, mode, sound, model):
        body = self.provider.body(Submission({**CASES["text"], "mode": mode, "sound": sound}, "k"))
        assert body["model"] == model
        assert not {"mode", "sound"} & body.keys()

    @pytest.mark.parametrize(("finished_at", "took_s"), [(1764347110, 20.0), (1764347110_500, 20.5), (0, None)])
    def test_how_long_it_took_is_between_its_submit_and_its_finish(self, finished_at, took_s):
        task = self.sample("completed")
        body = {**task, "data": {**task["data"], "finish_time": finished_at}}
        assert self.read_query(answer(200, body)).took_s == took_s

    @pytest.mark.parametrize(("per_usd", "usd"), [("500000", "0.002"), ("1000", "1"), ("0.5", "2000")])
    @pytest.mark.parametrize("name", ["completed", "failed"])
    def test_what_was_charged_is_counted_in_the_unit_of_the_site(self, name, per_usd, usd):
        task = self.sample(name)
        body = {**task, "data": {**task["data"], "quota": 1000}}
        access = replace(self.access, quota_per_usd=Decimal(per_usd))
        assert self.provider.read_query(answer(200, body), access).cost_usd == Decimal(usd)

    @pytest.mark.parametrize("quota", [0, None, -1, "much", True])
    def test_a_finished_task_was_not_charged_nothing(self, quota):
        task = self.sample("completed")
        body = {**task, "data": {**task["data"], "quota": quota}}
        assert self.read_query(answer(200, body)).cost_usd is None

    def test_it_has_no_address_of_its_own(self):
        assert self.provider.address is None

    def test_of_several_addresses_the_first_in_order_is_taken(self):
        task, url = self.sample("completed"), "https://cdn.example/{}.mp4".format
        places = {"result_url": url(1), "url": url(2), "fail_reason": url(5)}
        body = {**task, "data": {**task["data"], **places}, "url": url(3), "metadata": {"url": url(4)}}
        found = []
        for holder, name in [
            *[(body["data"], "result_url"), (body["data"], "url"), (body, "url"), (body["metadata"], "url")],
            *[(body["data"], "fail_reason"), (body["data"], "data"), (body, "nothing")],
        ]:
            found.append(self.read_query(answer(200, body)).link.video_url)
            holder.pop(name, None)
        assert found == [*map(url, range(1, 6)), LINK.video_url, CONTENT.video_url]
