from __future__ import annotations

import zlib

import pytest
from factories import NOW, attempt, id_at, job, job_in, link
from hypothesis import given
from hypothesis import strategies as st

from rushes.shared.domain.job import State
from rushes.shared.ledger import compression, record, record_tokens

ID = id_at(NOW)


@pytest.mark.parametrize("state", [State.ARCHIVING, State.COMPLETED])
def test_what_was_packed_comes_back(state: State) -> None:
    text = record.encode(job_in(state, attempts=(attempt(link=link()),)), "0a1b2c")
    assert compression.unpack(compression.pack(text, ID), ID) == text


@given(st.text().map(lambda text: text.encode("utf-8", "backslashreplace").decode()), st.sampled_from([0, 1]))
def test_any_words_come_back(words: str, lives: int) -> None:
    text = f"1 0a 0 {lives} - -\n{words}"
    assert compression.unpack(compression.pack(text, ID), ID) == text


def test_the_header_stays_readable_for_the_programs() -> None:
    text = record.encode(job(), "0a1b2c")
    assert compression.pack(text, ID).partition(b"\n")[0].decode() == text.partition("\n")[0]


def test_a_record_that_was_never_packed_is_read() -> None:
    text = record.encode(job(), "0a1b2c")
    assert compression.unpack(text.encode(), ID) == text


@pytest.mark.parametrize("number", [b"\x01", b"\x02"])
def test_a_record_of_each_earlier_dictionary_is_read(number: bytes) -> None:
    text = record.encode(job(attempts=(attempt(link=link()),)), "0a1b2c")
    header, _, body = text.partition("\n")
    packed = b"%b\n%b%b" % (header.encode(), number, compression._deflated(body, number))
    assert compression.unpack(packed, ID) == text


def test_what_all_records_have_differently_takes_few_bytes() -> None:
    """An id, two digests, and moments that follow each other: 48 of these bytes are the digests."""
    times = {"created_at": NOW, "updated_at": NOW + 6_123, "due_at": NOW + 6_123}
    plain, full = (
        job_in(State.COMPLETED),
        job_in(State.COMPLETED, idempotency=f"{'0123456789abcdef' * 2} {'fedcba9876543210' * 2}", **times),
    )
    sizes = [len(compression.pack(record.encode(each, "0a1b2c"), each.id)) for each in (plain, full)]
    assert sizes[1] - sizes[0] < 48


TOKEN_LIKE = st.sampled_from(
    [
        *(ID, ID[4:], '"at":', '"ended_at":', '":"', '"', " ", ",", "}", "\u0001", "é", "0" * 64, "ab" * 16, "f" * 65),
        *("1790000000000", "1790000000001", "1000000000000", "1789999999999", "0790000000000", "17900000000000", "1.5"),
        *('"at":1790000000007,', '"at":1790000000007}', '"at":17900000000070,', '"at":1790000000007.5,'),
        *(f'":"{"c4" * 32}"', f'":"{"0f" * 16} {"e1" * 16}"', f'":"{"0f" * 16}  {"e1" * 16}"', f'":"{"C4" * 32}"'),
    ]
)


@given(st.lists(TOKEN_LIKE).map("".join), st.sampled_from([ID, "job_odd", "bulk_1"]))
def test_whatever_looks_like_an_id_a_digest_or_a_moment_comes_back(words: str, record_id: str) -> None:
    text = f"1 0a 0 0 - -\n{words}"
    assert compression.unpack(compression.pack(text, record_id), record_id) == text


def test_only_of_ended_jobs_is_taken_out_what_no_two_share() -> None:
    lives, ended = (f"1 0a 0 {word} - -\n" + f'"at":{NOW},' * 9 for word in (1, 0))
    assert [compression.pack(text, ID).partition(b"\n")[2][:1] for text in (lives, ended)] == [b"\x02", b"\x03"]


def test_many_moments_come_back() -> None:
    words = "".join(f'"at":{NOW + (number * 7919) % 100_003},' for number in [*range(200), *range(200)])
    text = f"1 0a 0 0 - -\n{words}"
    assert compression.unpack(compression.pack(text, ID), ID) == text


def test_a_moment_that_comes_twice_behind_many_others_comes_back() -> None:
    moments = [*range(NOW, NOW + record_tokens.PLACES + 9), NOW + record_tokens.PLACES + 8]
    text = "1 0a 0 0 - -\n" + "".join(f'"at":{moment},' for moment in moments)
    assert compression.unpack(compression.pack(text, ID), ID) == text


def test_digests_of_both_kinds_come_back_each_in_its_place() -> None:
    one, other = "".join(map("{:02x}".format, range(32))), "".join(map("{:02x}".format, range(32, 64)))
    text = f'1 0a 0 0 - -\n"a":"{one}","b":"{other[:32]} {other[32:]}","c":"{other}","d":"{one[:32]} {one[32:]}"'
    assert compression.unpack(compression.pack(text, ID), ID) == text


def test_an_id_that_tells_no_moment_is_as_good() -> None:
    text = f'1 0a 0 0 - -\n"id":"job_?!","at":{NOW},"ended_at":{NOW},'
    assert compression.unpack(compression.pack(text, "job_?!"), "job_?!") == text


def test_a_typical_record_is_packed_to_less_than_half() -> None:
    text = record.encode(job(), "0a1b2c")
    assert len(compression.pack(text, ID)) < len(text) / 2


def test_a_dictionary_is_never_changed() -> None:
    """Records packed with it may stand in any Redis: another text needs another number."""
    sums = {number: zlib.crc32(text) for number, text in compression.DICTIONARIES.items()}
    assert sums == {b"\x01": 2083770209, b"\x02": 1586866052, b"\x03": 4267042692}
