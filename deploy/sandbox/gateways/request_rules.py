"""The fields that the documents of a gateway allow in a body, and the check of a body against them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

Kinds = tuple[type, ...]

NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "object", list: "array"}


class Refusal(Exception):
    """The gateway refuses, in its own error format; `slug` is its word for the kind of error.

    `http` is the status of the response where it differs from the one in the body.
    """

    def __init__(
        self,
        status: int,
        message: str,
        slug: str = "",
        param: str = "",
        headers: Mapping[str, str] | None = None,
        http: int = 0,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.slug, self.param = status, message, slug, param
        self.headers, self.http = headers or {}, http


@dataclass(frozen=True, slots=True)
class BrokenRule:
    """A rule that a body breaks: where, and what is wrong."""

    param: str
    message: str


@dataclass(frozen=True, slots=True)
class Field:
    """The rules of one field; `fields` are those of an object, `items` applies to each entry of an array."""

    kind: type | Kinds = str
    required: bool = False
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    longest: int | None = None
    is_url: bool = False
    fields: Mapping[str, Field] = field(default_factory=dict)
    items: Field | None = None

    @property
    def kinds(self) -> Kinds:
        return self.kind if isinstance(self.kind, tuple) else (self.kind,)


NUMBER = (int, float)
URL = Field(is_url=True)
WATERMARK = Field(dict, fields={"enabled": Field(bool)})


def check(body: Mapping[str, Any], fields: Mapping[str, Field], at: str = "") -> Iterator[BrokenRule]:
    """Every rule of the table that the body breaks, in the table's order; unknown fields last."""
    for name, rule in fields.items():
        if name in body:
            yield from _value(body[name], rule, at + name)
        elif rule.required:
            yield BrokenRule(at + name, f"{at}{name} is required")
    for name in body.keys() - fields.keys():
        yield BrokenRule(at + name, f"{at}{name} is not a field of this call")


def _value(value: Any, rule: Field, at: str) -> Iterator[BrokenRule]:
    if not _is(value, rule.kinds):
        kinds = " or ".join(NAMES[kind] for kind in rule.kinds)
        yield BrokenRule(at, f"{at} must be {kinds}, got {NAMES.get(type(value), 'null')}")
        return
    yield from (BrokenRule(at, f"{at} {problem}") for problem in _problems(value, rule))
    if isinstance(value, dict):
        yield from check(value, rule.fields, f"{at}.")
    if isinstance(value, list) and rule.items:
        for n, item in enumerate(value):
            yield from _value(item, rule.items, f"{at}[{n}]")


def _is(value: Any, kinds: Kinds) -> bool:
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def _problems(value: Any, rule: Field) -> Iterator[str]:
    if rule.choices and value not in rule.choices:
        yield f"must be one of {', '.join(map(str, rule.choices))}, got {value!r}"
    if rule.low is not None and value < rule.low:
        yield f"must be at least {rule.low}, got {value}"
    if rule.high is not None and value > rule.high:
        yield f"must be at most {rule.high}, got {value}"
    if rule.longest is not None and len(value) > rule.longest:
        yield f"is longer than {rule.longest}"
    if rule.is_url and isinstance(value, str) and urlsplit(value).scheme not in ("http", "https"):
        yield f"must be a public http(s) URL, got {value!r}"
