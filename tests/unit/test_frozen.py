"""The quick copy of a frozen value."""

from __future__ import annotations

import dataclasses

import pytest

from rushes.shared.domain.frozen import make, replace
from rushes.shared.domain.job import Attempt, Error, Job, Link, Note, Result
from rushes.shared.domain.schedule import Policy
from rushes.shared.ledger.tickets import Ticket

LINK = Link("https://clips.test/1.mp4", None, 7)


def test_a_changed_copy_is_what_the_library_makes() -> None:
    changed = replace(LINK, expires_at=8, thumbnail_url="https://clips.test/1.jpg")
    assert changed == dataclasses.replace(LINK, expires_at=8, thumbnail_url="https://clips.test/1.jpg")
    assert hash(changed) == hash(Link("https://clips.test/1.mp4", "https://clips.test/1.jpg", 8))
    assert LINK.expires_at == 7


def test_a_field_that_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError, match="Link has no expires"):
        replace(LINK, expires=8)


def test_a_copy_is_as_frozen_as_its_original() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        replace(LINK, expires_at=8).expires_at = 9  # type: ignore[misc]


@pytest.mark.parametrize("kind", [Attempt, Error, Job, Link, Note, Policy, Result, Ticket])
def test_what_is_copied_so_does_nothing_when_it_is_made(kind: type) -> None:
    assert not hasattr(kind, "__post_init__")
    assert not hasattr(kind, "__slots__")


def test_what_is_made_of_values_is_what_its_class_makes() -> None:
    values = {"video_url": "https://clips.test/1.mp4", "expires_at": 7}
    assert make(Link, values) == Link(**values)
    assert list(vars(make(Link, values))) == list(vars(Link(**values)))


@pytest.mark.parametrize("values", [{}, {"video_url": "u", "expires": 8}])
def test_fields_that_there_are_not_and_fields_that_are_missing_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=r"Link: (expires|video_url)"):
        make(Link, values)


def test_no_two_made_values_share_a_default_that_can_be_changed() -> None:
    values = {"id": "j", "tenant": "t", "request": {}, "route": (), "created_at": 1, "updated_at": 1}
    assert make(Job, values).inputs == {}
    assert make(Job, values).inputs is not make(Job, values).inputs
