"""What a call brings along becomes JSON, or a refusal that names the field."""

from __future__ import annotations

import json
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any
from uuid import UUID

import pytest

from rushes.shared.intake.intake import Unacceptable
from rushes.worker.task_arguments import argument, job_body


class Mode(str, Enum):  # noqa: UP042
    PRO = "pro"


class Length(IntEnum):
    SHORT = 5


class Money:
    pass


CYCLE: list[Any] = []
CYCLE.append(CYCLE)
ID = UUID(int=5)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Mode.PRO, "pro"),
        (Length.SHORT, 5),
        (bytearray(b"kite"), "kite"),
        (memoryview(b"kite"), "kite"),
        ((1, (2,)), [1, [2]]),
        (OrderedDict(a=ID), {"a": str(ID)}),
        ({ID: 1, Decimal("1.50"): 2, 5: 3, None: 4, True: 5, b"k": 6, date(2026, 1, 1): 7}, None),
        (datetime(2026, 1, 1, 1, 2, 3, 45000, tzinfo=timezone(timedelta(hours=9))), "2025-12-31T16:02:03.045000Z"),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), "9999-12-31T23:59:59.999999-01:00"),
        (time(1, 2, tzinfo=UTC), "01:02:00+00:00"),
        (Decimal("1E-7"), "0.0000001"),
        (Decimal("-0.10"), "-0.10"),
        (Decimal("1E+999999"), "1E+999999"),
        (Decimal("sNaN"), "sNaN"),
        (10**4000, 10**4000),
        (None, None),
        (True, True),
        (0.1, 0.1),
    ],
)
def test_a_value_is_the_json_that_it_stands_for(value: Any, plain: Any) -> None:
    body = job_body({"metadata": value})

    if isinstance(value, dict) and ID in value:
        plain = {str(ID): 1, "1.50": 2, "5": 3, "null": 4, "true": 5, "k": 6, "2026-01-01": 7}
    assert body == {"metadata": plain}
    assert type(body["metadata"]) in (str, int, float, bool, list, dict, type(None))
    json.dumps(body)


@pytest.mark.parametrize("number", [Decimal("5"), Decimal("5.0"), Decimal("5E0")])
def test_a_decimal_is_a_number_where_a_number_is_expected(number: Decimal) -> None:
    body = job_body({"duration": number, "multi_prompt": [{"duration": number, "prompt": number}], "prompt": number})

    assert json.dumps(body["duration"]) == json.dumps(body["multi_prompt"][0]["duration"]) == "5"
    assert body["prompt"] == body["multi_prompt"][0]["prompt"] == f"{number:f}"


NO_JSON: dict[str, Any] = {
    "a set": {1, 2},
    "a frozen set": frozenset(),
    "a length of time": timedelta(1),
    "an object": Money(),
    "a class": Money,
    "an imaginary number": 1j,
    "a range": range(3),
    "bytes that are no text": b"\xff",
    "an integer that Python does not write": 10**5000,
    "a set far inside": [[{"a": {1}}]],
    "a name of two": {(1,): 2},
    "a list in itself": CYCLE,
}


@pytest.mark.parametrize("value", NO_JSON.values(), ids=NO_JSON)
def test_what_stands_for_no_json_is_refused_by_its_field(value: Any) -> None:
    with pytest.raises(Unacceptable) as refused:
        job_body({"model": "kling-v3", "metadata": value})

    assert (refused.value.status, list(refused.value.fields or ())) == (422, ["metadata"])
    with pytest.raises(Unacceptable) as refused:
        argument("Idempotency-Key", value)
    assert list(refused.value.fields or ()) == ["Idempotency-Key"]


def test_a_field_whose_name_is_no_text_is_a_field_that_nobody_knows() -> None:
    assert job_body({ID: 1, (1, 2): 2, 5: 3}) == {str(ID): 1, "(tuple)": 2, "5": 3}


@pytest.mark.parametrize("job", [None, [], "kling-v3", 5, ID, {1}])
def test_what_is_no_job_is_left_to_the_intake(job: Any) -> None:
    assert job_body(job) == job
