"""JSON as short as it can be said, by a library that says it in a tenth of the time (measured 2026-11)."""

from __future__ import annotations

import json
from typing import Any

import orjson

THOROUGH = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def compact(value: Any) -> str:
    """The text; half a surrogate pair, which JSON may hold and UTF-8 may not, stands in it as JSON's own escape."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # that, or a number of more than 64 bits
        return THOROUGH.encode(value).encode("utf-8", "backslashreplace").decode()
