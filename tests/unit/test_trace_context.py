"""Which trace a job belongs to."""

from __future__ import annotations

import pytest
from factories import job

from rushes.shared.domain import trace_context

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        (f"00-{TRACE}-{PARENT}-01", f"{TRACE}-01"),
        (f" 00-{TRACE}-{PARENT}-00 ", f"{TRACE}-00"),
        (f"01-{TRACE}-{PARENT}-01-more", f"{TRACE}-01"),
        (f"00-{TRACE}-{PARENT}-01-more", None),
        (f"ff-{TRACE}-{PARENT}-01", None),
        (f"00-{TRACE.upper()}-{PARENT}-01", None),
        (f"00-{'0' * 32}-{PARENT}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE}-{PARENT}", None),
        (f"00-{TRACE}-{PARENT}-01\r\nx: y", None),
        ("", None),
        (None, None),
        (17, None),
    ],
)
def test_of_a_traceparent_the_trace_and_its_flags_are_kept(header: str | None, kept: str | None) -> None:
    assert trace_context.parse(header) == kept


def test_a_job_goes_on_in_its_callers_trace() -> None:
    subject = job(trace=f"{TRACE}-00")
    version, trace, span, flags = trace_context.traceparent(subject).split("-")

    assert (version, trace, flags, trace_context.trace_id(subject)) == ("00", TRACE, "00", TRACE)
    assert span != PARENT
    assert trace_context.parse(trace_context.traceparent(subject)) == f"{TRACE}-00"


def test_a_job_without_a_callers_trace_has_one_of_its_own() -> None:
    one, other = job(), job()

    assert trace_context.trace_id(one) == trace_context.trace_id(one) != trace_context.trace_id(other)
    assert trace_context.parse(trace_context.traceparent(one)) == f"{trace_context.trace_id(one)}-01"
