"""What `lua/nudge.lua` does to the hint in a record's header, for the ledger's twin in memory."""

from __future__ import annotations


def joined(held: str, nudge: str) -> str:
    """The new hint, without forgetting what was learned of this attempt or of a later one."""
    at, attempt, task_id = nudge.split(":")
    _, held_attempt, held_task_id = ("", "0", "") if held == "-" else held.split(":")
    if int(held_attempt) > int(attempt) or (held_attempt == attempt and not task_id):
        attempt, task_id = held_attempt, held_task_id
    return f"{at}:{attempt}:{task_id}"


def is_strange(tasks: str, nudge: str) -> bool:
    """Whether a callback is about an attempt that nobody wrote down, or names another task than its attempt has."""
    _, attempt, told = nudge.split(":")
    known = dict(pair.split(":") for pair in tasks.split(",") if pair != "-")
    return attempt not in known or (bool(told and known[attempt]) and known[attempt] != told.partition(",")[0])


def same(hint: str, held: str) -> bool:
    """Whether two hints say the same, whenever they came."""
    return hint.partition(":")[2] == held.partition(":")[2]
