"""Where the simulation takes hold of the product. What changes there is followed here, and nowhere else."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from types import SimpleNamespace
from typing import Any, Protocol

import redis

from rushes.shared import services as services_module
from rushes.shared.domain import ids
from rushes.shared.intake.intake import Intake
from rushes.shared.ledger import keys, record, redis_store
from rushes.shared.ledger import ledger as ledger_module
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.ledger.tickets import Ticket
from rushes.shared.services import Services
from rushes.shared.storage.archive import Archive
from rushes.shared.storage.journal import Journal
from rushes.webhook_receiver import callback_counts
from rushes.webhook_receiver.app import create_app
from rushes.worker import leases, scheduler, steps, submit
from rushes.worker.scheduler import Scheduler
from rushes.worker.thread_pools import ThreadPools

ENVIRON = {
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "RUSHES_S3_BUCKET": "rushes-chaos",
    "RUSHES_SECRET_KEY": "a secret of the simulation",
    "RUSHES_API_KEYS": "acme:acme-key",
    "RUSHES_PUBLIC_URL": "https://rushes.example",
    "RUSHES_REQUESTS_PER_MINUTE": "100000",
    "RUSHES_POLL_FIRST_S": "3",
    "RUSHES_POLL_MAX_S": "30",
    "RUSHES_CALLBACK_GRACE_S": "20",
    "RUSHES_JOB_TIMEOUT_S": "1800",
    "RUSHES_RESULT_TTL_S": "7200",
    "RUSHES_RETENTION_S": "86400",
    **{f"{name}_BASE_URL": f"https://{name.lower()}.example" for name in ("APIMART", "NEWAPI", "APIMODELS")},
    **{f"{name}_API_KEY": "key" for name in ("APIMART", "NEWAPI", "APIMODELS")},
}
# A scheduler that sleeps until something is due: idle seconds of virtual time need no turns.
NAP_S = 600.0
READS = frozenset({"records", "newest", "sizes", "index_names", "counters", "heads", "count_since", "ping", "listen"})
# As in RedisStore: these are not sent again when their answer is lost.
ONCE = frozenset({"claim", "strike", "increase", "ping"})


class Stage(Protocol):
    """What the simulation offers to the parts."""

    now: int

    def effect(self, part: str, name: str, do: Callable[[], Any], refused: Exception, lost: Exception) -> Any: ...

    def sleep(self, seconds: float) -> None: ...

    def wait(self) -> None: ...

    def home(self) -> str: ...

    def broke(self, what: str) -> None: ...

    def bits(self, count: int) -> int: ...


class Line:
    """The way to a store: each call is an effect, and is sent again as RedisStore does when its answer is lost."""

    def __init__(self, store: Any, stage: Stage) -> None:
        self.store, self._stage = store, stage
        self.calling = ""

    def __getattr__(self, name: str) -> Any:
        call = getattr(self.store, name)
        if not callable(call):
            return call

        def reach(*arguments: Any, **named: Any) -> Any:
            return self._reach(name, lambda: call(*arguments, **named))

        return reach

    def _reach(self, name: str, call: Callable[[], Any]) -> Any:
        again = 0 if name in ONCE else redis_store.AGAIN
        while True:
            try:
                return self._stage.effect("store", name, call, redis.ConnectionError(), redis.TimeoutError())
            except (redis.ConnectionError, redis.TimeoutError):
                again -= 1
                if again < 0:
                    raise LedgerUnavailable("pretended") from None
                self._stage.sleep(redis_store.AGAIN_PAUSE_S)


class RealLine(Line):
    """The same over RedisStore, whose own way of sending again is used."""

    def __init__(self, store: RedisStore, stage: Stage) -> None:
        super().__init__(store, stage)
        straight, refused, lost = RedisStore._reach, redis.ConnectionError(), redis.TimeoutError()

        def reach(call: Callable[[], Any], again: int = redis_store.AGAIN) -> Any:
            name = NAMED.get(threading.get_ident(), "store")
            return straight(store, lambda: stage.effect("store", name, call, refused, lost), again)

        store._reach = reach  # type: ignore[method-assign]

    def _reach(self, name: str, call: Callable[[], Any]) -> Any:
        NAMED[threading.get_ident()] = name
        return call()


NAMED: dict[int, str] = {}


@dataclass
class Parts:
    """One Rushes over pretended outsiders."""

    services: Services
    scheduler: Scheduler
    door: Any
    bare: Any
    """The store itself."""
    stage: Any

    def raw(self, job_ids: Sequence[str]) -> list[str | None]:
        """The records as they are now, without an effect."""
        with swapped(self.stage, "looking", True):
            return list(self.bare.records(job_ids))

    def everything(self) -> dict[str, str]:
        """Every record, by the job's id, without an effect."""
        names = self.bare.strings if isinstance(self.bare, MemoryStore) else self.bare._client.keys(f"{JOB}*")
        ids = sorted(str(name).removeprefix(JOB) for name in names if str(name).startswith(JOB))
        return {job_id: held for job_id, held in zip(ids, self.raw(ids), strict=True) if held}


JOB = keys.record("")


@cache
def _built() -> tuple[Services, Any]:
    """Built once: authorities and blueprints take their time. Its clients never reach anything."""
    held = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("AWS_")}
    os.environ.update(AWS_ACCESS_KEY_ID="chaos", AWS_SECRET_ACCESS_KEY="chaos", AWS_DEFAULT_REGION="us-east-1")
    try:
        built = services_module.build(ENVIRON)
    finally:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
            del os.environ[name]
        os.environ.update(held)
    return built, create_app(built)


def assemble(stage: Stage, bare: Any, http_client: Any, s3: Any, resubmit: bool, hand: Callable[..., None]) -> Parts:
    """Join the product's parts over this store and these outsiders."""
    built, app = _built()
    line: Any = Line(bare, stage) if isinstance(bare, MemoryStore) else RealLine(bare, stage)
    settings = replace(built.settings, policy=replace(built.settings.policy, resubmit_unconfirmed=resubmit))
    ledger = Ledger(line, settings.policy)
    services = replace(
        built,
        settings=settings,
        ledger=ledger,
        http_client=http_client,
        archive=Archive(s3, settings.bucket, buffers=1000, part_bytes=1 << 16),
        intake=Intake(settings, ledger, built.prices, http_client),
        fetchable=lambda url: url,
        now=lambda: stage.now,
    )
    services = replace(services, journal=Desk(services.archive))
    app.extensions["rushes"], app.extensions["callback_counts"] = services, callback_counts.CallbackCounts(ledger)
    # What is handed over besides the tickets says only which queue they go to.
    return Parts(services, Scheduler(services, lambda *told: hand(told[-1])), app.test_client(), bare, stage)


class Desk(Journal):
    """The journal without a thread of its own: whoever waits for a line stores it, with those that nobody waits for."""

    def _start(self) -> None:
        """Nobody has to be started."""

    def _take(self, at: int, text: str, stored: Any) -> None:
        super()._take(at, text, stored)
        if stored is not None:
            group, self._lines = self._lines, []
            stored.set_running_or_notify_cancel()
            self._store(group)

    def flush(self, timeout_s: float = 5) -> None:
        """Whoever wants it stored stores it."""
        group, self._lines = self._lines, []
        self._store(group)


def perform(tickets: Sequence[Sequence[Any]], services: Services, hands: ThreadPools) -> None:
    """What a worker does with one message; `hands` do the work for its jobs side by side."""
    steps.run([Ticket(*ticket) for ticket in tickets], services, hands)


def beat(home: str, services: Services) -> None:
    """What a living worker does every few seconds for the jobs that it holds."""
    for hold in [hold for hold in ROSTER.holds if ROSTER.homes[id(hold)] == home]:
        with suppress(LedgerUnavailable):
            hold.renew(services)


class Roster(set[Any]):
    """The holds of all workers, which in one process here are told apart by whose hand took them."""

    stage: Stage

    def __init__(self) -> None:
        super().__init__()
        self.holds: list[Any] = []
        self.homes: dict[int, str] = {}

    def add(self, hold: Any) -> None:
        self.holds.append(hold)
        self.homes[id(hold)] = self.stage.home()

    def discard(self, hold: Any) -> None:
        self.holds = [held for held in self.holds if held is not hold]


ROSTER = Roster()


class SoftLock:
    """A lock that waits for its turn with the baton."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._held = stage, False

    def __enter__(self) -> None:
        while self._held:
            self._stage.wait()
        self._held = True

    def __exit__(self, *_: object) -> None:
        self._held = False


class Ear:
    """A log that hears only what should not happen."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def exception(self, what: str, **told: Any) -> None:
        self._stage.broke(f"{what}: {told} {traceback.format_exc()}")

    def critical(self, what: str, **told: Any) -> None:
        self._stage.broke(f"{what}: {told}")

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


@contextmanager
def swapped(module: Any, name: str, value: Any) -> Iterator[None]:
    """Another thing under this name for a while."""
    held = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, held)


@contextmanager
def staged(stage: Stage) -> Iterator[None]:
    """The product's time, luck and log are the simulation's."""
    ROSTER.__init__()  # type: ignore[misc]
    ROSTER.stage = stage
    clock = SimpleNamespace(sleep=stage.sleep, monotonic=lambda: stage.now / 1000)
    luck = SimpleNamespace(randbits=stage.bits, token_hex=lambda count: f"{stage.bits(count * 8):0{count * 2}x}")
    locks = SimpleNamespace(Lock=lambda: SoftLock(stage))
    ids.FACTORY.reset()  # a seed gives the same ids, whatever ran before
    changes = [
        (redis_store, "time", clock),
        (submit, "time", clock),
        (callback_counts, "time", clock),
        (ids, "secrets", luck),
        (ledger_module, "secrets", luck),
        (leases, "threading", locks),
        (leases, "HELD", ROSTER),
        (scheduler, "NAP_S", NAP_S),
        (steps, "log", Ear(stage)),
        (submit, "log", Ear(stage)),
    ]
    with ExitStack() as stack:
        for change in changes:
            stack.enter_context(swapped(*change))
        yield


decode = record.decode
