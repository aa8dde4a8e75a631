"""The quick copy of a frozen value."""

from __future__ import annotations

import dataclasses

import pytest

from rushes.shared.domain.frozen import replace
from rushes.shared.domain.job import Attempt, Job, Link
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


@pytest.mark.parametrize("kind", [Attempt, Job, Link, Policy, Ticket])
def test_what_is_copied_so_does_nothing_when_it_is_made(kind: type) -> None:
    assert not hasattr(kind, "__post_init__")
    assert not hasattr(kind, "__slots__")
