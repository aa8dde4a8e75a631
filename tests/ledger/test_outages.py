from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from types import SimpleNamespace

import pytest
import redis
from factories import MINUTE, NOW, POLICY, SECOND, job
from ledger_steps import CAPS, HANDOUT, claim, contents, created, engage, plan, polls, submits, taken
from patience import PATIENCE_S, wait_until
from redis_server import RedisServer

from rushes.shared.domain import events
from rushes.shared.domain.job import State
from rushes.shared.ledger import bell, redis_store
from rushes.shared.ledger.connection import connect
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.ledger.tickets import Ticket

TIMEOUT_S = 0.2
# A busy machine adds less, and redis-py that retries by itself blocks for 59 s.
SOON_S = 20


@pytest.fixture
def far(own_redis: RedisServer) -> Iterator[Ledger]:
    """A ledger whose Redis goes away; what a Redis that is there answers may be late for it."""
    with connect(own_redis.url, TIMEOUT_S) as client:
        ledger = Ledger(RedisStore(client), POLICY)
        wait_until(partial(answers, ledger), "Redis")
        yield ledger


@pytest.fixture
def near(own_redis: RedisServer) -> Iterator[Ledger]:
    """The same ledger, for whoever has time."""
    with connect(own_redis.url, PATIENCE_S) as client:
        yield Ledger(RedisStore(client), POLICY)


def answers(ledger: Ledger) -> bool:
    with suppress(LedgerUnavailable):
        ledger.check_writes()
        return True
    return False


@pytest.fixture
def slept_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the store paused before it went on."""
    pauses: list[float] = []
    for module in (redis_store, bell):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=time.monotonic, sleep=pauses.append))
    return pauses


TICKET = Ticket("submit:apimart", "job_1", NOW)
CALLS: dict[str, Callable[[Ledger], object]] = {
    "create": lambda ledger: ledger.create(job()),
    "get": lambda ledger: ledger.get("job_1"),
    "claim": lambda ledger: ledger.claim([submits()], NOW),
    "begin": lambda ledger: ledger.open_tickets([TICKET], NOW)[0],
    "renew": lambda ledger: ledger.renew(TICKET, NOW),
    "apply": lambda ledger: ledger.apply("job_1", events.Lost("reset"), NOW),
    "engage": lambda ledger: engage(ledger, job(), TICKET, events.Begun(plan(job(), NOW)), CAPS, NOW),
    "nudge": lambda ledger: ledger.nudge("apimart", "job_1", 1, None, NOW),
    "retire": lambda ledger: ledger.retire(job()),
    "newest": lambda ledger: ledger.overview.newest(None, 9),
    "counts": lambda ledger: ledger.overview.counts(None),
    "waiting": lambda ledger: ledger.overview.waiting_since(["archive"], NOW),
    "unopened": lambda ledger: ledger.overview.unopened_since(["archive"], NOW),
    "oldest": lambda ledger: ledger.overview.oldest(State.ARCHIVING, 9),
    "tallies": lambda ledger: ledger.totals.metrics(),
    "pause": lambda ledger: ledger.gateways.pause("apimart", "operator", NOW),
    "resume": lambda ledger: ledger.gateways.resume("apimart", ["apimart"]),
    "alive": lambda ledger: ledger.record_heartbeat("one", NOW),
    "ring": lambda ledger: ledger.wake(),
    "check_writes": lambda ledger: ledger.check_writes(),
}


def unavailable(call: Callable[[Ledger], object], ledger: Ledger) -> bool:
    """Whether it is said soon; True where it is said at all, and not late."""
    began = time.monotonic()
    with pytest.raises(LedgerUnavailable):
        call(ledger)
    return time.monotonic() - began < SOON_S


def test_every_call_to_a_redis_that_is_gone_says_so_at_once(
    far: Ledger, own_redis: RedisServer, slept_s: list[float]
) -> None:
    own_redis.stop()
    for name, call in CALLS.items():
        assert unavailable(call, far), name
        assert len(slept_s) <= redis_store.RETRIES, name
        slept_s.clear()


def test_every_call_to_a_redis_that_hangs_says_so_after_its_timeouts(
    far: Ledger, own_redis: RedisServer, slept_s: list[float]
) -> None:
    own_redis.freeze()
    for name in ("create", "claim", "newest", "check_writes"):
        assert unavailable(CALLS[name], far), name
        assert len(slept_s) <= redis_store.RETRIES, name
        slept_s.clear()


def test_a_question_whether_redis_lives_is_put_only_once(
    far: Ledger, own_redis: RedisServer, slept_s: list[float]
) -> None:
    own_redis.freeze()
    assert unavailable(lambda ledger: ledger.check_writes(), far)
    assert slept_s == []


def test_what_was_sent_to_a_hanging_redis_is_done_once_when_it_wakes(
    far: Ledger, near: Ledger, own_redis: RedisServer
) -> None:
    created(near)
    subject = job()
    own_redis.freeze()
    with pytest.raises(LedgerUnavailable):
        far.create(subject, "order-7", "digest")
    own_redis.thaw()
    assert near.create(subject, "order-7", "digest") is None
    assert subject.id in {held.id for held in near.overview.newest("acme", 9)}
    assert near.overview.counts("acme")[State.QUEUED] == 2


def test_a_redis_that_forgot_the_programs_is_told_them_again(redis_store: RedisStore) -> None:
    ledger = Ledger(redis_store, POLICY)
    created(ledger)
    redis_store._client.script_flush()
    assert len(claim(ledger, submits(), NOW)) == 1


def test_the_store_can_be_made_before_redis_is_there() -> None:
    with connect("redis://127.0.0.1:1/0", TIMEOUT_S) as client:
        assert unavailable(lambda ledger: ledger.check_writes(), Ledger(RedisStore(client), POLICY))


# --- a Redis that lives, but takes no writes


def full(client: redis.Redis) -> None:
    client.config_set("maxmemory", "1")


def without_replicas(client: redis.Redis) -> None:
    client.config_set("min-replicas-to-write", "1")


def read_only(client: redis.Redis) -> None:
    client.replicaof("127.0.0.1", "1")


@pytest.mark.parametrize("spoil", [full, without_replicas, read_only])
def test_a_redis_that_takes_no_writes_is_out_of_reach(
    near: Ledger, own_redis: RedisServer, spoil: Callable[[redis.Redis], None], slept_s: list[float]
) -> None:
    created(near)
    with redis.Redis.from_url(own_redis.url) as client:
        spoil(client)
    for name in ("create", "alive"):
        assert unavailable(CALLS[name], near)
    assert slept_s == []


def test_a_fault_of_ours_is_not_taken_for_an_outage(redis_store: RedisStore) -> None:
    redis_store._client.set("{rushes}:due:submit:apimart:acme:5", "no zset")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        Ledger(redis_store, POLICY).create(job())


def test_a_database_that_the_server_does_not_have_is_out_of_reach(own_redis: RedisServer) -> None:
    with connect(f"redis://127.0.0.1:{own_redis.port}/99", TIMEOUT_S) as client:
        for name in ("create", "newest", "check_writes"):
            assert unavailable(CALLS[name], Ledger(RedisStore(client), POLICY)), name


# --- a line that loses answers


class LossyLine:
    """A line to Redis that loses the answers to programs when told to, and breaks then."""

    def __init__(self, port: int) -> None:
        self.port_of_redis, self.losses, self.lost = port, 0, 0
        self.door = socket.create_server(("127.0.0.1", 0))
        self.port = self.door.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self.door.accept()
                far = socket.create_connection(("127.0.0.1", self.port_of_redis))
                asked = threading.Event()
                threading.Thread(target=self._forth, args=(near, far, asked), daemon=True).start()
                threading.Thread(target=self._back, args=(near, far, asked), daemon=True).start()

    def _forth(self, near: socket.socket, far: socket.socket, asked: threading.Event) -> None:
        with suppress(OSError):
            while data := near.recv(65536):
                if b"EVALSHA" in data:
                    asked.set()
                far.sendall(data)

    def _back(self, near: socket.socket, far: socket.socket, asked: threading.Event) -> None:
        with suppress(OSError), near, far:
            while data := far.recv(65536):
                if asked.is_set() and self.losses:
                    self.losses, self.lost = self.losses - 1, self.lost + 1
                    near.shutdown(socket.SHUT_RDWR)
                    return
                asked.clear()
                near.sendall(data)


@pytest.fixture
def line(redis_url: str) -> Iterator[LossyLine]:
    made = LossyLine(int(redis_url.rpartition(":")[2].partition("/")[0]))
    yield made
    made.door.close()


@pytest.fixture
def lossy(line: LossyLine, redis_store: RedisStore) -> Iterator[Ledger]:
    with connect(f"redis://127.0.0.1:{line.port}/0", PATIENCE_S) as client:
        ledger = Ledger(RedisStore(client), POLICY)
        created(ledger, at=NOW - 1, due_at=NOW + MINUTE)  # the programs are known to Redis from here on
        yield ledger


def test_a_life_in_which_every_answer_is_lost_is_lived_once(
    lossy: Ledger, line: LossyLine, redis_store: RedisStore
) -> None:
    def losing() -> Ledger:
        line.losses = 1
        return lossy

    subject = job()
    assert losing().create(subject, "order-7", "digest") is None
    (ticket,) = claim(lossy, submits(), NOW)
    opened = losing().open_tickets([ticket], NOW)[0]
    assert opened is not None
    engage(losing(), *opened, events.Begun(plan(subject, NOW)), CAPS, NOW)
    losing().nudge("apimart", subject.id, 1, "task-1", NOW)
    running = losing().apply(subject.id, events.Accepted("task-1", attempt=1, asked_at=NOW - 1), NOW)
    assert running is not None
    polled, held = taken(lossy, polls(), NOW)
    assert losing().renew(held, NOW + SECOND) is not None
    moved = losing().apply(subject.id, events.Progressed(40, asked_at=NOW), NOW)
    assert line.lost == 7
    assert moved == Ledger(redis_store, POLICY).get(subject.id)
    assert moved is not None
    assert (polled.tries, moved.current.polls, moved.version) == (1, 1, 6)
    assert redis_store.counters("{rushes}:inflight") == {"apimart": "1"}


def test_a_claim_whose_answer_is_lost_is_not_sent_again(lossy: Ledger, line: LossyLine, slept_s: list[float]) -> None:
    created(lossy)
    lossy.claim([], NOW)
    line.losses = 1
    assert unavailable(lambda ledger: claim(ledger, submits(), NOW), lossy)
    assert slept_s == []
    assert claim(lossy, submits(), NOW + HANDOUT - 1) == []
    assert len(claim(lossy, submits(), NOW + HANDOUT)) == 1


def test_a_caller_who_heard_nothing_may_call_again(lossy: Ledger, line: LossyLine, redis_store: RedisStore) -> None:
    first, again = job(), job()
    line.losses = 3
    with pytest.raises(LedgerUnavailable):
        lossy.create(first, "order-7", "digest")
    assert lossy.create(again, "order-7", "digest") == lossy.get(first.id)
    assert lossy.overview.counts("acme")[State.QUEUED] == 2
    assert f"{{rushes}}:job:{again.id}" not in contents(redis_store)


# --- the bell


def test_a_sleep_without_redis_is_short_and_no_error(
    near: Ledger, own_redis: RedisServer, slept_s: list[float]
) -> None:
    near.listen(0.01)
    own_redis.stop()
    for _ in range(3):
        near.listen(PATIENCE_S)
    assert slept_s == [0.2] * 3


def test_a_sleep_over_a_hanging_redis_ends_in_time(far: Ledger, own_redis: RedisServer) -> None:
    far.listen(0.01)
    own_redis.freeze()
    began = time.monotonic()
    far.listen(0.3)
    assert time.monotonic() - began < SOON_S


# --- addresses


@pytest.mark.parametrize("url", ["redis://one:6379/0", "rediss://one:6379/0", "sentinel://one:26379/ledger"])
def test_no_client_sends_a_call_again_by_itself(url: str) -> None:
    kept = connect(url, TIMEOUT_S).connection_pool.connection_kwargs
    assert (kept["retry"].get_retries(), kept["socket_timeout"]) == (0, TIMEOUT_S)


def test_a_sentinel_is_asked_for_its_service() -> None:
    client = connect("sentinel://me:secret@one:26379,two:26380/ledger/2", TIMEOUT_S)
    pool = client.connection_pool
    assert isinstance(pool, redis.sentinel.SentinelConnectionPool)
    assert pool.service_name == "ledger"
    nodes = [node.connection_pool.connection_kwargs for node in pool.sentinel_manager.sentinels]
    assert [(node["host"], node["port"]) for node in nodes] == [("one", 26379), ("two", 26380)]
    kept = pool.connection_kwargs
    assert [kept[name] for name in ("db", "username", "password", "socket_timeout")] == [2, "me", "secret", TIMEOUT_S]


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
def test_of_a_cluster_several_nodes_may_be_named(scheme: str) -> None:
    kept = connect(f"{scheme}://me:se,cret@one,two:6380/0", TIMEOUT_S).connection_pool.connection_kwargs
    assert kept["slot_owner"].nodes == (("one", 6379), ("two", 6380))
    assert (kept["username"], kept["password"]) == ("me", "se,cret")
