"""The billing database of the gateways: tasks, bills, callbacks and violations, in one SQLite file.

Crash tests compare Rushes with this database, so it must hold whatever a gateway has answered. Each method is one
transaction. In WAL mode with `synchronous=NORMAL` a commit survives a kill -9 of the process, not always a power loss.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from rushes.deploy.sandbox.gateways.billing_tables import SCHEMA
from rushes.deploy.sandbox.gateways.request_rules import Refusal

PENDING_SHARE = 0.15  # share of a task's time in the queue
# A forged callback is sent after this share of a task's time, and after this long at the latest.
FORGED_SHARE, FORGED_MAX_S = 0.3, 2.0


@dataclass(frozen=True, slots=True)
class Clip:
    """What the finished task shows: the stored reference image `picture`, or without one the landscape `mood`."""

    seconds: float
    width: int
    height: int
    picture: str | None = None
    landscape: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """One accepted submit; its state follows from the clock alone, so a restart changes nothing."""

    gateway: str
    id: str
    api_key: str
    body: Mapping[str, Any]
    clip: Clip
    usd: Decimal
    accepted_at: float
    takes_s: float
    idempotency_key: str | None = None
    fate: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ends_at(self) -> float:
        return self.accepted_at + self.takes_s

    @property
    def shown_at(self) -> float:
        """From when on a query finds it."""
        return float(self.fate.get("shown_at", 0))

    def state(self, now: float) -> str:
        """pending, processing, completed or failed."""
        if now >= self.ends_at:
            return "failed" if "failed" in self.fate else "completed"
        return "pending" if now < self.accepted_at + self.takes_s * PENDING_SHARE else "processing"

    def progress(self, now: float) -> int:
        """0 to 100; 100 only at the end."""
        if now >= self.ends_at:
            return 100
        return min(99, max(0, int(100 * (now - self.accepted_at) / self.takes_s)))


@dataclass(frozen=True, slots=True)
class Callback:
    """A callback that is due: it was sent `tries` times, and `delivered` of them arrived."""

    id: int
    gateway: str
    task_id: str
    url: str
    forged: bool
    tries: int
    delivered: int


class Billing:
    """The database in the file at `path`; safe to use from any thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.executescript(SCHEMA)

    def _rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def _write(self, sql: str, *values: Any) -> None:
        with self._lock, self._db:
            self._db.execute(sql, values)

    def secret(self) -> bytes:
        """The key that signs links: made once, the same after a restart."""
        self._write("INSERT OR IGNORE INTO meta VALUES ('secret', ?)", secrets.token_hex(32))
        return bytes.fromhex(self._rows("SELECT value FROM meta WHERE name = 'secret'")[0]["value"])

    # -- tasks and bills

    def accept(self, task: Task, callbacks: Iterable[tuple[str, bool, float]] = ()) -> tuple[Task, bool]:
        """Record task, bill and callbacks at once; returns the task, and whether its key came before.

        A callback is `(url, forged, seconds after which it is due)`. Raises Refusal (409) where the
        idempotency key came with another body.
        """
        with self._lock, self._db:
            first = self._first(task.gateway, task.api_key, task.idempotency_key, task.body)
            if first:
                return first, True
            self._db.execute(
                "INSERT INTO tasks VALUES (:gateway, :id, :api_key, :body, :clip, :usd, :accepted_at, :takes_s,"
                " :idempotency_key, :fate)",
                _columns(task),
            )
            self._db.execute(
                "INSERT INTO bills (gateway, task_id, usd, at) VALUES (?, ?, ?, ?)",
                (task.gateway, task.id, str(task.usd), task.accepted_at),
            )
            self._db.executemany(
                "INSERT INTO callbacks (gateway, task_id, url, forged, due_at) VALUES (?, ?, ?, ?, ?)",
                [
                    (task.gateway, task.id, url, forged, task.accepted_at + after_s)
                    for url, forged, after_s in callbacks
                ],
            )
        return task, False

    def first(self, gateway: str, api_key: str, idempotency_key: str | None, body: Mapping[str, Any]) -> Task | None:
        """The task that this key brought before, if any; raises Refusal (409) where it came with another body."""
        if idempotency_key is None:
            return None
        with self._lock:
            return self._first(gateway, api_key, idempotency_key, body)

    def _first(self, gateway: str, api_key: str, idempotency_key: str | None, body: Mapping[str, Any]) -> Task | None:
        row = self._db.execute(
            "SELECT * FROM tasks WHERE gateway = ? AND api_key = ? AND idempotency_key = ?",
            (gateway, api_key, idempotency_key),
        ).fetchone()
        if row and json.loads(row["body"]) != body:
            raise Refusal(409, "the idempotency key came before with another body", "idempotency_conflict")
        return _task(row) if row else None

    def task(self, gateway: str, task_id: str) -> Task | None:
        """The task of that id, if the gateway has one."""
        rows = self._rows("SELECT * FROM tasks WHERE gateway = ? AND id = ?", gateway, task_id)
        return _task(rows[0]) if rows else None

    def by_key(self, gateway: str, api_key: str, key: str) -> Task | None:
        """The task of that key of a client's, if the gateway has one."""
        sql = "SELECT * FROM tasks WHERE gateway = ? AND api_key = ? AND idempotency_key = ?"
        rows = self._rows(sql, gateway, api_key, key)
        return _task(rows[0]) if rows else None

    def tasks(self, gateway: str = "", since: float = 0) -> list[Task]:
        """Every task that was accepted since then, oldest first."""
        sql = "SELECT * FROM tasks WHERE ? IN ('', gateway) AND accepted_at >= ? ORDER BY accepted_at"
        return [_task(row) for row in self._rows(sql, gateway, since)]

    def bills(self, gateway: str = "", since: float = 0) -> list[dict[str, Any]]:
        """Every bill that was written since then, oldest first: one for each accepted submit."""
        sql = "SELECT gateway, task_id, usd, at FROM bills WHERE ? IN ('', gateway) AND at >= ? ORDER BY id"
        return [dict(row) for row in self._rows(sql, gateway, since)]

    # -- accounts

    def spent_usd(self, gateway: str, api_key: str) -> Decimal:
        """What an account was billed so far."""
        sql = "SELECT bills.usd FROM bills JOIN tasks ON tasks.gateway = bills.gateway AND tasks.id = bills.task_id"
        rows = self._rows(f"{sql} WHERE tasks.gateway = ? AND tasks.api_key = ?", gateway, api_key)
        return sum((Decimal(row["usd"]) for row in rows), Decimal(0))

    def set_balance(self, gateway: str, api_key: str, usd: Decimal) -> None:
        """Leave so much on an account: a top-up, or an account that has run dry."""
        credit = str(self.spent_usd(gateway, api_key) + usd)
        self._write("INSERT OR REPLACE INTO accounts VALUES (?, ?, ?)", gateway, api_key, credit)

    def balance_usd(self, gateway: str, api_key: str) -> Decimal | None:
        """What is left on an account, None where that was never set."""
        rows = self._rows("SELECT credit_usd FROM accounts WHERE gateway = ? AND api_key = ?", gateway, api_key)
        return Decimal(rows[0]["credit_usd"]) - self.spent_usd(gateway, api_key) if rows else None

    # -- callbacks

    def claim(self, now: float, lease_s: float, limit: int) -> list[Callback]:
        """The callbacks that are due, put off by the lease: one whose sender dies comes due again."""
        with self._lock, self._db:
            rows = self._db.execute(
                "UPDATE callbacks SET due_at = ? WHERE id IN"
                " (SELECT id FROM callbacks WHERE due_at <= ? ORDER BY due_at LIMIT ?)"
                " RETURNING id, gateway, task_id, url, forged, tries, delivered",
                (now + lease_s, now, limit),
            ).fetchall()
        return [Callback(**{**dict(row), "forged": bool(row["forged"])}) for row in rows]

    def next_callback_at(self) -> float | None:
        """When the next callback is due."""
        at: float | None = self._rows("SELECT min(due_at) AS at FROM callbacks")[0]["at"]
        return at

    def record_delivery(self, callback: Callback, at: float, outcome: int | str, due_at: float | None) -> None:
        """Record one try: the HTTP status or the error, and when the next try is due, if there is one."""
        arrived = isinstance(outcome, int) and 200 <= outcome < 300
        with self._lock, self._db:
            self._db.execute(
                "UPDATE callbacks SET due_at = ?, tries = tries + 1, delivered = delivered + ? WHERE id = ?",
                (due_at, arrived, callback.id),
            )
            self._db.execute(
                "INSERT INTO deliveries VALUES (?, ?, ?, ?, ?, ?)",
                (callback.gateway, callback.task_id, callback.url, callback.forged, at, str(outcome)),
            )

    def deliveries(self, since: float = 0) -> list[dict[str, Any]]:
        """Every callback that was sent since then, with its outcome, oldest first."""
        rows = self._rows("SELECT * FROM deliveries WHERE at >= ? ORDER BY rowid", since)
        return [{**dict(row), "forged": bool(row["forged"])} for row in rows]

    # -- faults and violations

    def store_faults(self, faults: Iterable[Mapping[str, Any]]) -> None:
        """Keep the armed faults over a restart."""
        with self._lock, self._db:
            self._db.execute("DELETE FROM faults")
            self._db.executemany("INSERT INTO faults VALUES (?)", [(json.dumps(fault),) for fault in faults])

    def stored_faults(self) -> list[dict[str, Any]]:
        """The faults that were armed when the process ended, in their order."""
        return [json.loads(row["fault"]) for row in self._rows("SELECT fault FROM faults ORDER BY rowid")]

    def note_violation(self, gateway: str, at: float, call: str, problem: str, body: str) -> None:
        """Keep a request that broke a gateway's rules; `call` is its method and path."""
        self._write("INSERT INTO violations VALUES (?, ?, ?, ?, ?)", gateway, at, call, problem, body)

    def violations(self, gateway: str = "", since: float = 0) -> list[dict[str, Any]]:
        """Every request that broke a rule since then, oldest first."""
        sql = "SELECT * FROM violations WHERE ? IN ('', gateway) AND at >= ? ORDER BY rowid"
        return [dict(row) for row in self._rows(sql, gateway, since)]


def _columns(task: Task) -> dict[str, Any]:
    clip = [task.clip.seconds, task.clip.width, task.clip.height, task.clip.picture, task.clip.landscape]
    return {
        "gateway": task.gateway,
        "id": task.id,
        "api_key": task.api_key,
        "body": json.dumps(task.body, ensure_ascii=False),
        "clip": json.dumps(clip),
        "usd": str(task.usd),
        "accepted_at": task.accepted_at,
        "takes_s": task.takes_s,
        "idempotency_key": task.idempotency_key,
        "fate": json.dumps(task.fate),
    }


def _task(row: sqlite3.Row) -> Task:
    columns = dict(row)
    return Task(
        **{
            **columns,
            "body": json.loads(columns["body"]),
            "clip": Clip(*json.loads(columns["clip"])),
            "usd": Decimal(columns["usd"]),
            "fate": json.loads(columns["fate"]),
        }
    )
