"""A token opens one attempt's door; a key, one tenant's."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rushes.shared import credentials

OLD, NEW = ["old"], ["new", "old"]
JOB = "job_01ARZ3NDEKTSV4RRFFQ69G5FAV"


def test_a_token_names_its_attempt() -> None:
    for attempt in (1, 2, 17, 9999):
        assert (
            credentials.read_token(OLD, "evolink", JOB, credentials.make_token(OLD, "evolink", JOB, attempt)) == attempt
        )


def test_a_token_fits_into_an_address_and_is_long_enough_not_to_be_guessed() -> None:
    number, _, digest = credentials.make_token(OLD, "evolink", JOB, 3).partition("-")

    assert number == "3"
    assert re.fullmatch(r"[A-Za-z0-9_-]{32}", digest)  # 6 bits each


def test_tokens_of_other_doors_are_others() -> None:
    made = {
        credentials.make_token(keys, provider, job, attempt).partition("-")[2]
        for keys in (["a"], ["b"])
        for provider in ("evolink", "apimodels")
        for job in (JOB, JOB[:-1])
        for attempt in (1, 11)
    }

    assert len(made) == 16


def test_a_token_is_of_the_newest_key_and_of_the_old_ones_as_long_as_they_are_named() -> None:
    before, after = credentials.make_token(OLD, "evolink", JOB, 1), credentials.make_token(NEW, "evolink", JOB, 1)

    assert before != after
    assert [credentials.read_token(NEW, "evolink", JOB, token) for token in (before, after)] == [1, 1]
    assert credentials.read_token(["new"], "evolink", JOB, before) is None
    assert credentials.read_token([], "evolink", JOB, after) is None


@pytest.mark.parametrize("place", range(len(credentials.make_token(OLD, "evolink", JOB, 1))))
def test_a_token_with_any_letter_changed_opens_nothing(place: int) -> None:
    token = credentials.make_token(OLD, "evolink", JOB, 1)
    changed = token[:place] + ("x" if token[place] != "x" else "y") + token[place + 1 :]

    assert credentials.read_token(OLD, "evolink", JOB, changed) is None


@given(st.text())
def test_no_text_is_a_token_by_chance_or_breaks_the_door(text: str) -> None:
    assert credentials.read_token(OLD, "evolink", JOB, text) is None
    assert credentials.read_token(OLD, "evolink", JOB, f"1-{text}") is None


@pytest.mark.parametrize("number", ["", "-1", "+1", " 1", "1.0", "１", "١", "1_0", "10000", "9" * 5000, "0x1"])
def test_a_number_that_is_none_opens_nothing(number: str) -> None:
    digest = credentials.make_token(OLD, "evolink", JOB, 1).partition("-")[2]

    assert credentials.read_token(OLD, "evolink", JOB, f"{number}-{digest}") is None


# --- keys

KEYS = (("acme", "key-1"), ("acme", "key-2"), ("other", "key-3"), ("odd", "клюй"))


def test_each_key_is_its_tenants() -> None:
    assert [credentials.tenant_of(KEYS, key) for _, key in KEYS] == [tenant for tenant, _ in KEYS]


@pytest.mark.parametrize("key", ["", "key", "key-", "key-11", "KEY-1", "acme", "acme:key-1", "key-1\n", "\ud800", "\0"])
def test_what_is_no_key_is_nobodys(key: str) -> None:
    assert credentials.tenant_of(KEYS, key) is None
    assert credentials.tenant_of((), key) is None
