"""The query parameters of a list."""

from __future__ import annotations

import re

from flask import request

from rushes.shared.intake.intake import Unacceptable

PAGE, PAGE_MAX = 20, 100


def query_value(name: str) -> str:
    """The value of a query parameter; empty where it is missing."""
    return request.args.get(name, "")


def page_size() -> int:
    """The value of `limit`; raises Unacceptable 422."""
    text = query_value("limit") or str(PAGE)
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= PAGE_MAX:
        raise bad_query("limit", f"Not a number from 1 to {PAGE_MAX}.")
    return int(text)


def bad_query(field: str, problem: str) -> Unacceptable:
    """The 422 that names a parameter."""
    return Unacceptable("invalid_request", f"The query does not fit: {field}.", 422, {field: [problem]})
