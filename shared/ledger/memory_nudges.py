"""What `lua/nudge.lua` does to the hint in a record's header, for the ledger's twin in memory."""

from __future__ import annotations


def joined(old_hint: str, nudge: str) -> str:
    """The new hint, without forgetting what was learned of this attempt or of a later one."""
    at, attempt, task_id = nudge.split(":")
    _, old_attempt, old_task_id = ("", "0", "") if old_hint == "-" else old_hint.split(":")
    if int(old_attempt) > int(attempt) or (old_attempt == attempt and not task_id):
        attempt, task_id = old_attempt, old_task_id
    return f"{at}:{attempt}:{task_id}"


def is_strange(tasks: str, nudge: str) -> bool:
    """Whether a callback is about an attempt that nobody wrote down, or names another task than its attempt has."""
    _, attempt, parts = nudge.split(":")
    known = dict(pair.split(":") for pair in tasks.split(",") if pair != "-")
    return attempt not in known or (bool(parts and known[attempt]) and known[attempt] != parts.partition(",")[0])


def same(hint: str, old_hint: str) -> bool:
    """Whether two hints say the same, whenever they came."""
    return hint.partition(":")[2] == old_hint.partition(":")[2]
