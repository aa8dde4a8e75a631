"""Each safeguard can be taken away here, so that the suite can show that it would be missed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from parts import swapped
from scenarios import SCENARIOS, broken, effects
from seeds import play

from shared import tokens
from shared.archive import Archive
from shared.domain import events
from shared.domain.job import AttemptStatus, State
from shared.domain.transitions import TABLE
from shared.journal import Journal
from shared.ledger.memory import MemoryStore
from shared.ledger.redis_store import RedisStore
from worker import heartbeat, submitting

Off = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class Safeguard:
    """What is taken away: lines of the programs in Lua, by program, and pieces of Python."""

    promise: str
    lua: tuple[tuple[str, str, str], ...] = ()
    off: Off = nullcontext
    ground: tuple[str, str] = ("", "")
    """Where it is missed surely: a scenario, and what is done to each of its effects; seeds where there is none."""


def doctored(store: RedisStore, safeguard: Safeguard) -> RedisStore:
    """A store whose programs lack these lines; a line that is not there any more is an error of this table."""
    for program, line, instead in safeguard.lua:
        source = str(store._scripts[program].script)
        assert line in source, f"{program}.lua has no line {line!r}"
        store._scripts[program] = store._client.register_script(source.replace(line, instead))
    return store


@contextmanager
def replaced(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    """Pieces of Python replaced for a while."""
    if not changes:
        yield
        return
    with swapped(*changes[0]), replaced(*changes[1:]):
        yield


@contextmanager
def mended(table: dict[Any, Any], changes: Mapping[Any, Any]) -> Iterator[None]:
    """Rows of a table replaced for a while."""
    held = {key: table[key] for key in changes}
    table.update(changes)
    try:
        yield
    finally:
        table.update(held)


def _not_written(plans: Any, services: Any) -> Any:
    """The attempts are made up and not written down."""
    changes = [{"state": State.SUBMITTING, "attempts": (*plan.job.attempts, plan.attempt)} for plan in plans]
    return [replace(plan, job=replace(plan.job, **change)) for plan, change in zip(plans, changes, strict=True)]


def _overwrites(self: Any, key: str, body: Any, content_type: str, metadata: Any) -> bool:
    """PutObject without its condition."""
    data = body if isinstance(body, bytes) else body.whole()
    self._ask(self._s3.put_object, Key=key, Body=data, ContentType=content_type, Metadata=dict(metadata))
    return True


def _any_token(keys: Any, provider: str, job_id: str, token: str) -> int:
    return int(token.partition("-")[0])


def _send_again(job: Any, event: Any, now: int, pace_: Any) -> Any:
    """An answer that was lost is taken for a refusal."""
    lost = job.with_attempt(status=AttemptStatus.REJECTED, body=None)
    return replace(lost, state=State.QUEUED, due_at=now, tries=0)


LEASE = (
    (
        "begin",
        "if not score or tonumber(score) ~= tonumber(lease) then return false end",
        "",
    ),
)
VERSION = (("commit", "if version ~= ARGV[1] then return {'conflict', old} end", ""),)
OPERATION = (
    ("commit", "if operation == ARGV[2] then return {'done'} end", ""),
    ("begin", "if held == operation then return old end", ""),
)
GATE = (("commit", "if not score or tonumber(score) ~= gate[4] then return {'shut', kind, ''} end", ""),)

SAFEGUARDS: dict[str, Safeguard] = {
    "lease check": Safeguard("a ticket opens a door once, and only while its lease lasts", LEASE),
    "version guard": Safeguard("what was decided on an older version is decided anew", VERSION),
    "operation id": Safeguard(
        "a call whose answer was lost is sent again and done once", OPERATION, ground=("polled", "lost")
    ),
    "write before POST": Safeguard(
        "a paid call is in the ledger before it is sent", off=lambda: replaced((submitting, "engaged", _not_written))
    ),
    "journal before POST": Safeguard(
        "a paid call is in the bucket before it is sent",
        off=lambda: replaced((Journal, "intend", lambda *_: None)),
    ),
    "conditional create": Safeguard(
        "what stands in the bucket is never written again", off=lambda: replaced((Archive, "_put", _overwrites))
    ),
    "token check": Safeguard(
        "a callback is let in by its token alone", off=lambda: replaced((tokens, "attempt_of", _any_token))
    ),
    "doubt": Safeguard(
        "a submit whose answer was lost is not sent again",
        off=lambda: mended(TABLE, {(State.SUBMITTING, events.Lost): _send_again}),
    ),
    "heartbeat": Safeguard(
        "a worker that lives keeps what it holds",
        off=lambda: replaced((heartbeat.Hold, "renew", lambda *_: None)),
        ground=("refused, then the next", "slow"),
    ),
}


def hunted(safeguard: Safeguard, doctored_store: Callable[[], RedisStore], most: int) -> str:
    """What is found wrong first without a safeguard, and where; empty where nothing is."""
    fresh: Callable[[], Any] = doctored_store if safeguard.lua else MemoryStore
    with safeguard.off():
        for where, run in _grounds(safeguard, fresh, most):
            try:
                run()
            except AssertionError as violation:
                return f"{where}: {next(line for line in str(violation).splitlines() if not line.startswith('seed'))}"
    return ""


def _grounds(safeguard: Safeguard, fresh: Callable[[], Any], most: int) -> Iterator[tuple[str, Callable[[], object]]]:
    name, mode = safeguard.ground
    if not name:
        for seed in range(most):
            yield f"seed {seed}", lambda seed=seed: play(seed, fresh())  # type: ignore[misc]
        return
    for at, effect in enumerate(effects(SCENARIOS[name], fresh())):
        yield (
            f"{name}, {mode} at effect {at} ({effect})",
            lambda at=at: broken(SCENARIOS[name], fresh(), at, mode),  # type: ignore[misc]
        )
