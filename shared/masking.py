"""Removes secrets from texts that are logged: keys, passwords, tokens, the signed part of links."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

MASK = "…"
# Shorter values are not masked: they may be part of ordinary words.
SECRET_CHARS = 6
SECRET_NAME = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL")
URL_PASSWORD = re.compile(r"://[^/?#\s]*?:([^/?#\s]+)@")

NAME_PATTERN = r"((?i:api[-_]?key|secret|token|passw(?:or)?d|authorization|signature|credential)[\w-]*\\*[\"']?"
NAMES = ("api_key", "api-key", "apikey", "secret", "token", "passw", "authorization", "signature", "credential")
# (words, pattern, replacement): the pattern is applied to a text that holds one of the words, in small letters. Most
# lines hold none, and each pattern takes longer than the search for all words.
PATTERNS: tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...] = tuple(
    (words, re.compile(pattern, re.DOTALL), replacement)
    for words, pattern, replacement in (
        # The address of a callback: whoever has it can make us poll the job.
        (("callbacks",), r"(?i:((?:/|%2F)callbacks(?:/|%2F)[^\s/%]+(?:/|%2F)[^\s/%]+(?:/|%2F)))[\w-]+", rf"\1{MASK}"),
        # A link with a signature, and the address of a Redis with a password in its query.
        (("://",), r"""(://[^\s?#"'<>]*)[?#][^\s"'<>\\]+""", rf"\1?{MASK}"),
        (("://",), r"""(://)[^\s/?#"'<>]+@""", rf"\1{MASK}@"),
        # A value in escaped quotes, in quotes, or without quotes up to its end. Text after a blank is prose, such as
        # `RUSHES_API_KEYS: give name:value pairs`.
        (NAMES, rf"""{NAME_PATTERN}\s*[:=]\s*b?)(\\+["'])(?:(?!\2).)*(?:\2|$)""", rf"\1\2{MASK}\2"),
        (NAMES, rf"""{NAME_PATTERN}\s*[:=]\s*b?)(["'])(?:(?!\2)[^\\]|\\.)*(?:\2|$)""", rf"\1\2{MASK}\2"),
        (NAMES, rf"""{NAME_PATTERN}[:=])(?!b?[\\"'{MASK}])[^\s,;&"'}}\])]+""", rf"\1{MASK}"),
        (("bearer", "basic"), r"""\b((?i:Bearer|Basic))\s+[^\s,;&"']+""", rf"\1 {MASK}"),
        (("authorization", "x-api-key"), r"""((?i:authorization|x-api-key)\s*:\s*)[^\s,;"']+""", rf"\1{MASK}"),
        (("sk-",), r"sk-(?<!\wsk-)[\w-]{6,}", MASK),
        (("whsec_",), r"\bwhsec_[\w+/=-]+", MASK),
        (("eyj",), r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*", MASK),  # a JSON Web Token
    )
)
WORDS = tuple(dict.fromkeys(word for words, _, _ in PATTERNS for word in words))


def masker(environ: Mapping[str, str]) -> Callable[[str], str]:
    """A function that masks a text, for a process with this environment."""
    # The longest first: one secret may be part of another.
    longest_first = sorted({form for secret in secrets(environ) for form in spellings(secret)}, key=len, reverse=True)

    def mask(text: str) -> str:
        for secret in longest_first:
            text = text.replace(secret, MASK)
        lower = text.lower()
        present = {word for word in WORDS if word in lower}
        for words, pattern, replacement in PATTERNS if present else ():
            if not present.isdisjoint(words):
                text = pattern.sub(replacement, text)
        return text

    return mask


def secrets(environ: Mapping[str, str]) -> set[str]:
    """The keys and passwords in an environment; of `name:key` pairs the keys."""
    values = {password for value in environ.values() for password in URL_PASSWORD.findall(value)}
    values |= {unquote(password) for password in values}
    for name, value in environ.items():
        if SECRET_NAME.search(name):
            values.update(parts(value))
    return {secret for secret in values if len(secret) >= SECRET_CHARS}


def parts(value: str) -> Iterator[str]:
    yield value.strip()
    for part in value.split(","):
        yield part.strip()
        key = part.partition(":")[2].strip()
        yield key
        yield key.removesuffix(":drain")


def spellings(secret: str) -> set[str]:
    """A secret as URLs, JSON and Python write it."""
    return {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}


def traceback_text(error: BaseException) -> str:
    """A traceback without the texts of errors, which may quote a caller; type and place are enough."""
    return "\n".join(traceback_lines(error, set()))


def traceback_lines(error: BaseException, seen: set[int]) -> Iterator[str]:
    if id(error) in seen:
        return
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from traceback_lines(before, seen)
        yield "which led to:"
    yield "Traceback (most recent call last):"
    yield "".join(frames(error)).rstrip()
    yield f"{type_name(type(error))}{error_text(error)}"
    for member in getattr(error, "exceptions", ()):
        if isinstance(member, BaseException):
            yield from traceback_lines(member, seen)


def frames(error: BaseException) -> list[str]:
    return traceback.format_tb(error.__traceback__)


def type_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def error_text(error: BaseException) -> str:
    """The text of an error of a connection or of our own classes; '' for any other, which may quote a caller."""
    is_ours = any(kind.__module__.partition(".")[0] == "rushes" for kind in type(error).__mro__)
    if isinstance(error, OSError) or is_ours or type(error).__name__.endswith(CONNECTION_ERRORS):
        return f": {error}"
    return ""


CONNECTION_ERRORS = ("ConnectionError", "TimeoutError", "OperationalError")


def withheld(value: Any) -> Any:
    """A value that a library logs: numbers, addresses of servers and errors of connections; of others the type only."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, BaseException):
        return f"{type_name(type(value))}{error_text(value)}"
    if isinstance(value, str) and SERVER.fullmatch(value):
        return value
    return f"<{type(value).__name__}>"


SERVER = re.compile(r"[a-z][a-z0-9+.-]*://\S{1,200}|[\w.-]+@[\w.-]+")
