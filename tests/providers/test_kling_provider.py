from __future__ import annotations

from decimal import Decimal

import pytest
from canonical_requests import CASES, CLIP, FIRST_LAST, IMAGE, LAST, MOTION_26, NO_4K_MOTION, NO_SHOTS, PICTURE, TEXT
from provider_contract import CALL_ME, HTML, KEY, NO_LINK, ProviderContract, answer, recorded

from rushes.shared.domain import events
from rushes.shared.domain.events import Reason
from rushes.shared.domain.http_messages import Request
from rushes.shared.domain.job import Link
from rushes.shared.providers.base import CallbackReport

TASK = "867405716372447297"
OURS = "job_01KHJ3Q9ZK5C6W0F8R1T2V3X4Y-1"
VIDEO = "https://v16.klingai.com/clip.mp4"
ENDED_AT, LINK_LIFE_MS = 1781080838802, 30 * 86_400_000
LINK = Link(VIDEO, None, ENDED_AT + LINK_LIFE_MS)
PLAIN = {"external_task_id": "attempt-key", "watermark_info": {"enabled": False}}
MARKED = {**PLAIN, "watermark_info": {"enabled": True}}
NO_26 = "does not offer kling-v2-6"


def succeeded(**told):
    facts = {"made_s": Decimal("5"), "task_id": TASK, "took_s": 60.0, **told}
    return events.Succeeded(LINK, **facts)


def no_field(name):
    return f"has no way to say {name}"


class TestKling(ProviderContract):
    name = "kling"
    submit_url = "https://api-singapore.klingai.com/text-to-video/kling-3.0"
    query_url = "https://api-singapore.klingai.com/tasks?task_ids=a%2Fb%20%3F%C3%A4"
    traits = {"askable", "calls_back", "signs", "tells_cost"}
    bodies = {
        "text": (
            {},
            {
                "prompt": "a desert at dusk",
                "settings": {"duration": 5, "resolution": "720p", "audio": "off", "aspect_ratio": "16:9"},
                "options": PLAIN,
            },
        ),
        "text, pro with sound": (
            {"callback_url": CALL_ME},
            {
                "prompt": "a desert at dusk",
                "settings": {"duration": 5, "resolution": "1080p", "audio": "native", "aspect_ratio": "16:9"},
                "options": {"callback_url": CALL_ME, **PLAIN},
            },
        ),
        "text, 4k": (
            {},
            {
                "prompt": "a desert at dusk",
                "settings": {"duration": 5, "resolution": "4k", "audio": "off", "aspect_ratio": "16:9"},
                "options": PLAIN,
            },
        ),
        "text, watermark": (
            {},
            {
                "prompt": "a desert at dusk",
                "settings": {"duration": 5, "resolution": "720p", "audio": "off", "aspect_ratio": "16:9"},
                "options": MARKED,
            },
        ),
        "image": (
            {},
            {
                "contents": [{"type": "prompt", "text": "a desert at dusk"}, {"type": "first_frame", "url": PICTURE}],
                "settings": {"duration": 5, "resolution": "720p", "audio": "off"},
                "options": PLAIN,
            },
        ),
        "image, no prompt": (
            {},
            {
                "contents": [{"type": "first_frame", "url": PICTURE}],
                "settings": {"duration": 5, "resolution": "720p", "audio": "off"},
                "options": PLAIN,
            },
        ),
        "first and last": (
            {},
            {
                "contents": [
                    {"type": "prompt", "text": "a desert at dusk"},
                    {"type": "first_frame", "url": PICTURE},
                    {"type": "last_frame", "url": LAST},
                ],
                "settings": {"duration": 5, "resolution": "720p", "audio": "off"},
                "options": PLAIN,
            },
        ),
        "motion": (
            {"duration_s": Decimal("8.2")},
            {
                "contents": [{"type": "image", "url": PICTURE}, {"type": "video", "url": CLIP}],
                "settings": {"character_orientation": "image", "audio": "original", "resolution": "720p"},
                "options": PLAIN,
            },
        ),
        "motion, all said": (
            {},
            {
                "contents": [
                    {"type": "prompt", "text": "she waves"},
                    {"type": "image", "url": PICTURE},
                    {"type": "video", "url": CLIP},
                ],
                "settings": {"character_orientation": "video", "audio": "off", "resolution": "1080p"},
                "options": PLAIN,
            },
        ),
        "motion 2.6, watermark": (
            {},
            {
                "contents": [{"type": "image", "url": PICTURE}, {"type": "video", "url": CLIP}],
                "settings": {"character_orientation": "image", "audio": "original", "resolution": "720p"},
                "options": MARKED,
            },
        ),
    }
    unable = {
        "motion, element": no_field("element_ids"),
        **NO_4K_MOTION,
        "text, negative prompt": no_field("negative_prompt"),
        "text, cfg scale": no_field("cfg_scale"),
        "first and last, all said": no_field("negative_prompt"),
        **NO_SHOTS,
        **{case: NO_26 for case, request in CASES.items() if request["model"] == "kling-v2-6"},
    }
    # With a picture the clip has the picture's shape.
    unsaid = (("image", "aspect_ratio"), ("first_last", "aspect_ratio"))
    submits = {
        "submitted": events.Accepted(TASK),
        "refused_key": events.Refused(Reason.KEY, "Authorization is invalid"),
        "refused_address": events.Refused(Reason.KEY, "the caller's address is not on the allow-list"),
        "refused_balance": events.Refused(Reason.BALANCE, "Account balance not enough"),
        "refused_arrears": events.Refused(Reason.BALANCE, "Account in arrears"),
        "refused_account": events.Refused(Reason.BALANCE, "Abnormal account status"),
        "refused_right": events.Refused(Reason.PROVIDER, "No permission to access the requested resource"),
        "refused_parameter": events.Refused(Reason.INPUT, "Invalid parameter: duration"),
        "refused_model": events.Refused(Reason.PROVIDER, "The requested resource does not exist"),
        "refused_policy": events.Refused(Reason.POLICY, "Request triggers the policy of the platform"),
        "refused_safety": events.Refused(Reason.POLICY, "Failure to pass the risk control system"),
        "throttled_rate": events.Refused(Reason.RATE, "api request too fast"),
        "throttled_parallel": events.Refused(Reason.RATE, "parallel task over resource pack limit"),
        "throttled_in_200": events.Refused(Reason.RATE, "parallel task over resource pack limit"),
        "refused_maintenance": events.Refused(
            Reason.DOWN, "Server temporarily unavailable, usually due to maintenance"
        ),
        "lost_500": events.Lost("HTTP 500 says neither yes nor no"),
        "lost_504": events.Lost("HTTP 504 says neither yes nor no"),
        "taken_before": events.Lost("HTTP 400 says neither yes nor no"),
    }
    queries = {
        "pending": events.Progressed(),
        "running": events.Progressed(),
        "completed": succeeded(),
        "completed_in_klings_word": succeeded(),
        "completed_paid": succeeded(cost_usd=Decimal("0.56")),
        "completed_paid_in_both": succeeded(),
        "completed_empty": NO_LINK,
        "failed": events.Failed(Reason.PROVIDER, "the video could not be generated", task_id=TASK),
        "failed_policy": events.Failed(Reason.POLICY, "Failure to pass the risk control system", task_id=TASK),
        "unknown_task": events.Unclear("no such task", missing=True),
        "unknown_model_in_200": events.Unclear("HTTP 200: The requested resource does not exist"),
    }
    callbacks = {
        "callback_submitted": CallbackReport(TASK, events.Progressed()),
        "callback_processing": CallbackReport(TASK, events.Progressed()),
        "callback_succeeded": CallbackReport(TASK, succeeded(cost_usd=Decimal("0.56"))),
        "callback_failed": CallbackReport(
            TASK, events.Failed(Reason.PROVIDER, "the video could not be generated", task_id=TASK)
        ),
        "callback_test_vector": CallbackReport("1234567890", NO_LINK),
    }
    words = {"running": (), "completed": (), "failed": ()}
    link_at = ("data", 0, "outputs")
    state_at = ("data", 0, "status")
    progress_at = ()

    def calling(self, body):
        return {**body, "options": {"callback_url": CALL_ME, **body["options"]}}

    # --- paths

    @pytest.mark.parametrize(
        ("request_", "path"),
        [
            (TEXT, "/text-to-video/kling-3.0"),
            (IMAGE, "/image-to-video/kling-3.0"),
            (FIRST_LAST, "/image-to-video/kling-3.0"),
            (CASES["motion"], "/motion-control/kling-3.0"),
            (MOTION_26, "/motion-control/kling-2.6"),
        ],
    )
    def test_each_operation_has_its_path(self, request_, path):
        assert self.provider.path(request_) == path

    # --- asked by our own id

    def found(self, response):
        return self.provider.read_key_query(response, OURS)

    def test_a_submit_is_asked_for_by_our_own_id(self):
        sent = self.provider.key_query_request("a/b ?&", self.access)
        url = "https://api-singapore.klingai.com/tasks?external_task_ids=a%2Fb%20%3F%26"
        assert sent == Request("GET", url, {"Authorization": f"Bearer {KEY}"})

    @pytest.mark.parametrize("name", ["pending", "running", "completed", "completed_empty", "failed"])
    def test_a_task_that_is_found_was_accepted_however_it_stands(self, name):
        assert self.found(recorded("kling", name)) == events.Accepted(TASK)

    def test_only_an_empty_list_says_that_there_is_none(self):
        assert self.found(recorded("kling", "unknown_task")) == events.NotFound()

    @pytest.mark.parametrize("status", [200, 201, 302, 400, 401, 404, 429, 500, 502, 503, 504])
    def test_no_other_answer_says_that_there_is_none(self, status):
        empty = {"code": 0, "data": []}
        bodies = [HTML, b"", b"[]", b"null", b'{"code": 0, "da', {}, {"code": 0}, {"code": 0, "data": None}]
        bodies += [{"code": 0, "data": {}}, {"data": []}, {"code": 1203, "data": []}, {"code": "", "data": []}]
        bodies += [{"code": 0, "data": [{}]}, {"code": 0, "data": [None]}, {"code": 0, "data": ""}]
        for body in [*bodies, empty] if status != 200 else bodies:
            assert isinstance(self.found(answer(status, body)), events.Unclear), body

    @pytest.mark.parametrize(
        "task",
        [{"id": TASK}, {"id": TASK, "external_id": "another"}, {"external_id": OURS}, {"id": "", "external_id": OURS}],
    )
    def test_a_task_that_is_not_ours_by_name_is_not_adopted(self, task):
        assert isinstance(self.found(answer(200, {"code": 0, "data": [task]})), events.Unclear)

    def test_ours_is_found_among_others(self):
        tasks = [{"id": "1", "external_id": "another"}, {"id": TASK, "external_id": OURS}]
        assert self.found(answer(200, {"code": 0, "data": tasks})) == events.Accepted(TASK)

    @pytest.mark.parametrize(
        "message", ["external_task_id already exists", "Duplicate external_task_id", "external id is in use"]
    )
    @pytest.mark.parametrize("status", [200, 400, 409, 422, 429])
    def test_a_refusal_because_the_first_was_taken_is_none(self, status, message):
        body = {"code": 1201, "message": message, "request_id": "r1"}
        assert isinstance(self.read_submission(answer(status, body)), events.Lost)
