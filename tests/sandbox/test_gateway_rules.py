"""A body is taken exactly as the document says, and what breaks a rule is kept."""

from __future__ import annotations

from decimal import Decimal

import pytest
from gateway_client import DOCUMENTED, GATEWAYS

LEAVE_OUT = object()
APIMODELS_MOTION = {
    "model": "kling-motion-control",
    "version": "3.0",
    "image": "https://example.com/a.png",
    "motion_video": "https://example.com/b.mp4",
    "mode": "pro",
    "character_orientation": "image",
    "keep_original_sound": "yes",
}
SHOTS = {"multi_prompt": [{"prompt": "first"}, {"prompt": "then"}], "shot_type": "customize"}


def body(gateway, changes):
    changed = {**DOCUMENTED[gateway], **changes}
    return {name: value for name, value in changed.items() if value is not LEAVE_OUT}


V3 = {"model": "kling-v3", "prompt": "a pier", "duration": 5}
TIMED = [{"index": 1, "prompt": "up", "duration": 2}, {"index": 2, "prompt": "down", "duration": 3}]
MULTI = {"model": "kling-v3", "duration": 5, "multi_shot": True, "shot_type": "customize", "multi_prompt": TIMED}
EVOLINK_TEXT = {"model": "kling-v3-text-to-video", "prompt": "a pier", "duration": 5}
EVOLINK_IMAGE = {"model": "kling-v3-image-to-video", "image_start": "https://example.com/a.png"}
# Bodies of other models than that of the documented example; each is sent as it is.
BROKEN_CLIPS = [
    ("apimart", {**V3, "image_url": "https://example.com/a.png"}, "image_url"),
    ("apimart", {**V3, "duration": "5"}, "duration"),
    ("apimart", {**V3, "duration": 2}, "duration"),
    ("apimart", {**V3, "mode": "8k"}, "mode"),
    ("apimart", {**V3, "audio": "on"}, "audio"),
    ("apimart", {**V3, "watermark": {"enabled": False}}, "watermark"),
    ("apimart", {**V3, "cfg_scale": 0.5}, "cfg_scale"),
    ("apimart", {**V3, "voice_list": []}, "voice_list"),
    ("apimart", {**V3, "image_urls": []}, "image_urls"),
    ("apimart", {**V3, "image_urls": ["https://example.com/a.png"] * 3}, "image_urls"),
    ("apimart", {"model": "kling-v3"}, "prompt"),
    ("apimart", {**V3, "multi_shot": True}, "shot_type"),
    ("apimart", {**V3, "shot_type": "intelligence"}, "multi_shot"),
    ("apimart", {**V3, "multi_shot": True, "shot_type": "intelligent"}, "shot_type"),
    ("apimart", {**V3, "multi_shot": True, "shot_type": "customize"}, "multi_prompt"),
    ("apimart", {**MULTI, "shot_type": "intelligence"}, "multi_prompt"),
    ("apimart", {**MULTI, "duration": 6}, "multi_prompt"),
    ("apimart", {**MULTI, "multi_prompt": TIMED[::-1]}, "multi_prompt"),
    ("apimart", {**MULTI, "multi_prompt": [{"prompt": "up", "duration": 5}]}, "index"),
    ("apimart", {**MULTI, "multi_prompt": [{"index": 1, "prompt": "up"}]}, "duration"),
    ("apimart", {**MULTI, "multi_prompt": [{**TIMED[0], "duration": 5, "prompt": "x" * 513}]}, "prompt"),
    ("apimart", {**V3, "model": "kling-v2-6", "mode": "4k"}, "mode"),
    ("apimart", {**V3, "model": "kling-v2-6", "duration": 6}, "duration"),
    ("apimart", {**V3, "model": "kling-v2-6", "audio": True}, "audio"),
    ("apimart", {**V3, "model": "kling-v2-6", "multi_shot": False}, "multi_shot"),
    ("apimart", {"model": "kling-v2-6", "image_urls": ["https://example.com/a.png"]}, "prompt"),
    ("evolink", {**EVOLINK_TEXT, "sound": True}, "sound"),
    ("evolink", {**EVOLINK_TEXT, "mode": "std"}, "mode"),
    ("evolink", {**EVOLINK_TEXT, "duration": "5"}, "duration"),
    ("evolink", {**EVOLINK_TEXT, "multi_prompt": []}, "multi_prompt"),
    ("evolink", {**EVOLINK_TEXT, "image_start": "https://example.com/a.png"}, "image_start"),
    ("evolink", {"model": "kling-v3-text-to-video"}, "prompt"),
    ("evolink", {"model": "kling-v3-image-to-video", "prompt": "a pier"}, "image_start"),
    ("evolink", {**EVOLINK_IMAGE, "image_urls": ["https://example.com/a.png"]}, "image_urls"),
    ("evolink", {**EVOLINK_IMAGE, "callback_url": "https://10.0.0.1/x"}, "callback_url"),
]
ALLOWED_CLIPS = [
    ("apimart", V3, "0.336"),
    ("apimart", {**V3, "audio": True, "watermark": True, "negative_prompt": "fog", "aspect_ratio": "1:1"}, "0.504"),
    ("apimart", {**V3, "mode": "pro", "image_urls": ["https://example.com/a.png"] * 2}, "0.448"),
    ("apimart", {**V3, "multi_shot": True, "shot_type": "intelligence"}, "0.336"),
    ("apimart", MULTI, "0.336"),
    ("apimart", {**V3, "model": "kling-v2-6", "duration": 10}, "0.368"),
    ("apimart", {**V3, "model": "kling-v2-6", "mode": "pro", "audio": True}, "0.625"),
    ("evolink", EVOLINK_TEXT, "0.375"),
    ("evolink", {**EVOLINK_TEXT, "sound": "on", "negative_prompt": "fog", "aspect_ratio": "9:16"}, "0.565"),
    ("evolink", {**EVOLINK_IMAGE, "image_end": "https://example.com/z.png", "quality": "1080p"}, "0.5"),
    ("evolink", {**EVOLINK_IMAGE, "sound": "on", "quality": "1080p", "duration": 10}, "1.5"),
]


@pytest.mark.parametrize(("gateway", "sent", "named"), BROKEN_CLIPS)
def test_a_body_of_another_model_that_breaks_a_rule_is_refused_unbilled_and_kept(client, gateway, sent, named):
    reply = client.submit(gateway, sent)

    assert reply.status == 400
    assert named in reply.body.decode()
    assert client.shown("bills") == []
    assert [named in kept["problem"] for kept in client.shown("violations")] == [True]


@pytest.mark.parametrize(("gateway", "sent", "usd"), ALLOWED_CLIPS)
def test_a_body_of_another_model_is_taken_and_billed_by_its_price(client, gateway, sent, usd):
    assert client.submit(gateway, sent).status == 200
    assert client.shown("violations") == []
    assert [Decimal(bill["usd"]) for bill in client.shown("bills")] == [Decimal(usd)]


BROKEN = [
    ("apimart", {"model": "kling-v4"}, "model"),
    ("apimart", {"model": ["kling-v3"]}, "model"),
    ("apimart", {"image_url": LEAVE_OUT}, "image_url"),
    ("apimart", {"video_url": "s3://bucket/key"}, "video_url"),
    ("apimart", {"mode": LEAVE_OUT}, "mode"),
    ("apimart", {"character_orientation": "both"}, "character_orientation"),
    ("apimart", {"keep_original_sound": True}, "keep_original_sound"),
    ("apimart", {"watermark_info": False}, "watermark_info"),
    ("apimart", {"duration": 5}, "duration"),
    ("apimart", {"callback_url": "https://example.com"}, "callback_url"),
    ("apimaster", {"model": "kling-v2-6-motion-control"}, "model"),
    ("apimaster", {"duration": "8"}, "duration"),
    ("apimaster", {"duration": True}, "duration"),
    ("apimaster", {"webhook": "https://example.com"}, "webhook"),
    ("apimodels", {"duration": 5}, "duration"),
    ("apimodels", {"duration": "7"}, "duration"),
    ("apimodels", {"prompt": LEAVE_OUT}, "prompt"),
    ("apimodels", {"sound": "on"}, "sound"),
    ("apimodels", {"last_image": "https://example.com/z.png"}, "last_image"),
    ("apimodels", {"motion_video": "https://example.com/z.mp4"}, "motion_video"),
    ("apimodels", {"multi_prompt": []}, "multi_prompt"),
    ("apimodels", {"negative_prompt": "fog"}, "negative_prompt"),
    ("apimodels", {"cfg_scale": 0.5}, "cfg_scale"),
    ("apimodels", {"voice_list": ["a"]}, "voice_list"),
    ("evolink", {"quality": "std"}, "quality"),
    ("evolink", {"image_urls": 1}, "image_urls"),
    ("evolink", {"image_urls": []}, "image_urls"),
    ("evolink", {"video_urls": ["https://example.com/1.mp4", "https://example.com/2.mp4"]}, "video_urls"),
    ("evolink", {"model_params": {}}, "model_params.character_orientation"),
    ("evolink", {"model_params": {"character_orientation": "image", "keep_sound": "yes"}}, "keep_sound"),
    ("evolink", {"model_params": {"character_orientation": "image", "element_list": [{"element_id": "1"}]}}, "element"),
    ("evolink", {"callback_url": "http://example.com/x"}, "callback_url"),
    ("evolink", {"callback_url": "https://10.0.0.1/x"}, "callback_url"),
    ("evolink", {"prompt": "x" * 2501}, "prompt"),
    ("newapi", {"model": "kling-v3"}, "model"),
    ("newapi", {"duration": "5"}, "duration"),
    ("newapi", {"duration": 16}, "duration"),
    ("newapi", {"duration": LEAVE_OUT}, "duration"),
    ("newapi", {"aspect_ratio": LEAVE_OUT}, "aspect_ratio"),
    ("newapi", {"negative_prompt": "fog"}, "negative_prompt"),
    ("newapi", {"extra_body": {"cfg_scale": 2}}, "cfg_scale"),
    ("newapi", {"extra_body": SHOTS, "image": "https://example.com/a.png"}, "multi_prompt"),
    ("newapi", {"last_image": "https://example.com/a.png"}, "last_image"),
    ("newapi", {"mode": "std"}, "mode"),
]


@pytest.mark.parametrize(("gateway", "changes", "named"), BROKEN)
def test_a_body_that_breaks_a_rule_is_refused_unbilled_and_kept(client, gateway, changes, named):
    reply = client.submit(gateway, body(gateway, changes))

    assert reply.status == 400
    assert named in reply.body.decode()
    assert client.shown("bills") == []
    assert [(kept["gateway"], named in kept["problem"]) for kept in client.shown("violations")] == [(gateway, True)]


ALLOWED = [
    ("apimart", {"prompt": LEAVE_OUT, "watermark_info": LEAVE_OUT, "keep_original_sound": LEAVE_OUT}),
    ("apimaster", {"duration": 8}),
    ("apimodels", APIMODELS_MOTION | dict.fromkeys(("duration", "aspect_ratio"), LEAVE_OUT)),
    ("apimodels", {"model": "kling-v3", "duration": "15", "image": "https://example.com/a.png"}),
    ("evolink", {"image_urls": "https://example.com/a.png", "video_urls": "https://example.com/b.mp4"}),
    ("evolink", {"model_params": {"character_orientation": "video", "element_list": [{"element_id": "1"}]}}),
    ("evolink", {"callback_url": "https://example.com/hook"}),
    (
        "newapi",
        {"extra_body": SHOTS, "image": "https://example.com/a.png", "prompt": LEAVE_OUT, "aspect_ratio": LEAVE_OUT},
    ),
    ("newapi", {"image": "https://example.com/a.png", "last_image": "https://example.com/z.png", "duration": 8}),
]


@pytest.mark.parametrize(("gateway", "changes"), ALLOWED)
def test_what_the_document_allows_is_taken(client, gateway, changes):
    assert client.submit(gateway, body(gateway, changes)).status == 200
    assert client.shown("violations") == []


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_what_is_not_json_is_refused_and_kept(client, gateway):
    assert client.submit(gateway, b'{"model": ', Content_Type="application/json").status == 400
    assert client.submit(gateway, b"[]", Content_Type="application/json").status == 400
    assert len(client.shown("violations", gateway)) == 2


def test_apimaster_names_the_kind_of_error(client):
    slugs = [
        client.submit("apimaster", changed).json["code"]
        for changed in (
            b"{",
            body("apimaster", {"model": LEAVE_OUT}),
            body("apimaster", {"model": "x"}),
            body("apimaster", {"mode": "x"}),
        )
    ]

    assert slugs == ["invalid_json", "missing_model", "invalid_model", "invalid_request"]


def test_apimodels_lists_its_models_to_one_who_asks_for_another(client):
    message = client.submit("apimodels", body("apimodels", {"model": "motion-control"})).json["msg"]

    assert message.startswith("Invalid model: ")
    assert message.endswith("Supported: kling-v2-6, kling-v3, kling-motion-control")


def test_a_call_that_no_document_knows_is_refused_and_kept(client):
    assert client.call("DELETE", "/apimart/v1/tasks/task_1").status == 404
    assert client.shown("violations")[0]["call"] == "DELETE /apimart/v1/tasks/task_1"


def test_a_wrong_key_is_kept_as_a_violation(client):
    client.key = "wrong"
    client.submit("apimart")

    assert [kept["problem"] for kept in client.shown("violations")] == ["invalid API key"]
