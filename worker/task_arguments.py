"""Converts values of kombu's JSON (UUID, Decimal, datetime, bytes…) to the plain JSON that they stand for.

The Jobs API reads plain JSON. An idempotency key compares bodies, so a job enqueued by Celery must have the same body.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from rushes.shared.intake.intake import Unacceptable
from rushes.shared.intake.schema import NUMBER_FIELDS

# Python converts no longer integer to text, and so to JSON.
INTEGER_BITS = 14_000
# Digits before and after the point: beyond this a decimal is a mistake, and its text would fill the memory.
DECIMAL_DIGITS = 40
NO_FIELDS: frozenset[str] = frozenset()


class NotJson(Exception):
    """A value has no equivalent in JSON; the text says why."""


def job_body(job: Any) -> Any:
    """The job as the Jobs API would read it; raises Unacceptable, which names the fields."""
    if not isinstance(job, Mapping):
        return job
    body, problems = {}, {}
    for key, value in job.items():
        name = field_name(key)
        try:
            body[name] = as_json(value, NO_FIELDS if name == "metadata" else NUMBER_FIELDS, name)
        except NotJson as problem:
            problems[name] = [str(problem)]
        except RecursionError:
            problems[name] = ["Nested too deep."]
    if problems:
        raise Unacceptable("invalid_request", f"The request does not fit: {', '.join(problems)}.", 422, problems)
    return body


def argument(name: str, value: Any) -> Any:
    """Another argument of the task; raises Unacceptable, which names it."""
    try:
        return as_json(value)
    except (NotJson, RecursionError) as problem:
        raise Unacceptable("invalid_request", f"The call does not fit: {name}.", 422, {name: [str(problem)]}) from None


def field_name(key: Any) -> str:
    """The name of a job's field; a name that JSON cannot have is shown as its type."""
    try:
        return key_text(key)
    except NotJson:
        return f"({type(key).__name__})"


def as_json(value: Any, numbers: frozenset[str] = NO_FIELDS, name: str = "") -> Any:
    """The value in JSON's own types. `numbers` are the fields in which a Decimal becomes a number. Raises NotJson."""
    if isinstance(value, Mapping):
        return {key_text(key): as_json(item, numbers, key) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item, numbers, name) for item in value]
    if isinstance(value, Decimal):
        return decimal_number(value) if name in numbers else decimal_text(value)
    return scalar(value)


def key_text(key: Any) -> str:
    """A key of an object as text, converted as by Python's own JSON. Raises NotJson."""
    plain = decimal_text(key) if isinstance(key, Decimal) else scalar(key)
    if isinstance(plain, str):
        return plain
    return KEYS[plain] if plain is None or isinstance(plain, bool) else str(plain)


KEYS = {None: "null", True: "true", False: "false"}


def scalar(value: Any) -> Any:
    if value is None or isinstance(value, (bool, float)):
        return value
    for kind, plain in PLAIN.items():
        if isinstance(value, kind):
            return plain(value)
    raise NotJson(f"JSON has no {type(value).__name__}.")


def integer(value: int) -> int:
    if value.bit_length() > INTEGER_BITS:
        raise NotJson("The number is too large.")
    return int(value)


def bytes_text(value: bytes | bytearray | memoryview) -> str:
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        raise NotJson("The bytes are not text in UTF-8.") from None


def moment_text(value: datetime) -> str:
    """ISO 8601 in UTC; a datetime without a zone is in UTC, as Celery's are."""
    try:
        moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:  # the first or the last day of the calendar in another zone
        return value.isoformat()
    return moment.isoformat().replace("+00:00", "Z")


def decimal_text(value: Decimal) -> str:
    """Plain digits without an exponent, as the contract writes money."""
    if not value.is_finite() or abs(value.adjusted()) > DECIMAL_DIGITS or len(value.as_tuple().digits) > DECIMAL_DIGITS:
        return str(value)
    return f"{value:f}"


def decimal_number(value: Decimal) -> int | float | str:
    if value.is_snan():
        return str(value)
    is_whole = value.is_finite() and abs(value.adjusted()) <= DECIMAL_DIGITS and value == value.to_integral_value()
    return int(value) if is_whole else float(value)


# A subclass, such as an Enum member, becomes its plain value. A datetime is a date too, so it comes first.
PLAIN: Mapping[type | tuple[type, ...], Callable[[Any], Any]] = {
    str: str.__str__,
    int: integer,
    UUID: str,
    datetime: moment_text,
    (date, time): lambda value: value.isoformat(),
    (bytes, bytearray, memoryview): bytes_text,
}
