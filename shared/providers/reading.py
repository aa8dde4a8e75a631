"""Reads values from gateways' responses, tolerant of where they are and how they are written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from rushes.shared.domain.http_messages import Response

MESSAGE_CHARS = 500
URL_CHARS = 8192
# A field with one of these values is left out of a body.
EMPTY: tuple[Any, ...] = (None, "", [])
# No money, length, time or percentage is as large or as fine; "1e999999999" would take for ever to be written out.
MAX_NUMBER, PLACES = Decimal(10) ** 15, 12
# A Retry-After beyond this is capped.
MAX_RETRY_AFTER_S = 3600.0
EPOCH_S, EPOCH_MS = 10**9, 10**11
UNITS_S = {"ms": 0.001, "s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600}
NUMBER = re.compile(r"\d+\.?\d*|\.\d+", re.ASCII)
SPAN = re.compile(r"(\d+(?:\.\d+)?) *(ms|second|sec|s|minute|min|m|hour|h)s?(?![a-z])", re.ASCII)
SPANS = re.compile(rf"({SPAN.pattern} *)+", re.ASCII)
# What some servers put before JSON, so that no page can include it as a script, or to stream it.
GUARDS = re.compile(r"^\s*(\)\]\}',?|while\(1\);|for\(;;\);|data:|&&&)?\s*")
RATE_LIMIT_HEADERS = ("x-ratelimit", "x-rate-limit", "ratelimit")


class Malformed(Exception):
    """A callback cannot be read; the text says what is wrong with it."""


def json_object(response: Response) -> Mapping[str, Any] | None:
    """The JSON object in a response, None if its body is none."""
    for read in (Response.json, _json_within):
        with suppress(ValueError, RecursionError):
            return unwrapped(read(response))
    return None


def _json_within(response: Response) -> Any:
    """The object in a successful body that has something before or after it; raises ValueError if there is none."""
    if not 200 <= response.status < 300:
        raise ValueError
    text = GUARDS.sub("", response.body.decode("utf-8-sig"))
    return json.JSONDecoder().raw_decode(text)[0] if text.startswith("{") else None


def unwrapped(payload: Any) -> Mapping[str, Any] | None:
    """The object in a payload, out of JSON in a string and out of a list of one; its `data` is taken out of a string.

    Names are spelled as in every document: some servers write `TaskID` and `STATUS`. None if there is no object.
    """
    payload = _out_of_text(payload)
    if isinstance(payload, list) and len(payload) == 1:
        payload = _out_of_text(payload[0])
    if not isinstance(payload, dict):
        return None
    payload = _small_names(payload)
    data = _out_of_text(payload.get("data"))
    if isinstance(data, dict):
        data = _small_names(data)
    elif isinstance(data, list) and len(data) == 1:
        data = [_small_names(data[0])]
    return payload if data is payload.get("data") else {**payload, "data": data}


def _out_of_text(value: Any) -> Any:
    """The object or list in JSON that is written into a string, be it twice; any other value as it is."""
    inner = value
    for _ in range(2):
        if isinstance(inner, str) and inner.lstrip()[:1] in ("{", "[", '"'):
            with suppress(ValueError, RecursionError):
                inner = json.loads(inner)
    return inner if isinstance(inner, (dict, list)) else value


def _small_names(value: Any) -> Any:
    """An object whose names all begin with a capital, with `taskId` for `TaskID` and `status` for `STATUS`."""
    if not isinstance(value, dict) or not value or not all(name[:1].isupper() for name in value):
        return value
    return {_small(name): _each_small(inner) for name, inner in value.items()}


def _each_small(value: Any) -> Any:
    return [_small_names(item) for item in value] if isinstance(value, list) else _small_names(value)


def _small(name: str) -> str:
    name = name.lower() if name.isupper() else name.replace("ID", "Id").replace("URL", "Url")
    return name[:1].lower() + name[1:]


def value_at(payload: Any, path: str) -> Any:
    """The value at a path such as `a.b.0.c`, None if there is none."""
    for step in path.split("."):
        if isinstance(payload, dict):  # JSON has no other mapping, and asking for Mapping takes thrice as long
            payload = payload.get(step)
        elif isinstance(payload, list) and step.isdigit() and int(step) < len(payload):
            payload = payload[int(step)]
        else:
            return None
    return payload


def text_at(payload: Any, *paths: str) -> str | None:
    """The first text or number at one of the paths."""
    return next((text for path in paths if (text := _text(value_at(payload, path)))), None)


def _text(value: Any) -> str | None:
    if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value).strip():
        return str(value)[:MESSAGE_CHARS].encode(errors="replace").decode()  # half a surrogate pair cannot be sent
    return None


def decimal_at(payload: Any, *paths: str) -> Decimal | None:
    """The first number at one of the paths that is not negative and below MAX_NUMBER."""
    for path in paths:
        value = value_at(payload, path)
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            try:
                number = Decimal(str(value))
            except InvalidOperation:
                continue
            if number.is_finite() and 0 <= number < MAX_NUMBER:
                return round(number, PLACES) if number else number
    return None


def balance_at(payload: Any, *paths: str) -> Decimal | None:
    """The first amount at one of the paths that may be what is left on an account; a debt is nothing left."""
    for path in paths:
        value = value_at(payload, path)
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            text = str(value).strip()
            amount = decimal_at({"amount": text.removeprefix("-")}, "amount")
            if amount is not None:
                return Decimal(0) if text.startswith("-") else amount
    return None


def moment_at(payload: Any, *paths: str) -> int | None:
    """The first time at one of the paths, in ms. Seconds and milliseconds are told apart by their size."""
    number = decimal_at(payload, *paths)
    if not number:
        return None
    return int(number) if number > 10**11 else int(number * 1000)


def span_s(payload: Any, since: str, until: str) -> float | None:
    """The seconds between two times, None if one is missing or the second is not later."""
    begun_at, ended_at = moment_at(payload, since), moment_at(payload, until)
    return (ended_at - begun_at) / 1000 if begun_at and ended_at and ended_at > begun_at else None


def percent(value: Any) -> int | None:
    """Progress from 0 to 100, read from 30, 30.0, "30" or "30%"."""
    number = decimal_at({"value": value.strip().removesuffix("%") if isinstance(value, str) else value}, "value")
    return None if number is None else min(100, int(number))


def retry_after_s(response: Response) -> float | None:
    """Seconds from now until a call may be made again, at most an hour: Retry-After, or of a 429 when its window ends.

    None if the response does not say, or says it in no form that is known.
    """
    value = response.headers.get("retry-after", "")
    if not value and response.status == 429:
        value = _window_end(response)
    seconds = _seconds(value)
    moment = _moment(value) if seconds is None else _from_epoch(seconds)
    if moment:
        # Counted by the server's own clock if the response has a date, because ours may differ.
        since = _moment(response.headers.get("date", "")) or datetime.now(UTC)
        seconds = max((moment - since).total_seconds(), 0.0)
    return None if seconds is None else min(seconds, MAX_RETRY_AFTER_S)


def _window_end(response: Response) -> str:
    """When the window of a rate limit ends, '' if it is not told, or the window has calls left: then another ended."""
    for name in RATE_LIMIT_HEADERS:
        reset, remaining = (response.headers.get(f"{name}-{what}", "").strip() for what in ("reset", "remaining"))
        if reset and remaining in ("", "0"):
            return reset
    return ""


def _seconds(text: str) -> float | None:
    """The seconds in `7`, `"7"`, `7 s` and `1m30s`; of a header that came twice the first."""
    text = text.partition(",")[0].strip(' "').lower()
    if NUMBER.fullmatch(text):
        return float(text)
    if not SPANS.fullmatch(text):
        return None
    return sum(float(number) * UNITS_S[unit] for number, unit in SPAN.findall(text))


def _from_epoch(seconds: float) -> datetime | None:
    """A number that is no span but a time: seconds or milliseconds of the epoch, told apart by their size."""
    with suppress(ValueError, OverflowError, OSError):
        if seconds >= EPOCH_S:
            return datetime.fromtimestamp(seconds if seconds < EPOCH_MS else seconds / 1000, UTC)
    return None


def _moment(text: str) -> datetime | None:
    """A date in any of HTTP's three forms, or in ISO 8601; in UTC if it names no zone."""
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        with suppress(ValueError, TypeError, OverflowError, IndexError):
            moment = read(text)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None


def moved_message(gateway: str, response: Response) -> str:
    """What a redirect of a call says: to where the address of the gateway has moved, and what to do."""
    location = without_secrets(response.headers.get("location", ""))
    return (
        f"HTTP {response.status}: the address of {gateway} has moved{f' to {location}' if location else ''};"
        f" {gateway.upper()}_BASE_URL must name the new one"
    )


def without_secrets(url: str) -> str:
    """A URL without user, password, query and fragment; '' if it is no URL."""
    try:
        parts = urlsplit(url)
        host = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}" if parts.hostname else ""
    except ValueError:
        return ""
    return f"{host}{parts.path}"[:200]


def without_empty(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A body without the fields that have an empty value."""
    return {name: value for name, value in pairs if value not in EMPTY}


def parse_nested(value: Any, what: str) -> Any:
    """The value, parsed if it is JSON in a string; raises Malformed, naming `what`, if the string is not JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise Malformed(f"{what} is not JSON") from None
