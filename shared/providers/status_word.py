"""Finds the word for the state of a task in a response, wherever it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rushes.shared.providers.reading import text_at

NAMES = ("status", "state", "task_status", "taskStatus")
# The objects in which some gateways have the task, or their vendor's own response.
TASK_NAMES = ("task", "output", "task_info", "data", "result", "response")
# The names of the word in a state that is an object.
WORD_NAMES = ("status", "state", "name", "value", "code")


def status_word(payload: Mapping[str, Any], *first_names: str) -> str | None:
    """The first word; a number only if there is no word. The task's own object comes before the envelope."""
    number = None
    for holder in _holders(payload):
        for name in (*first_names, *NAMES):
            value = holder.get(name)
            if isinstance(value, list) and len(value) == 1:
                value = value[0]
            text = text_at(value, *WORD_NAMES) if isinstance(value, dict) else text_at({name: value}, name)
            if text and not text.strip().isdecimal():
                return text
            number = number or text
    return number


def _holders(payload: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    data = payload.get("data")
    task = data[0] if isinstance(data, list) and data else data
    for outer in (task, payload):
        if isinstance(outer, dict):
            inner = list(_inside(outer, 2 if outer is payload else 1))
            yield from (outer, *inner) if outer is not payload else (*inner, outer)


def _inside(outer: Mapping[str, Any], depth: int) -> Iterator[Mapping[str, Any]]:
    """The objects in which the task may be, in that object and in each of them."""
    inner = [value for name in TASK_NAMES if isinstance(value := outer.get(name), dict)]
    yield from inner
    for value in inner if depth > 1 else ():
        yield from _inside(value, depth - 1)
