"""JSON as short as it can be said, by a library that says it in a tenth of the time (measured 2026-11)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson


def compact(value: Any, default: Callable[[Any], Any] | None = None) -> str:
    """The text; half a surrogate pair, which JSON may hold and UTF-8 may not, stands in it as JSON's own escape.

    `default` says what to write for what JSON has no word for; without it that is a TypeError.
    """
    try:
        return orjson.dumps(value, default=default).decode()
    except TypeError:  # that, or a number of more than 64 bits
        text = json.dumps(value, default=default, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "backslashreplace").decode()
