"""Each safeguard can be taken away here, so that the suite can show that it would be missed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from parts import patched
from scenarios import SCENARIOS, broken, effects

from rushes.shared import credentials
from rushes.shared.domain import events, schedule
from rushes.shared.domain.bulk import Bulk
from rushes.shared.domain.job import AttemptStatus, State
from rushes.shared.domain.transitions import TABLE
from rushes.shared.ledger import ledger as ledger_module
from rushes.shared.ledger import writes
from rushes.shared.ledger.bulk_actions import BulkActions
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.operations import bulk as bulk_operations
from rushes.shared.services import Services
from rushes.shared.storage.archive import Archive
from rushes.shared.storage.journal import Journal
from rushes.worker import leases, own_id_query, repeated_calls, submit

Off = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class Safeguard:
    """What is taken away: lines of the programs in Lua, by program, and pieces of Python."""

    promise: str
    ground: tuple[str, str]
    """Where it is missed surely: a life, and what is done to each of its effects. `make test` goes there, too."""
    found: str
    """What is found wrong there, as a regular expression: that the product merely breaks proves nothing."""
    lua: tuple[tuple[str, str, str], ...] = ()
    off: Off = nullcontext


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
    with patched(*changes[0]), replaced(*changes[1:]):
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
    data = body if isinstance(body, bytes) else bytes(body.content())
    self._bucket.call(self._bucket.s3.put_object, Key=key, Body=data, ContentType=content_type, Metadata=dict(metadata))
    return True


def _any_token(keys: Any, provider: str, job_id: str, token: str) -> int:
    return int(token.partition("-")[0])


def _send_again(job: Any, event: Any, now: int, policy: Any) -> Any:
    """An answer that was lost is taken for a refusal."""
    lost = job.with_attempt(status=AttemptStatus.REJECTED, body=None)
    return replace(lost, state=State.QUEUED, due_at=now, tries=0)


def _takes_back(job: Any, event: Any, now: int, policy: Any) -> Any:
    """Whoever held an attempt back takes it back, although another may have sent it meanwhile."""
    return replace(job, state=State.QUEUED, attempts=job.attempts[:-1], due_at=now, tries=0, setbacks=0)


def _another_id(job: Any, services: Any) -> Any:
    """What is sent again is sent under an id of its own."""
    body = job.current.body
    options = {**body["options"], "external_task_id": "another"}
    return POST_AGAIN(job.with_attempt(body={**body, "options": options}), services)


def _not_asked(attempt: Any, key: str, services: Any) -> Any:
    return events.NotFound()


def _without_batch_budget(*given: Any) -> Any:
    return [gate for gate in GATES(*given) if gate[0] != "batch"]


GATES = ledger_module.gates


def _plan_unwritten(self: BulkActions, known: Bulk, job_ids: Any, cursor: str) -> Bulk:
    """The next jobs of a bulk action stand nowhere but in the worker."""
    return replace(known, cursor=cursor, planned=tuple(job_ids))


def _advance_unplanned(self: BulkActions, known: Bulk, job_id: str, outcome: str) -> Bulk:
    after = known.after(job_id, outcome)
    self._change(known.id, lambda _: replace(after, planned=()))
    return after


def _without_key(job: Any, services: Any, now: int, key: str | None = None) -> Any:
    """What is retried again is retried anew."""
    return RETRY(job, services, now)


RETRY = bulk_operations.retry


def _line_unknown(into: Any, job_id: str, change: Any) -> None:
    """The job is put into its line, and nobody is told of the line."""
    WRITE_LANES(into, job_id, change)
    into.commands = [command for command in into.commands if command[2] not in ("LT", "NX")]


WRITE_LANES = writes._write_lanes


def _through_another(job: Any, services: Any) -> Any:
    """A lost answer moves: what is sent again goes through another account."""
    return REPEATED(job.with_attempt(account=_other(job.current.account)), services)


def _another_key(self: Any, provider: str, attempt: Any = None) -> Any:
    """A gateway is asked with the key of another account."""
    gateway = self.settings.gateways[provider]
    if attempt is None or len(gateway.accounts) == 1:
        return ACCESS(self, provider, attempt)
    return gateway.access(gateway.account(_other(attempt.account)), attempt.base_url)


def _other(account: str) -> str:
    return "b" if account == "default" else "default"


REPEATED, ACCESS = repeated_calls.post_again, Services.access
POST_AGAIN = own_id_query.post_again
LEASE = (
    (
        "open_tickets",
        "if not score or tonumber(score) ~= tonumber(lease) then return false end",
        "",
    ),
)
VERSION = (("commit", "if version ~= ARGV[1] then return {'conflict', old} end", ""),)
OPERATION = (
    ("commit", "if operation == ARGV[2] then return {'done'} end", ""),
    ("open_tickets", "if last_operation == operation then return old end", ""),
)

TWICE_PAID = "is paid for and not in the ledger"
FOR_NOTHING = "submit_unconfirmed.* for no cause"

SAFEGUARDS: dict[str, Safeguard] = {
    "lease check": Safeguard(
        "a ticket opens a door once, and only while its lease lasts",
        ("every message twice", "lost"),
        "order-0 is lost",
        LEASE,
    ),
    "version guard": Safeguard(
        "what was decided on an older version is decided anew",
        ("polled", "freeze"),
        "went back from version",
        VERSION,
    ),
    "operation id": Safeguard(
        "a call whose answer was lost is sent again and done once", ("polled", "lost"), FOR_NOTHING, OPERATION
    ),
    "write before POST": Safeguard(
        "a paid call is in the ledger before it is sent",
        ("polled", "lost"),
        "was not written down before",
        off=lambda: replaced((submit, "record_attempts", _not_written)),
    ),
    "journal before POST": Safeguard(
        "a paid call is in the bucket before it is sent",
        ("polled", "lost"),
        "is not in the journal",
        off=lambda: replaced((Journal, "record_intents", lambda *_: None)),
    ),
    "conditional create": Safeguard(
        "what stands in the bucket is never written again",
        ("polled", "lost"),
        "video.mp4 was written 2 times",
        off=lambda: replaced((Archive, "_put", _overwrites)),
    ),
    "token check": Safeguard(
        "a callback is let in by its token alone",
        ("answer lost, forged, called back", "lost"),
        "is known as theirs",
        off=lambda: replaced((credentials, "read_token", _any_token)),
    ),
    "doubt": Safeguard(
        "a submit whose answer was lost is not sent again",
        ("polled", "lost"),
        TWICE_PAID,
        off=lambda: mended(TABLE, {(State.SUBMITTING, events.Lost): _send_again}),
    ),
    "asked again": Safeguard(
        "an attempt that another may have sent meanwhile is not taken back",
        ("answer lost, asked again in vain", "freeze"),
        TWICE_PAID,
        off=lambda: mended(TABLE, {(State.UNCONFIRMED, events.Withdrawn): _takes_back}),
    ),
    "same id": Safeguard(
        "what is sent again is sent under the same id",
        ("answer lost, shown late", "lost"),
        "was paid for already",
        off=lambda: replaced((own_id_query, "post_again", _another_id)),
    ),
    "same account": Safeguard(
        "a lost answer never moves to another account",
        ("answer lost, asked again", "lost"),
        "was paid for already",
        off=lambda: replaced((repeated_calls, "post_again", _through_another)),
    ),
    "own key": Safeguard(
        "a gateway is never asked for a task with another account's key",
        ("polled", "lost"),
        "is asked for with another account's key",
        off=lambda: replaced((Services, "access", _another_key)),
    ),
    "asked first": Safeguard(
        "nothing is sent again that was not asked for before",
        ("answer lost, shown late", "lost"),
        "is sent again, and was not asked for",
        off=lambda: replaced((own_id_query, "query_by_key", _not_asked)),
    ),
    "asked to the last": Safeguard(
        "what is not known at first may still show",
        ("answer lost, shown late", "lost"),
        "input_rejected.* for no cause",
        off=lambda: replaced((schedule, "NOT_FOUND_ANSWERS", 1), (schedule, "not_taken_at", lambda *_: 0)),
    ),
    "batch budget": Safeguard(
        "no submit brings a batch over its budget",
        ("a batch over its budget", "lost"),
        "brings batch-0 over its budget",
        off=lambda: replaced((ledger_module, "gates", _without_batch_budget)),
    ),
    "batch key": Safeguard(
        "a batch that is asked for again is made once",
        ("a batch over its budget", "die after"),
        "was taken twice",
        (("create_batch", "if first then return first end", ""),),
    ),
    "bulk plan": Safeguard(
        "a bulk action writes its next jobs down before it acts on them",
        ("a bulk cancel", "die after"),
        "the bulk action counts",
        off=lambda: replaced((BulkActions, "plan", _plan_unwritten), (BulkActions, "advance", _advance_unplanned)),
    ),
    "bulk key": Safeguard(
        "a job that a bulk action retries is retried once",
        ("a bulk retry", "die after"),
        "was retried twice|acted twice",
        off=lambda: replaced((bulk_operations, "retry", _without_key)),
    ),
    "known line": Safeguard(
        "a line with a job is known to the claim",
        ("polled", "lost"),
        "stuck: .*'queued'",
        off=lambda: replaced((writes, "_write_lanes", _line_unknown)),
    ),
    "heartbeat": Safeguard(
        "a worker that lives keeps what it holds",
        ("refused, then the next", "slow"),
        FOR_NOTHING,
        off=lambda: replaced((leases.Lease, "renew", lambda *_: None)),
    ),
}


def missed(safeguard: Safeguard, fresh: Callable[[], Any]) -> str:
    """What is found wrong first on its ground without a safeguard, and where; empty where nothing is."""
    with safeguard.off():
        for where, run in _ground(safeguard, fresh):
            try:
                run()
            except AssertionError as violation:
                wrong = next(line for line in str(violation).splitlines() if not line.startswith("seed"))
                if re.search(safeguard.found, wrong):
                    return f"{where}: {wrong}"
                raise
    return ""


def _ground(safeguard: Safeguard, fresh: Callable[[], Any]) -> Iterator[tuple[str, Callable[[], object]]]:
    """The life as it is, and with the fault at each of its effects."""
    name, mode = safeguard.ground
    lived: list[str] = []
    yield f"{name}, without a fault", lambda: lived.extend(effects(SCENARIOS[name], fresh()))
    for at, effect in enumerate(lived):
        yield (
            f"{name}, {mode} at effect {at} ({effect})",
            lambda at=at: broken(SCENARIOS[name], fresh(), at, mode),  # type: ignore[misc]
        )
