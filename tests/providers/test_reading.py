"""How words, numbers and addresses are found in answers, where the gateways' own samples do not tell it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from rushes.shared.domain.events import Reason
from rushes.shared.domain.http_messages import Response
from rushes.shared.providers.error_bodies import ErrorBody, effective_status, names_task
from rushes.shared.providers.links import clip_at
from rushes.shared.providers.reading import MESSAGE_CHARS, decimal_at, retry_after_s, text_at
from rushes.shared.providers.status_word import status_word
from rushes.shared.providers.vocabulary import reason_in_words

CLIP, OTHER = "https://files.example/clip.mp4", "https://files.example/other.mp4"


@pytest.mark.parametrize(
    ("payload", "word"),
    [
        ({"status": 1, "data": {"status": 2, "state": 3}}, "2"),
        ({"status": 1, "data": {"status": 2, "state": "done"}}, "done"),
        ({"status": 1, "message": "ok"}, "1"),
    ],
)
def test_of_several_numbers_the_tasks_own_first_one_counts_and_a_word_before_all(
    payload: dict[str, Any], word: str
) -> None:
    assert status_word(payload) == word


@pytest.mark.parametrize(
    "address",
    [
        f"{CLIP}?cover=a.jpg",
        f"{CLIP}?x-oss-process=video/snapshot.png",
        "https://files.example/clip?name=video.json",
        f"{CLIP}#poster.webp",
    ],
)
def test_an_address_is_that_of_a_picture_by_its_path_alone(address: str) -> None:
    assert clip_at({"url": address}) == address


def test_an_address_is_that_of_a_copy_by_its_path_alone() -> None:
    urls = [f"https://preview.example/clip.mp4?{name}=1" for name in ("watermark", "thumbnail")]
    assert clip_at({"urls": [*urls, OTHER]}) == urls[0]
    assert clip_at({"urls": ["https://files.example/preview/clip.mp4", OTHER]}) == OTHER


def test_what_carries_no_watermark_goes_before_what_is_named_as_a_film() -> None:
    assert clip_at({"urls": ["https://files.example/watermark/clip.mp4", "https://files.example/clip"]}) == (
        "https://files.example/clip"
    )


def test_an_address_that_cannot_be_asked_is_passed_over() -> None:
    assert (
        clip_at({"urls": ["https://files.example:0/clip.mp4", "https://files.example:99999/clip.mp4", OTHER]}) == OTHER
    )


@pytest.mark.parametrize(
    ("status", "code", "means"), [(200, 429, 429), (200, 599, 599), (200, 600, 200), (500, 429, 500)]
)
def test_a_code_in_the_body_counts_as_the_status_only_of_an_answer_that_says_all_is_well(
    status: int, code: int, means: int
) -> None:
    """A 500 proves no refusal, whatever its body says."""
    assert effective_status(status, {"code": code}) == means


def test_a_vendors_code_says_more_than_the_words_beside_it() -> None:
    assert ErrorBody(code="1303", message="insufficient balance").reason() is Reason.RATE
    assert ErrorBody(code="1304", message="too many requests").reason() is Reason.PROVIDER


@pytest.mark.parametrize(("value", "names_one"), [("t-1", True), (7, True), ("", False), ({}, False), (None, False)])
def test_only_a_text_or_a_number_may_name_a_task(value: object, names_one: bool) -> None:
    assert names_task({"data": [{"task_id": value}]}) == names_one


def test_words_of_our_own_call_do_not_hide_those_of_the_gateway() -> None:
    sent = "a sign that says slow down"
    assert reason_in_words("slow down", sent=sent) is None
    assert reason_in_words("slow down; rate limit exceeded", sent=sent) is Reason.RATE


def test_a_window_that_has_calls_left_is_not_the_one_that_ended() -> None:
    headers = {
        "x-ratelimit-reset": "7",
        "x-ratelimit-remaining": "1",
        "ratelimit-reset": "9",
        "ratelimit-remaining": "0",
    }
    assert retry_after_s(Response(429, headers, b"")) == 9


def test_of_several_places_the_first_that_holds_a_number_counts() -> None:
    assert decimal_at({"price": "free", "cost": "0.4"}, "price", "cost") == Decimal("0.4")


def test_a_text_is_cut_where_no_message_is_as_long() -> None:
    assert text_at({"message": "x" * 9_999}, "message") == "x" * MESSAGE_CHARS
