"""The form of a new job, without a browser: what it shows, what it asks, what it sends."""

from __future__ import annotations

import re
from typing import Any

import pytest
from form_steps import FORM_KEY, Visitor
from receiver_steps import Web, parts_over, refused

from rushes.shared.intake.schema import JobRequest
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.webhook_receiver.console import form_fields

PICTURE, LAST, CLIP = "https://example.com/a.png", "https://example.com/b.png", "https://example.com/c.mp4"
# For each operation what a person fills in, and the request that comes of it.
FILLED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "text": (
        {"model": "kling-v3", "prompt": "a red kite", "duration": "7", "sound": "true", "cfg_scale": "0.5"},
        {"model": "kling-v3", "prompt": "a red kite", "duration": 7, "sound": True, "cfg_scale": 0.5},
    ),
    "image": (
        {"model": "kling-v2-6", "image_url": PICTURE, "prompt": "", "mode": "pro", "aspect_ratio": "1:1"},
        {"model": "kling-v2-6", "image_url": PICTURE, "mode": "pro", "aspect_ratio": "1:1"},
    ),
    "first_last": (
        {"model": "kling-v3", "image_url": PICTURE, "last_image_url": LAST, "metadata": "scene = 4\n\nby=me = too"},
        {
            "model": "kling-v3",
            "image_url": PICTURE,
            "last_image_url": LAST,
            "metadata": {"scene": "4", "by": "me = too"},
        },
    ),
    "shots": (
        {
            "model": "kling-v3",
            "image_url": PICTURE,
            "shot_prompt": ["a door", "", "a\r\nroom"],
            "shot_duration": ["3", "", ""],
        },
        {
            "model": "kling-v3",
            "image_url": PICTURE,
            "multi_prompt": [{"prompt": "a door", "duration": 3}, {"prompt": "a\nroom"}],
        },
    ),
    "motion": (
        {
            "model": "kling-v3-motion-control",
            "image_url": PICTURE,
            "video_url": CLIP,
            "character_orientation": "video",
            "keep_original_sound": "false",
            "element_ids": "one",
            "max_cost_usd": "3.50",
        },
        {
            "model": "kling-v3-motion-control",
            "image_url": PICTURE,
            "video_url": CLIP,
            "character_orientation": "video",
            "keep_original_sound": False,
            "element_ids": ["one"],
            "max_cost_usd": "3.50",
        },
    ),
}


@pytest.fixture
def visitor(web: Web) -> Visitor:
    return Visitor(web)


def fields_shown(page: str) -> set[str]:
    return {name for name, hidden in re.findall(r'data-field="(\w+)"[^>]*?( hidden)?>', page) if not hidden}


# --- which fields fit


@pytest.mark.parametrize("key", form_fields.OPERATIONS)
def test_every_field_that_is_shown_can_be_sent_and_no_other(key: str) -> None:
    operation = form_fields.OPERATIONS[key]
    for model in operation.models:
        for mode in ("std", "pro"):
            wish = form_fields.minimal_request(operation, model, mode)
            assert JobRequest().validate(wish) == {}
            not_for_it = form_fields.unavailable_fields(key, model, mode, False)
            for name in form_fields.SAMPLES.keys() - form_fields.DEFINING:
                assert (name in not_for_it) == (
                    name in JobRequest().validate({**wish, name: form_fields.SAMPLES[name]})
                ), name


def test_every_field_of_a_request_has_its_place_in_the_form(visitor: Visitor) -> None:
    named = set(re.findall(r'data-field="(\w+)"', visitor.page("/new")))
    assert named == set(JobRequest().fields)


@pytest.mark.parametrize(
    ("operation", "shown", "hidden"),
    [
        ("text", {"prompt", "duration"}, {"image_url", "video_url", "multi_prompt", "character_orientation"}),
        ("image", {"prompt", "image_url"}, {"last_image_url", "video_url", "multi_prompt"}),
        ("first_last", {"image_url", "last_image_url"}, {"video_url", "multi_prompt"}),
        ("shots", {"image_url", "multi_prompt"}, {"prompt", "last_image_url", "video_url"}),
        ("motion", {"image_url", "video_url", "element_ids"}, {"duration", "sound", "negative_prompt", "cfg_scale"}),
    ],
)
def test_the_form_shows_the_fields_of_its_operation(
    visitor: Visitor, operation: str, shown: set[str], hidden: set[str]
) -> None:
    found = fields_shown(visitor.page(f"/new?operation={operation}"))
    assert shown <= found
    assert not hidden & found


def test_a_model_that_nobody_offers_for_an_operation_is_not_to_be_chosen() -> None:
    assert form_fields.offered_models("shots", ["newapi", "apimodels"]) == ["kling-v3"]
    assert form_fields.offered_models("first_last", ["evolink"]) == ["kling-v3"]
    # It wants a prompt beside the picture, and that can be typed.
    assert form_fields.offered_models("image", ["apimart"]) == ["kling-v3", "kling-v2-6"]
    # Where nobody can, the estimate says why.
    assert form_fields.offered_models("motion", ["newapi"]) == list(form_fields.OPERATIONS["motion"].models)


def test_lengths_are_those_of_the_model() -> None:
    assert form_fields.durations_s("kling-v2-6") == [5, 10]
    assert form_fields.durations_s("kling-v3") == list(range(3, 16))


# --- the estimate


def estimates(visitor: Visitor, operation: str, **fields: Any) -> dict[str, Any]:
    answer = visitor.script("/console/estimates", {"operation": operation, **fields})
    assert answer.status_code == 200, answer.text
    return dict(answer.json or {})


@pytest.mark.parametrize("operation", ["text", "image", "first_last", "shots"])
def test_an_estimate_says_what_the_api_says(web: Web, visitor: Visitor, operation: str) -> None:
    typed, request = FILLED[operation]
    assert estimates(visitor, operation, **typed)["data"] == web.acme.post("/v1/estimates", json=request).json["data"]


def test_shots_go_without_a_picture_too_where_the_gateway_documents_it(visitor: Visitor) -> None:
    typed = {"model": "kling-v3", "duration": "5", "shot_prompt": ["a door", "a room"], "shot_duration": ["2", "3"]}
    quotes = {quote["provider"]: quote for quote in estimates(visitor, "shots", **typed)["data"]}
    with_picture = estimates(visitor, "shots", **typed, image_url=PICTURE)["data"]

    assert [name for name, quote in quotes.items() if quote["able"]] == ["apimart"]
    assert quotes["newapi"]["why_not"] == "takes multi_prompt only with image_url"
    assert {quote["provider"] for quote in with_picture if quote["able"]} >= {"apimart", "newapi"}
    assert sent(visitor, "shots", **typed).status_code == 200
    assert form_fields.offered_models("shots", ["apimart"]) == ["kling-v3"]


def test_an_estimate_has_the_cheapest_first_and_says_why_others_cannot(visitor: Visitor) -> None:
    given = estimates(visitor, "text", **FILLED["text"][0])["data"]
    able = [quote["provider"] for quote in given if quote["able"]]
    assert given[0]["provider"] == able[0]
    reasons = [quote["why_not"] for quote in given if not quote["able"]]
    assert reasons
    assert all(reasons)


def test_a_form_that_is_not_filled_in_yet_is_no_error(visitor: Visitor) -> None:
    told = estimates(visitor, "motion", model="kling-v3-motion-control", character_orientation="image")
    assert told["data"] == []
    assert set(told["error"]["fields"]) == {"image_url", "video_url"}


def test_an_estimate_is_asked_for_by_pages_of_ours_only(visitor: Visitor, web: Web) -> None:
    refused(visitor.script("/console/estimates", {"operation": "text"}, token=""), 403)
    answer = web.app.test_client().post("/console/estimates", headers={"Accept": "application/json"})
    refused(answer, 403)


# --- the submit


def sent(visitor: Visitor, operation: str, key: str = "one", **fields: Any) -> Any:
    return visitor.script("/new", {"operation": operation, "form_key": key, **fields})


@pytest.mark.parametrize("operation", form_fields.OPERATIONS)
def test_each_operation_becomes_the_job_that_it_says(web: Web, visitor: Visitor, operation: str) -> None:
    typed, request = FILLED[operation]

    told = sent(visitor, operation, **typed).json

    job = web.now(told["id"])
    assert told["location"] == f"/jobs/{job.id}"
    assert job.tenant == "acme"
    assert {name: job.request[name] for name in request} == request
    assert form_fields.DEFINING & job.request.keys() == form_fields.DEFINING & request.keys()


def test_the_form_takes_the_longest_addresses(web: Web, visitor: Visitor) -> None:
    address = "https://clips.example/?X-Amz-Security-Token=" + "a" * 8148

    told = sent(visitor, "image", model="kling-v3", image_url=address).json

    assert web.now(told["id"]).request["image_url"] == address


def test_a_form_without_scripts_leads_to_the_page_of_its_job(visitor: Visitor) -> None:
    key = FORM_KEY.search(visitor.page("/new"))
    assert key
    answer = visitor.form("/new", operation="text", form_key=key[1], model="kling-v3", prompt="a red kite")
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/jobs/job_")


def test_a_form_that_is_sent_twice_is_one_job(web: Web, visitor: Visitor) -> None:
    first, second = (sent(visitor, "text", **FILLED["text"][0]).json for _ in range(2))
    assert first == second
    assert len(web.parts.ledger.overview.newest("acme", 9)) == 1


def test_a_form_that_was_changed_and_sent_again_is_another_job(web: Web, visitor: Visitor) -> None:
    for prompt in ("a red kite", "a blue kite"):
        assert sent(visitor, "text", model="kling-v3", prompt=prompt).status_code == 200
    assert len(web.parts.ledger.overview.newest("acme", 9)) == 2


def test_each_form_is_a_job_of_its_own(web: Web, visitor: Visitor) -> None:
    keys = [FORM_KEY.search(visitor.page("/new")) for _ in range(2)]
    for key in keys:
        assert key
        sent(visitor, "text", key[1], **FILLED["text"][0])
    assert len(web.parts.ledger.overview.newest("acme", 9)) == 2


def test_a_picture_that_was_forgotten_is_no_text_to_video(web: Web, visitor: Visitor) -> None:
    error = refused(sent(visitor, "image", model="kling-v3", prompt="a red kite"), 422, "invalid_request")
    assert list(error["fields"]) == ["image_url"]
    assert web.parts.ledger.overview.newest("acme", 9) == []


@pytest.mark.parametrize(
    ("field", "typed"),
    [
        ("duration", "many"),
        ("duration", "99999999999"),
        ("duration", "٥"),
        ("cfg_scale", "2"),
        ("cfg_scale", "nan"),
        ("cfg_scale", "a lot"),
        ("max_cost_usd", "-1"),
        ("callback_url", "http://127.0.0.1/"),
        ("prompt", "x" * 2501),
        ("metadata", "no value"),
        ("voice_ids", "one"),
        ("image_url", "file:///etc/passwd"),
    ],
)
def test_what_does_not_fit_is_told_at_its_field(visitor: Visitor, field: str, typed: str) -> None:
    answer = sent(visitor, "text", **{"model": "kling-v3", "prompt": "a red kite", field: typed})
    if field == "metadata":  # an empty value is one
        assert answer.status_code == 200
        return
    assert field in refused(answer, 422, "invalid_request")["fields"]


def test_a_shot_that_is_wrong_is_told_by_its_number(visitor: Visitor) -> None:
    shots = {"shot_prompt": ["a door", "a room"], "shot_duration": ["3", "99"]}
    error = refused(sent(visitor, "shots", model="kling-v3", image_url=PICTURE, **shots), 422)
    assert set(error["fields"]["multi_prompt"]) == {"1"}


def test_what_no_gateway_can_do_is_refused_with_the_reasons_of_each() -> None:
    visitor = Visitor(Web(parts_over(MemoryStore(), RUSHES_PUBLIC_URL=None, NEWAPI_API_KEY=None)))
    error = refused(sent(visitor, "shots", **FILLED["shots"][0]), 422, "no_provider")
    reasons = error["fields"]["provider"]
    assert len(reasons) > 1
    assert "apimart: needs a duration for each shot of multi_prompt" in reasons
    assert all("does not" in reason or "no way to say" in reason or "needs" in reason for reason in reasons)


def test_a_job_is_only_made_by_a_page_of_ours(web: Web, visitor: Visitor) -> None:
    typed = FILLED["text"][0]
    refused(visitor.script("/new", {"operation": "text", **typed}, token="guessed"), 403)
    assert visitor.client.post("/new", data={"operation": "text", **typed}).status_code == 403
    assert web.parts.ledger.overview.newest(None, 9) == []


def test_a_form_of_any_size_holds_nothing_up(visitor: Visitor) -> None:
    assert sent(visitor, "text", model="kling-v3", prompt="x" * (600 << 10)).status_code == 413
    chinese = ["好" * 2500] * 16
    answer = sent(visitor, "shots", model="kling-v3", image_url=PICTURE, shot_prompt=chinese, shot_duration=[""] * 16)
    assert answer.status_code == 200, answer.text
