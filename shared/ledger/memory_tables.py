"""Plain tables in memory with what the ledger asks of them without a program: reads, counters, the wake-up."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rushes.shared.ledger import keys
from rushes.shared.ledger.store import IdempotencyEntry


class MemoryTables:
    """Strings, hashes, sets and sorted sets, as Redis has them; one caller at a time."""

    def __init__(self) -> None:
        self.strings: dict[str, str] = {}
        self.zsets: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self.hashes: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self.sets: defaultdict[str, set[str]] = defaultdict(set)
        self.bell = threading.Event()

    def _write(self, names: Sequence[str], commands: Sequence[Sequence[Any]], first_key: int) -> None:
        for command, number, *arguments in commands:
            if command == "SETTLE":
                charged, (turns, tenants, *settled) = number, arguments
                places = [names[place - first_key] for place in (charged, turns, tenants)]
                self._settle(*places, *settled)
            elif command != "WHEN":
                self._command(command, names[number - first_key], arguments)
            elif self.hashes[names[number - first_key]].get(arguments[0]) == arguments[1]:
                self._write(names, [arguments[2]], first_key)

    def _settle(self, charged: str, turns: str, tenants: str, job_id: str, tenant: str, cost: int) -> None:
        had = self.hashes[charged].pop(job_id, None)
        if had is None:
            return
        share = int(self.hashes[tenants].get(tenant, "1000:").partition(":")[0])
        by = -(-cost * 1000 // share) - -(-int(had) * 1000 // share)
        if tenant in self.zsets[turns]:
            self.zsets[turns][tenant] += by

    def _command(self, command: str, key: str, arguments: Sequence[Any]) -> None:
        does: dict[str, Callable[[], Any]] = {
            "ZADD": lambda: self._add(key, arguments),
            "ZREM": lambda: self.zsets[key].pop(arguments[0], None),
            "LIST": lambda: self._add(key, (0, *arguments)),
            "UNLIST": lambda: self.zsets[key].pop(arguments[0], None),
            "SADD": lambda: self.sets[key].update(arguments),
            "HSET": lambda: self.remember(key, {arguments[0]: arguments[1]}),
            "HINCRBY": lambda: self._increase(key, *arguments),
            "HDEL": lambda: self.forget(key, arguments),
            "DEL": lambda: self._delete(key),
        }
        does[command]()

    def _delete(self, key: str) -> None:
        for table in (self.strings, self.zsets, self.hashes, self.sets):
            table.pop(key, None)

    def _add(self, key: str, arguments: Sequence[Any]) -> None:
        flag = arguments[0] if arguments[0] in ("LT", "NX") else ""
        pairs = arguments[bool(flag) :]
        for score, member in zip(pairs[::2], map(str, pairs[1::2]), strict=True):
            old = self.zsets[key].get(member)
            if old is None or not flag or (flag == "LT" and float(score) < old):
                self.zsets[key][member] = float(score)

    def _increase(self, key: str, field: str, step: int) -> None:
        self.hashes[key][field] = str(int(self.hashes[key].get(field, "0")) + int(step))

    def _drop_before(self, key: str, since: float) -> None:
        zset = self.zsets[key]
        for member in [member for member, score in zset.items() if score < since]:
            del zset[member]

    def _ripe(self, zset: Mapping[str, float], now: int) -> list[str]:
        return [job_id for _, job_id in sorted((at, job_id) for job_id, at in zset.items() if at <= now)]

    def records(self, job_ids: Sequence[str]) -> list[str | None]:
        return [self.strings.get(keys.record(job_id)) for job_id in job_ids]

    def newest(self, indexes: Sequence[str], limit: int, before: str, since: str = "") -> list[str]:
        listed = {job_id for name in indexes for job_id in self.zsets[name]}
        ids = {job_id for job_id in listed if since <= job_id and (not before or job_id < before)}
        return sorted(ids, reverse=True)[:limit]

    def oldest(self, indexes: Sequence[str], limit: int) -> list[str]:
        return sorted(job_id for name in indexes for job_id in self.zsets[name])[:limit]

    def sizes(self, indexes: Sequence[str]) -> list[int]:
        return [len(self.zsets[name]) for name in indexes]

    def index_names(self) -> list[str]:
        return sorted(self.sets[keys.INDEXES])

    def keep(self, key: str, value: str, seconds: int) -> bool:
        is_free = key not in self.strings
        self.strings.setdefault(key, value)
        return is_free

    def known_keys(self, entries: Sequence[IdempotencyEntry]) -> list[str]:
        return [self._known(entry) for entry in entries]

    def keep_key(self, entry: IdempotencyEntry) -> str:
        if first := self._known(entry):
            return first
        if not _is_over(entry.value, entry.since):
            self.hashes[keys.IDEMPOTENCY][entry.name] = entry.value
        return ""

    def _known(self, entry: IdempotencyEntry) -> str:
        first = self.strings.get(entry.earlier_key) or self.hashes[keys.IDEMPOTENCY].get(entry.name, "")
        return "" if _is_over(first, entry.since) else first

    def counters(self, key: str) -> Mapping[str, str]:
        return dict(self.hashes[key])

    def remember(self, key: str, values: Mapping[str, str | int]) -> None:
        self.hashes[key].update({name: str(value) for name, value in values.items()})

    def strike(self, key: str, values: Mapping[str, str | int]) -> int:
        self._increase(key, "strikes", 1)
        self.remember(key, values)
        return int(self.hashes[key]["strikes"])

    def increase(self, key: str, steps: Mapping[str, int]) -> None:
        for field, step in steps.items():
            self._increase(key, field, step)

    def forget(self, key: str, fields: Sequence[str]) -> None:
        for field in fields:
            self.hashes[key].pop(field, None)

    def move(self, source: str, target: str) -> None:
        self.zsets[target].update(self.zsets.pop(source, {}))

    def ripe(self, places: Sequence[tuple[str, int]], limit: int) -> list[list[tuple[str, int]]]:
        zsets = [(self.zsets[key], until) for key, until in places]
        return [[(job_id, int(zset[job_id])) for job_id in self._ripe(zset, until)[:limit]] for zset, until in zsets]

    def halve_counts(self, key: str, prefix: str, above: int) -> None:
        counts = {field: int(count) for field, count in self.hashes[key].items() if field.startswith(prefix)}
        if sum(counts.values()) <= above:
            return
        for field, count in counts.items():
            del self.hashes[key][field]
            if count > 1:
                self.hashes[key][field] = str(count // 2)

    def count_since(self, key: str, since: int) -> int:
        return sum(score >= since for score in self.zsets[key].values())

    def wake(self) -> None:
        self.bell.set()

    def listen(self, timeout_s: float) -> None:
        self.bell.wait(timeout_s)
        self.bell.clear()

    def check_writes(self) -> None:
        return None

    def time_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def server(self) -> str:
        return "memory"

    def page(self, name: str | None, cursor: int, count: int) -> tuple[int, list[str]]:
        prefix = keys.record("")
        ids = [key.removeprefix(prefix) for key in self.strings if key.startswith(prefix)]
        return 0, sorted(ids if name is None else self.zsets[name])

    def names(self, prefix: str, cursor: int, count: int) -> tuple[int, list[str]]:
        tables = (self.strings, self.zsets, self.hashes, self.sets)
        return 0, sorted(name for table in tables for name, held in table.items() if name.startswith(prefix) and held)

    def tally(self, key: str, indexes: Sequence[str]) -> tuple[Mapping[str, str], dict[str, int]]:
        return self.counters(key), dict(zip(indexes, self.sizes(indexes), strict=True))


def _is_over(value: str, since: str) -> bool:
    """Whether an idempotency key is forgotten, by the moment with which the id begins that it holds."""
    made = value.partition("_")[2][: len(since)]
    return len(made) == len(since) and made < since
