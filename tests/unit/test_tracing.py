"""Which trace a job belongs to."""

from __future__ import annotations

import pytest
from factories import job

from shared.domain import tracing

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("told", "kept"),
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
def test_of_a_traceparent_the_trace_and_its_flags_are_kept(told: str | None, kept: str | None) -> None:
    assert tracing.heard(told) == kept


def test_a_job_goes_on_in_its_callers_trace() -> None:
    subject = job(trace=f"{TRACE}-00")
    version, trace, span, flags = tracing.traceparent(subject).split("-")

    assert (version, trace, flags, tracing.trace_id(subject)) == ("00", TRACE, "00", TRACE)
    assert span != PARENT
    assert tracing.heard(tracing.traceparent(subject)) == f"{TRACE}-00"


def test_a_job_without_a_callers_trace_has_one_of_its_own() -> None:
    one, other = job(), job()

    assert tracing.trace_id(one) == tracing.trace_id(one) != tracing.trace_id(other)
    assert tracing.heard(tracing.traceparent(one)) == f"{tracing.trace_id(one)}-01"
