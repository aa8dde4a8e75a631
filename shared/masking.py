"""What must not stand in a log, taken out of a text: keys, passwords, tokens, the signed part of links."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

MASK = "…"
# A shorter one would be masked inside of other words.
SECRET_CHARS = 6
SECRET_NAME = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL")
URL_PASSWORD = re.compile(r"://[^/?#\s]*?:([^/?#\s]+)@")

NAMED = r"((?i:api[-_]?key|secret|token|passw(?:or)?d|authorization|signature|credential)[\w-]*\\*[\"']?"
NAMES = ("api_key", "api-key", "apikey", "secret", "token", "passw", "authorization", "signature", "credential")
# (words of which a text must hold one, what is looked for then, what stands in its place). The words are looked for
# first, in small letters: most lines hold none, and each pattern takes longer than all of them.
PATTERNS: tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...] = tuple(
    (words, re.compile(pattern, re.DOTALL), instead)
    for words, pattern, instead in (
        # The address of a callback: who has it may say "look now".
        (("callbacks",), r"(?i:((?:/|%2F)callbacks(?:/|%2F)[^\s/%]+(?:/|%2F)[^\s/%]+(?:/|%2F)))[\w-]+", rf"\1{MASK}"),
        # A link with a signature, and a Redis whose password stands in the query.
        (("://",), r"""(://[^\s?#"'<>]*)[?#][^\s"'<>\\]+""", rf"\1?{MASK}"),
        (("://",), r"""(://)[^\s/?#"'<>]+@""", rf"\1{MASK}@"),
        # A value in quotes that are escaped once more, in quotes, or up to where it ends by itself; what comes behind
        # a blank is prose, such as `RUSHES_API_KEYS: give name:value pairs`.
        (NAMES, rf"""{NAMED}\s*[:=]\s*b?)(\\+["'])(?:(?!\2).)*(?:\2|$)""", rf"\1\2{MASK}\2"),
        (NAMES, rf"""{NAMED}\s*[:=]\s*b?)(["'])(?:(?!\2)[^\\]|\\.)*(?:\2|$)""", rf"\1\2{MASK}\2"),
        (NAMES, rf"""{NAMED}[:=])(?!b?[\\"'{MASK}])[^\s,;&"'}}\])]+""", rf"\1{MASK}"),
        (("bearer", "basic"), r"""\b((?i:Bearer|Basic))\s+[^\s,;&"']+""", rf"\1 {MASK}"),
        (("authorization", "x-api-key"), r"""((?i:authorization|x-api-key)\s*:\s*)[^\s,;"']+""", rf"\1{MASK}"),
        (("sk-",), r"sk-(?<!\wsk-)[\w-]{6,}", MASK),
        (("whsec_",), r"\bwhsec_[\w+/=-]+", MASK),
        (("eyj",), r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*", MASK),  # a JSON Web Token
    )
)
WORDS = tuple(dict.fromkeys(word for words, _, _ in PATTERNS for word in words))


def masker(environ: Mapping[str, str]) -> Callable[[str], str]:
    """What masks a text, for a process with this environment."""
    # The longest first: a key may stand within another.
    known = sorted({form for secret in secrets(environ) for form in spellings(secret)}, key=len, reverse=True)

    def mask(text: str) -> str:
        for secret in known:
            text = text.replace(secret, MASK)
        small = text.lower()
        said = {word for word in WORDS if word in small}
        for words, pattern, instead in PATTERNS if said else ():
            if not said.isdisjoint(words):
                text = pattern.sub(instead, text)
        return text

    return mask


def secrets(environ: Mapping[str, str]) -> set[str]:
    """The keys and passwords that an environment holds; of `name:key` pairs the keys."""
    found = {password for value in environ.values() for password in URL_PASSWORD.findall(value)}
    found |= {unquote(password) for password in found}
    for name, value in environ.items():
        if SECRET_NAME.search(name):
            found.update(parts(value))
    return {secret for secret in found if len(secret) >= SECRET_CHARS}


def parts(value: str) -> Iterator[str]:
    yield value.strip()
    for part in value.split(","):
        yield part.strip()
        named = part.partition(":")[2].strip()
        yield named
        yield named.removesuffix(":drain")


def spellings(secret: str) -> set[str]:
    """A text as URLs, JSON and Python write it."""
    return {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}


def traced(error: BaseException) -> str:
    """A traceback without what the errors say: that may be a caller's words. Where they come from tells enough."""
    return "\n".join(told(error, set()))


def told(error: BaseException, seen: set[int]) -> Iterator[str]:
    if id(error) in seen:
        return
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from told(before, seen)
        yield "which led to:"
    yield "Traceback (most recent call last):"
    yield "".join(frames(error)).rstrip()
    yield f"{name_of(type(error))}{reason(error)}"
    for each in getattr(error, "exceptions", ()):
        if isinstance(each, BaseException):
            yield from told(each, seen)


def frames(error: BaseException) -> list[str]:
    return traceback.format_tb(error.__traceback__)


def name_of(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def reason(error: BaseException) -> str:
    """What an error says, where it speaks of connections or is one of our own: those are made of our words."""
    kinds = type(error).__mro__
    ours = any(kind.__module__.partition(".")[0] == "rushes" for kind in kinds)
    if isinstance(error, OSError) or ours or type(error).__name__.endswith(LOST):
        return f": {error}"
    return ""


LOST = ("ConnectionError", "TimeoutError", "OperationalError")


def withheld(value: Any) -> Any:
    """What a library says of something: numbers, addresses of servers and why a connection broke; nothing else."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, BaseException):
        return f"{name_of(type(value))}{reason(value)}"
    if isinstance(value, str) and SERVER.fullmatch(value):
        return value
    return f"<{type(value).__name__}>"


SERVER = re.compile(r"[a-z][a-z0-9+.-]*://\S{1,200}|[\w.-]+@[\w.-]+")
