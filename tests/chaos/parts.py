"""Where the simulation takes hold of the product. What changes there is followed here, and nowhere else."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from types import SimpleNamespace
from typing import Any, Protocol
from zlib import crc32

import redis
from model_bucket import CurlPuts

from rushes.shared import services as services_module
from rushes.shared.domain import ids
from rushes.shared.domain.job import Job
from rushes.shared.intake.intake import Intake
from rushes.shared.ledger import keys, record, redis_store
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.ledger.tickets import Ticket
from rushes.shared.services import Services
from rushes.shared.storage.archive import Archive
from rushes.shared.storage.journal import Journal
from rushes.shared.tenants import Tenant, Tenants
from rushes.webhook_receiver import callback_counts
from rushes.webhook_receiver.app import create_app
from rushes.worker import bulk_turn, leases, scheduler, small_clips, steps, submit, submit_batch
from rushes.worker.scheduler import Scheduler
from rushes.worker.thread_pools import ThreadPools

GATEWAYS = ("APIMART", "NEWAPI", "APIMODELS", "KLING")
ENVIRON = {
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "RUSHES_S3_BUCKET": "rushes-chaos",
    "RUSHES_SECRET_KEY": "a secret of the simulation",
    "RUSHES_API_KEYS": "acme:acme-key,zenith:zenith-key",
    "RUSHES_PUBLIC_URL": "https://rushes.example",
    "RUSHES_REQUESTS_PER_MINUTE": "100000",
    "RUSHES_POLL_FIRST_S": "3",
    "RUSHES_POLL_MAX_S": "30",
    "RUSHES_CALLBACK_GRACE_S": "20",
    "RUSHES_JOB_TIMEOUT_S": "1800",
    "RUSHES_RESULT_TTL_S": "7200",
    "RUSHES_RETENTION_S": "86400",
    **{f"{name}_BASE_URL": f"https://{name.lower()}.example" for name in GATEWAYS},
    "APIMODELS_API_KEY": "key",
    **{f"{name}_API_KEYS": "default:key,b:key-b" for name in GATEWAYS if name != "APIMODELS"},
}
# One of two tenants has three times the share of the other, and no two jobs in flight.
TENANTS = Tenants({"zenith": Tenant(share=Decimal(3), max_in_flight=1)})
# A scheduler that sleeps until something is due: idle seconds of virtual time need no turns.
MAX_WAIT_S = 600.0
READS = frozenset(
    {"records", "texts", "newest", "sizes", "index_names", "counters", "heads", "count_since", "check_writes", "listen"}
)
# As in RedisStore: these are not sent again when their answer is lost.
ONCE = frozenset({"claim", "strike", "increase", "check_writes"})


class SimulationPort(Protocol):
    """What the simulation offers to the parts."""

    now: int

    def effect(self, part: str, name: str, do: Callable[[], Any], refused: Exception, lost: Exception) -> Any: ...

    def sleep(self, seconds: float) -> None: ...

    def wait(self) -> None: ...

    def process(self) -> str: ...

    def broke(self, event: str) -> None: ...

    def bits(self, count: int) -> int: ...


class SimulatedStore:
    """A store whose calls are effects; a call whose answer is lost is sent again, as RedisStore does."""

    def __init__(self, store: Any, simulation: SimulationPort) -> None:
        self.store, self._simulation = store, simulation
        self.calling = ""

    def __getattr__(self, name: str) -> Any:
        call = getattr(self.store, name)
        if not callable(call):
            return call

        def reach(*arguments: Any, **named: Any) -> Any:
            return self._reach(name, lambda: call(*arguments, **named))

        return reach

    def _reach(self, name: str, call: Callable[[], Any]) -> Any:
        again = 0 if name in ONCE else redis_store.RETRIES
        while True:
            try:
                return self._simulation.effect("store", name, call, redis.ConnectionError(), redis.TimeoutError())
            except (redis.ConnectionError, redis.TimeoutError):
                again -= 1
                if again < 0:
                    raise LedgerUnavailable("pretended") from None
                self._simulation.sleep(redis_store.RETRY_PAUSE_S)


class SimulatedRedisStore(SimulatedStore):
    """The same over RedisStore, with its own retries."""

    def __init__(self, store: RedisStore, simulation: SimulationPort) -> None:
        super().__init__(store, simulation)
        original_reach, refused, lost = RedisStore._reach, redis.ConnectionError(), redis.TimeoutError()

        def reach(call: Callable[[], Any], again: int = redis_store.RETRIES) -> Any:
            name = CALL_NAME.get()
            return original_reach(store, lambda: simulation.effect("store", name, call, refused, lost), again)

        store._reach = reach  # type: ignore[method-assign]

    def _reach(self, name: str, call: Callable[[], Any]) -> Any:
        CALL_NAME.set(name)
        return call()


CALL_NAME = ContextVar("call name", default="store")
"""The call that an actor is in; each has a context of its own."""


@dataclass
class Parts:
    """One Rushes over simulated gateways, S3 and callers."""

    services: Services
    scheduler: Scheduler
    web_client: Any
    raw_store: Any
    """The store without effects."""
    simulation: Any

    def raw(self, job_ids: Sequence[str]) -> list[str | None]:
        """The records as they are now, without an effect."""
        with patched(self.simulation, "looking", True):
            return list(self.raw_store.records(job_ids))

    def bulk_action(self, bulk_id: str) -> Any:
        """A bulk action as it is now, without an effect."""
        with patched(self.simulation, "looking", True):
            return self.services.ledger.bulk_actions.get(bulk_id)

    def everything(self) -> dict[str, str]:
        """Every record, by the job's id, without an effect."""
        names = (
            self.raw_store.strings
            if isinstance(self.raw_store, MemoryStore)
            else self.raw_store._client.keys(f"{JOB}*")
        )
        ids = sorted(str(name).removeprefix(JOB) for name in names if str(name).startswith(JOB))
        return {job_id: text for job_id, text in zip(ids, self.raw(ids), strict=True) if text}


JOB = keys.record("")


@cache
def _built() -> tuple[Services, Any]:
    """Built once, because certificates and blueprints take long. Its clients never reach anything."""
    aws_settings = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("AWS_")}
    os.environ.update(AWS_ACCESS_KEY_ID="chaos", AWS_SECRET_ACCESS_KEY="chaos", AWS_DEFAULT_REGION="us-east-1")
    try:
        built = services_module.build(ENVIRON)
    finally:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
            del os.environ[name]
        os.environ.update(aws_settings)
    return built, create_app(built)


def assemble(
    simulation: SimulationPort, raw_store: Any, http_client: Any, s3: Any, resubmit: bool, deliver: Callable[..., None]
) -> Parts:
    """Join the parts of the product over this store and these models."""
    built, app = _built()
    store: Any = (
        SimulatedStore(raw_store, simulation)
        if isinstance(raw_store, MemoryStore)
        else SimulatedRedisStore(raw_store, simulation)
    )
    settings = replace(
        built.settings, tenants=TENANTS, policy=replace(built.settings.policy, resubmit_unconfirmed=resubmit)
    )
    ledger = Ledger(store, settings.policy)
    services = replace(
        built,
        settings=settings,
        ledger=ledger,
        http_client=http_client,
        archive=Archive(s3, settings.bucket, buffers=32, part_bytes=1 << 16, curl_put=CurlPuts(s3)),
        intake=Intake(settings, ledger, built.prices, http_client),
        fetchable_url=lambda url: url,
        now=lambda: simulation.now,
    )
    services = replace(services, journal=SimulatedJournal(services.archive))
    app.extensions["rushes"], app.extensions["callback_counts"] = services, callback_counts.CallbackCounts(ledger)
    # The other arguments only name the queue of the tickets.
    return Parts(
        services, Scheduler(services, lambda *message: deliver(message[-1])), app.test_client(), raw_store, simulation
    )


class SimulatedJournal(Journal):
    """The journal without its thread: an actor that waits for a line stores it and the lines before it."""

    def _start(self) -> None:
        """There is no thread to start."""

    def _enqueue(self, at: int, text: str, stored: Any) -> None:
        super()._enqueue(at, text, stored)
        if stored is not None:
            group, self._lines = self._lines, []
            stored.set_running_or_notify_cancel()
            self._store(group)

    def flush(self, timeout_s: float = 5) -> None:
        """Store the lines now."""
        group, self._lines = self._lines, []
        self._store(group)


def perform(tickets: Sequence[Sequence[Any]], services: Services, thread_pools: ThreadPools) -> None:
    """What a worker does with one message; `thread_pools` run its jobs in parallel."""
    steps.run([Ticket(*ticket) for ticket in tickets], services, thread_pools)


def beat(process: str, services: Services) -> None:
    """Renew the leases of a process, as a running worker does every few seconds."""
    for lease in [lease for lease in HELD_LEASES.leases if HELD_LEASES.processes[id(lease)] == process]:
        with suppress(LedgerUnavailable):
            lease.renew(services)


class HeldLeases(set[Any]):
    """The leases of all workers. They share one process here, so each is stored with the process that took it."""

    simulation: SimulationPort

    def __init__(self) -> None:
        super().__init__()
        self.leases: list[Any] = []
        self.processes: dict[int, str] = {}

    def add(self, lease: Any) -> None:
        self.leases.append(lease)
        self.processes[id(lease)] = self.simulation.process()

    def discard(self, lease: Any) -> None:
        self.leases = [each for each in self.leases if each is not lease]


HELD_LEASES = HeldLeases()


class SimulatedLock:
    """A lock whose waiters are actors."""

    def __init__(self, simulation: SimulationPort) -> None:
        self._simulation, self._held = simulation, False

    def __enter__(self) -> None:
        while self._held:
            self._simulation.wait()
        self._held = True

    def __exit__(self, *_: object) -> None:
        self._held = False


class ErrorLog:
    """A log that fails the run at an exception or a critical event."""

    def __init__(self, simulation: SimulationPort) -> None:
        self._simulation = simulation

    def exception(self, event: str, **fields: Any) -> None:
        self._simulation.broke(f"{event}: {fields} {traceback.format_exc()}")

    def critical(self, event: str, **fields: Any) -> None:
        self._simulation.broke(f"{event}: {fields}")

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


class HalfSmall(small_clips.ClipSizes):
    """Every second job is thought to have a small clip."""

    def is_small(self, job: Job) -> bool:
        return crc32(job.id.encode()) % 2 == 0


@contextmanager
def patched(module: Any, name: str, value: Any) -> Iterator[None]:
    """Replace an attribute for a while."""
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)


@contextmanager
def simulated_modules(simulation: SimulationPort) -> Iterator[None]:
    """Give time, randomness and log of the product to the simulation."""
    HELD_LEASES.__init__()  # type: ignore[misc]
    HELD_LEASES.simulation = simulation
    clock = SimpleNamespace(sleep=simulation.sleep, monotonic=lambda: simulation.now / 1000)
    rng = SimpleNamespace(randbits=simulation.bits, getrandbits=simulation.bits)
    locks = SimpleNamespace(Lock=lambda: SimulatedLock(simulation))
    ids.FACTORY.reset()  # a seed gives the same ids, whatever ran before
    changes = [
        (redis_store, "time", clock),
        (submit, "time", clock),
        (callback_counts, "time", clock),
        (ids, "secrets", rng),
        (record, "OPERATIONS", rng),
        (bulk_turn, "time", clock),
        (bulk_turn, "log", ErrorLog(simulation)),
        (leases, "threading", locks),
        (leases, "ACTIVE", HELD_LEASES),
        (scheduler, "MAX_WAIT_S", MAX_WAIT_S),
        (steps, "log", ErrorLog(simulation)),
        (submit, "log", ErrorLog(simulation)),
        (submit_batch, "log", ErrorLog(simulation)),
        (small_clips, "log", ErrorLog(simulation)),
        (small_clips, "SIZES", HalfSmall()),
        (small_clips, "WAIT_S", 0),
    ]
    with ExitStack() as stack:
        for change in changes:
            stack.enter_context(patched(*change))
        yield


decode = record.decode
