"""Reading what gateways answer: tolerant of where things stand and how they are written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlsplit

from shared.domain.events import Reason
from shared.domain.wire import Response

MESSAGE_CHARS = 500
URL_CHARS = 8192
# Said by saying nothing.
NOTHING: tuple[Any, ...] = (None, "", [])
# No money, length, moment or percentage is as large or as fine; "1e999999999" would take for ever to be written out.
TOO_MUCH, PLACES = Decimal(10) ** 15, 12
ADDRESS = re.compile(rf"https?://[^\x00-\x1f\ud800-\udfff]{{1,{URL_CHARS}}}")

MONEY = r"(balance|credit|quota|fund)s?"
# Words in a code or message that say more than the status; the first that fits counts.
TELLTALES: tuple[tuple[Reason, re.Pattern[str]], ...] = (
    (
        Reason.POLICY,
        re.compile(
            r"content[ _](policy|filter)|policy[ _]violation|violat\w+[ _].{0,30}polic|moderation|nsfw|\bsafety\b"
            r"|unsafe|(?<!case[- ])sensitive|risk[ _]control|敏感|违规|审核|风控"
        ),
    ),
    (
        Reason.BALANCE,
        re.compile(
            rf"(insufficient|not[ _]enough|out[ _]of)[ _](\w+[ _])?{MONEY}|exceeded your (current )?quota"
            rf"|{MONEY}[ _](\w+[ _])?(insufficient|exceeded|exhausted|not[ _]enough)"
            r"|pre_consume|\bbalance\b|arrears|recharge|余额|额度|欠费|充值"
        ),
    ),
    # The caller is not to blame for what this gateway does not have; another may.
    (Reason.PROVIDER, re.compile(r"(invalid|unsupported|unknown)[ _]model|model[ _](is[ _])?not[ _](found|supported)")),
)


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
    for path in paths:
        found = at(payload, path)
        if isinstance(found, (str, int)) and not isinstance(found, bool) and str(found).strip():
            return str(found)[:MESSAGE_CHARS].encode(errors="replace").decode()  # half a surrogate pair cannot be sent
    return None


def url_at(payload: Any, *paths: str) -> str | None:
    """The first of the paths that holds an address, or a list with one."""
    for path in paths:
        found = at(payload, path)
        for candidate in found if isinstance(found, list) else [found]:
            if isinstance(candidate, str) and is_address(candidate):
                return candidate
    return None


def is_address(text: str) -> bool:
    """Whether it is an http(s) address that can be asked for and written down."""
    try:
        return bool(ADDRESS.fullmatch(text) and urlsplit(text).hostname and urlsplit(text).port != 0)
    except ValueError:
        return False


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


def effective_status(status: int, payload: Mapping[str, Any]) -> int:
    """An error code inside an HTTP 2xx counts as the status."""
    code = decimal_at(payload, "code")
    return int(code) if 200 <= status < 300 and code is not None and 400 <= code < 600 else status


def complaint(payload: Mapping[str, Any]) -> tuple[str, str]:
    """Code and message of an error body, wherever they stand."""
    error = first_mapping(at(payload, "data.error"), at(payload, "error"), payload)
    code = text_at(error, "code", "type") or ""
    message = text_at(error, "message", "msg") or text_at(payload, "msg", "message", "error") or ""
    return code, message


def first_mapping(*candidates: Any) -> Mapping[str, Any]:
    return next(candidate for candidate in candidates if isinstance(candidate, Mapping))


def telltale(*texts: str) -> Reason | None:
    """What the words of a complaint give away."""
    said = " ".join(texts).lower()
    return next((reason for reason, words in TELLTALES if words.search(said)), None)


def retry_after_s(response: Response) -> float | None:
    """Retry-After in seconds; a date is not read."""
    value = response.headers.get("retry-after", "")
    return min(float(value), 3600.0) if value.replace(".", "", 1).isdecimal() else None


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
