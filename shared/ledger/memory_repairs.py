"""The programs of the auditor in the ledger's twin in memory, as `lua/repair.lua` and `lua/remove_misplaced.lua`."""

from __future__ import annotations

from collections.abc import Mapping

from rushes.shared.ledger import keys
from rushes.shared.ledger.memory_tables import MemoryTables
from rushes.shared.ledger.store import ExpectedLine, ExpectedPlaces


def repair(tables: MemoryTables, expected: ExpectedPlaces, repair: bool) -> list[str]:
    """What is wrong with the entries of one job; put right only if `repair` is True."""
    if not _is_unmoved(tables, expected.job_id, expected.version):
        return []
    zsets, job_id = tables.zsets, expected.job_id
    places = [place for place in expected.places if job_id in zsets[place]]
    problems = {
        "unindexed": any(job_id not in zsets[name] for name in (expected.index, *expected.labels)),
        "nowhere": bool(expected.places) and not places,
        "twice": len(places) > 1,
        "unlined": _is_unlined(tables, expected, places),
    }
    if repair:
        _put_right(tables, expected, places, problems)
    return [name for name, is_so in problems.items() if is_so]


def remove_misplaced(tables: MemoryTables, name: str, job_id: str, version: int | None, repair: bool) -> bool:
    """Whether an entry is one that no record stands behind; removed only if `repair` is True."""
    if not _is_unmoved(tables, job_id, version) or job_id not in tables.zsets[name]:
        return False
    if repair:
        del tables.zsets[name][job_id]
    return True


def _is_unmoved(tables: MemoryTables, job_id: str, version: int | None) -> bool:
    old = tables.strings.get(keys.record(job_id))
    return (int(old.split(" ", 1)[0]) if old else None) == version


def _is_unlined(tables: MemoryTables, expected: ExpectedPlaces, places: list[str]) -> bool:
    line = expected.line
    if line is None or places[:1] != [expected.places[0]]:
        return False
    is_noted = line.priority in tables.hashes[line.lines].get(line.tenant, "") and _takes_turns(tables, line)
    is_known = line.name in tables.zsets[line.later] or is_noted
    return not is_known or tables.hashes[keys.QUEUED].get(expected.job_id) != line.ticket


def _takes_turns(tables: MemoryTables, line: ExpectedLine) -> bool:
    return line.tenant in tables.zsets[line.turns] or line.tenant in tables.zsets[line.capped]


def _put_right(tables: MemoryTables, expected: ExpectedPlaces, places: list[str], problems: Mapping[str, bool]) -> None:
    zsets, job_id = tables.zsets, expected.job_id
    if problems["unindexed"]:
        if job_id not in zsets[expected.index]:
            tables.sets[keys.INDEXES].add(expected.index)
        for name in (expected.index, *expected.labels):
            zsets[name][job_id] = 0.0
    if problems["nowhere"]:
        zsets[expected.places[0]][job_id] = float(expected.due_at)
        tables.bell.set()
    if (line := expected.line) and (problems["unlined"] or problems["nowhere"]):
        zsets[line.later][line.name] = min(float(expected.due_at), zsets[line.later].get(line.name, float("inf")))
        tables.hashes[keys.QUEUED][job_id] = line.ticket
        if not _takes_turns(tables, line):
            tables.hashes[line.lines].pop(line.tenant, None)
    for place in places[:-1]:
        del zsets[place][job_id]
