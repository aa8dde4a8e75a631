"""How words, numbers and addresses are found in answers, where the gateways' own samples do not tell it."""

from __future__ import annotations

from typing import Any

import pytest

from rushes.shared.providers.links import clip_at
from rushes.shared.providers.status_word import status_word

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
