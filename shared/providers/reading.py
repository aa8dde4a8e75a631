"""Reading what gateways answer: tolerant of where things stand and how they are written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from typing import Any

from rushes.shared.domain.http_messages import Response

MESSAGE_CHARS = 500
URL_CHARS = 8192
# Said by saying nothing.
NOTHING: tuple[Any, ...] = (None, "", [])
# No money, length, moment or percentage is as large or as fine; "1e999999999" would take for ever to be written out.
TOO_MUCH, PLACES = Decimal(10) ** 15, 12
# Nobody is asked to come back later than this.
LATER_S = 3600.0


class Malformed(Exception):
    """A callback that cannot be read; says what is wrong with it."""


def parsed(response: Response) -> Mapping[str, Any] | None:
    """The JSON object of an answer, None where there is none."""
    try:
        payload = response.json()
    except (ValueError, RecursionError):
        return None
    return payload if isinstance(payload, Mapping) else None


def at(payload: Any, path: str) -> Any:
    """What stands at `a.b.0.c`, None where nothing does."""
    for step in path.split("."):
        if isinstance(payload, dict):  # JSON has no other mapping, and asking for Mapping takes thrice as long
            payload = payload.get(step)
        elif isinstance(payload, list) and step.isdigit() and int(step) < len(payload):
            payload = payload[int(step)]
        else:
            return None
    return payload


def text_at(payload: Any, *paths: str) -> str | None:
    """The first of the paths that holds a text or a number."""
    return next((text for path in paths if (text := _text(at(payload, path)))), None)


def word_at(payload: Any, *paths: str) -> str | None:
    """The first of the paths that holds a word; a number only where none of them does."""
    number = None
    for path in paths:
        if text := _text(at(payload, path)):
            if not text.strip().isdecimal():
                return text
            number = number or text
    return number


def _text(found: Any) -> str | None:
    if isinstance(found, (str, int)) and not isinstance(found, bool) and str(found).strip():
        return str(found)[:MESSAGE_CHARS].encode(errors="replace").decode()  # half a surrogate pair cannot be sent
    return None


def decimal_at(payload: Any, *paths: str) -> Decimal | None:
    """The first of the paths that holds a number that is not negative, nor beyond all reason."""
    for path in paths:
        found = at(payload, path)
        if isinstance(found, (str, int, float)) and not isinstance(found, bool):
            try:
                number = Decimal(str(found))
            except InvalidOperation:
                continue
            if number.is_finite() and 0 <= number < TOO_MUCH:
                return round(number, PLACES) if number else number
    return None


def moment_at(payload: Any, *paths: str) -> int | None:
    """The first of the paths that holds a time, in ms: seconds and milliseconds are told apart by their size."""
    number = decimal_at(payload, *paths)
    if not number:
        return None
    return int(number) if number > 10**11 else int(number * 1000)


def span_s(payload: Any, since: str, until: str) -> float | None:
    """The seconds between two times; None where one is missing, or they are the wrong way round."""
    begun_at, ended_at = moment_at(payload, since), moment_at(payload, until)
    return (ended_at - begun_at) / 1000 if begun_at and ended_at and ended_at > begun_at else None


def percent(value: Any) -> int | None:
    """Progress as 0 to 100, from 30, 30.0, "30" or "30%"."""
    number = decimal_at({"value": value.strip().removesuffix("%") if isinstance(value, str) else value}, "value")
    return None if number is None else min(100, int(number))


def retry_after_s(response: Response) -> float | None:
    """Retry-After in seconds from now, be it a number or a date; None where it is neither. Capped at an hour."""
    value = response.headers.get("retry-after", "").strip()
    if value.replace(".", "", 1).isdecimal():
        return min(float(value), LATER_S)
    moment = _moment(value)
    if moment is None:
        return None
    # Against the clock of whoever says it, where that is told: ours may be another.
    since = _moment(response.headers.get("date", "")) or datetime.now(UTC)
    return min(max((moment - since).total_seconds(), 0.0), LATER_S)


def _moment(text: str) -> datetime | None:
    """A date as HTTP writes it, in any of its three forms, or as ISO 8601; UTC where it names no zone."""
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        with suppress(ValueError, TypeError, OverflowError, IndexError):
            moment = read(text)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None


def kept(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A body without what is not said."""
    return {name: value for name, value in pairs if value not in NOTHING}


def unwrapped(value: Any, what: str) -> Any:
    """JSON that may be a string inside JSON; raises Malformed where the string is not JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise Malformed(f"{what} is not JSON") from None
