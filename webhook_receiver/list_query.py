"""What the query of a list says."""

from __future__ import annotations

import re

from flask import request

from rushes.shared.intake.intake import Unacceptable

PAGE, PAGE_MAX = 20, 100


def asked(name: str) -> str:
    """What the query says; empty where it says nothing."""
    return request.args.get(name, "")


def page_size() -> int:
    """How many are asked for; raises Unacceptable 422."""
    text = asked("limit") or str(PAGE)
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= PAGE_MAX:
        raise bad_query("limit", f"Not a number from 1 to {PAGE_MAX}.")
    return int(text)


def bad_query(field: str, problem: str) -> Unacceptable:
    """The 422 that names a parameter."""
    return Unacceptable("invalid_request", f"The query does not fit: {field}.", 422, {field: [problem]})
