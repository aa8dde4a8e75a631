"""What kombu's JSON brings along (UUID, Decimal, datetime, bytes…), as the JSON that it stands for.

The HTTP door reads JSON and nothing else; an idempotency key compares bodies, so both doors must see the same body.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from rushes.shared.intake.intake import Unacceptable
from rushes.shared.intake.schema import NUMBER_FIELDS

# Python writes no longer integer as text, and so as JSON.
INTEGER_BITS = 14_000
# Digits before and behind the point: past them a decimal is a mistake, and as text it would fill the memory.
DECIMAL_DIGITS = 40
NO_NUMBERS: frozenset[str] = frozenset()


class NotJson(Exception):
    """A value stands for nothing that JSON could say; the reason is the text."""


def job_body(job: Any) -> Any:
    """The job as the HTTP door would read it; raises Unacceptable, which names the field."""
    if not isinstance(job, Mapping):
        return job
    body, problems = {}, {}
    for key, value in job.items():
        name = field_name(key)
        try:
            body[name] = as_json(value, NO_NUMBERS if name == "metadata" else NUMBER_FIELDS, name)
        except NotJson as problem:
            problems[name] = [str(problem)]
        except RecursionError:
            problems[name] = ["Nested too deep."]
    if problems:
        raise Unacceptable("invalid_request", f"The request does not fit: {', '.join(problems)}.", 422, problems)
    return body


def argument(name: str, value: Any) -> Any:
    """An argument beside the job; raises Unacceptable, which names it."""
    try:
        return as_json(value)
    except (NotJson, RecursionError) as problem:
        raise Unacceptable("invalid_request", f"The call does not fit: {name}.", 422, {name: [str(problem)]}) from None


def field_name(key: Any) -> str:
    """The name of a field of the job; one that JSON has no name for is shown by its type."""
    try:
        return key_text(key)
    except NotJson:
        return f"({type(key).__name__})"


def as_json(value: Any, numbers: frozenset[str] = NO_NUMBERS, name: str = "") -> Any:
    """The value in JSON's own types; `numbers` are the names under which a Decimal is one. Raises NotJson."""
    if isinstance(value, Mapping):
        return {key_text(key): as_json(item, numbers, key) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item, numbers, name) for item in value]
    if isinstance(value, Decimal):
        return decimal_number(value) if name in numbers else decimal_text(value)
    return scalar(value)


def key_text(key: Any) -> str:
    """A key of an object as text, as Python's own JSON writes those that are none. Raises NotJson."""
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
        raise NotJson("Too large a number.")
    return int(value)


def bytes_text(value: bytes | bytearray | memoryview) -> str:
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        raise NotJson("Bytes that are not text in UTF-8.") from None


def moment_text(value: datetime) -> str:
    """ISO 8601 in UTC; a moment without a zone is one of UTC, as Celery's are."""
    try:
        moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:  # the first or the last day of the calendar, in another zone
        return value.isoformat()
    return moment.isoformat().replace("+00:00", "Z")


def decimal_text(value: Decimal) -> str:
    """As the contract writes money: plain digits, no exponent."""
    if not value.is_finite() or abs(value.adjusted()) > DECIMAL_DIGITS or len(value.as_tuple().digits) > DECIMAL_DIGITS:
        return str(value)
    return f"{value:f}"


def decimal_number(value: Decimal) -> int | float | str:
    if value.is_snan():
        return str(value)
    whole = value.is_finite() and abs(value.adjusted()) <= DECIMAL_DIGITS and value == value.to_integral_value()
    return int(value) if whole else float(value)


# A subclass such as an Enum's member stands for its plain value. A datetime is a date too, and so comes first.
PLAIN: Mapping[type | tuple[type, ...], Callable[[Any], Any]] = {
    str: str.__str__,
    int: integer,
    UUID: str,
    datetime: moment_text,
    (date, time): lambda value: value.isoformat(),
    (bytes, bytearray, memoryview): bytes_text,
}
