from __future__ import annotations

import zlib

import pytest
from factories import attempt, job, link
from hypothesis import given
from hypothesis import strategies as st

from rushes.shared.ledger import compression, record


def test_what_was_packed_comes_back() -> None:
    text = record.encode(job(attempts=(attempt(link=link()),)), "0a1b2c")
    assert compression.unpack(compression.pack(text)) == text


@given(st.text().map(lambda text: text.encode("utf-8", "backslashreplace").decode()))
def test_any_words_come_back(words: str) -> None:
    text = f"1 0a 0 1 - -\n{words}"
    assert compression.unpack(compression.pack(text)) == text


def test_the_header_stays_readable_for_the_programs() -> None:
    text = record.encode(job(), "0a1b2c")
    assert compression.pack(text).partition(b"\n")[0].decode() == text.partition("\n")[0]


def test_a_record_that_was_never_packed_is_read() -> None:
    text = record.encode(job(), "0a1b2c")
    assert compression.unpack(text.encode()) == text


@pytest.mark.parametrize("number", compression.DICTIONARIES)
def test_a_record_of_each_dictionary_is_read(number: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    text = record.encode(job(attempts=(attempt(link=link()),)), "0a1b2c")
    monkeypatch.setattr(compression, "CURRENT", number)
    packed = compression.pack(text)
    monkeypatch.undo()
    assert packed.partition(b"\n")[2].startswith(number)
    assert compression.unpack(packed) == text


def test_a_typical_record_is_packed_to_less_than_half() -> None:
    text = record.encode(job(), "0a1b2c")
    assert len(compression.pack(text)) < len(text) / 2


def test_a_dictionary_is_never_changed() -> None:
    """Records packed with it may stand in any Redis: another text needs another number."""
    sums = {number: zlib.crc32(text) for number, text in compression.DICTIONARIES.items()}
    assert sums == {b"\x01": 2083770209, b"\x02": 1586866052}
