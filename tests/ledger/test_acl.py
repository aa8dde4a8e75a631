"""The users of deploy/redis.conf can do all that the ledger and Celery do, and not what would harm."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery
from celery.contrib.testing.worker import start_worker
from factories import NOW, POLICY, job, link
from kombu import Queue
from ledger_steps import ALL_ROOMS, archiving, claim, created, polls, running
from patience import PATIENCE_S
from redis_server import RedisServer
from redis_server import running as running_redis
from structlog.testing import capture_logs

from rushes.shared.domain import events
from rushes.shared.domain.balances import Balance
from rushes.shared.ledger import bell, keys, redis_store, rehearsal
from rushes.shared.ledger.connection import connect
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.quarantine import QuarantinedCallback
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.server_info import server
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.worker.lane_capacity import QUEUE

CONF = Path(__file__).parents[2] / "deploy" / "redis.conf"


@pytest.fixture(scope="module")
def guarded() -> Iterator[RedisServer]:
    """A Redis with the users of the configuration."""
    with running_redis() as found, redis.Redis.from_url(found.url) as client:
        for line in re.findall(r"^# user ((?:ledger|broker) .*)$", CONF.read_text("utf-8"), re.MULTILINE):
            client.execute_command("ACL", "SETUSER", *shlex.split(line))
        yield found


def url(guarded: RedisServer, user: str) -> str:
    return f"redis://{user}:change-me@127.0.0.1:{guarded.port}/0"


@pytest.fixture
def client(guarded: RedisServer) -> Iterator[Any]:
    with connect(url(guarded, "ledger"), PATIENCE_S) as made:
        yield made


@pytest.fixture
def ledger(client: Any) -> Ledger:
    return Ledger(RedisStore(client), POLICY)


def test_the_ledger_may_do_all_that_it_does(ledger: Ledger) -> None:
    job = running(ledger)
    ledger.nudge("apimart", job.id, 1, "task-1", NOW)
    assert len(claim(ledger, polls(), NOW)) == 1
    archiving(ledger)
    (canceled,) = created(ledger)
    ledger.apply(canceled.id, events.Canceled(), NOW)
    stray = QuarantinedCallback(NOW, "apimart", job.id, "acme", 1, "task-7", "task-1", "completed", "{}")
    assert ledger.quarantine.keep(stray)
    assert ledger.quarantine.drop(stray.id)
    ledger.gateways.strike("apimart", events.Reason.DOWN, None, NOW)
    ledger.gateways.pause("apimart", "operator", NOW)
    ledger.gateways.resume("apimart", ["apimart"])
    ledger.gateways.strike("newapi", events.Reason.BALANCE, None, NOW)
    assert ledger.gateways.end_pause("newapi", events.Reason.BALANCE, ["apimart"], NOW)
    assert ledger.balances.take_lease("apimart", ledger.balances.read("apimart"))
    ledger.balances.keep("apimart", Balance(None), NOW)
    assert ledger.bill_history.recent("apimart") == {}
    ledger.gateways.count_unknown_word("apimart", "a word")
    ledger.record_heartbeat("a worker", NOW)
    ledger.wake()
    ledger.listen(0.05)
    ledger.check_writes()
    assert len(ledger.overview.newest(None, 10)) == 3
    assert sum(ledger.overview.counts(None).values()) == 3
    ledger.claim(ALL_ROOMS, NOW)


def test_the_doctor_may_look(guarded: RedisServer) -> None:
    found = server(url(guarded, "ledger"))

    assert (found.problem, found.info["role"], found.policy) == (None, "master", "noeviction")
    assert found.config == {}


@pytest.mark.parametrize(
    "command", ["FLUSHALL", "FLUSHDB", "KEYS *", "CONFIG GET *", "SCRIPT FLUSH", "SHUTDOWN", "GET other", "ACL LIST"]
)
def test_the_ledgers_user_may_do_no_harm(client: Any, command: str) -> None:
    with pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command.split())


def test_the_brokers_user_does_not_see_the_ledger(guarded: RedisServer) -> None:
    with redis.Redis.from_url(url(guarded, "broker")) as client:
        for command in (("GET", keys.record("job_1")), ("DEL", keys.IN_FLIGHT), ("FLUSHALL",)):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command)


def test_celery_may_do_all_that_it_does(guarded: RedisServer) -> None:
    app = Celery("guarded", broker=url(guarded, "broker"), backend=url(guarded, "broker"))
    app.conf.update(task_queues=[Queue(QUEUE), Queue("enqueue")], worker_hijack_root_logger=False)

    @app.task(name="double")  # type: ignore[untyped-decorator]
    def double(number: int) -> int:
        return 2 * number

    with start_worker(app, pool="threads", concurrency=1, perform_ping_check=False, loglevel="ERROR"):
        for queue in (QUEUE, "enqueue"):
            assert app.send_task("double", args=[21], queue=queue).get(timeout=PATIENCE_S) == 42
        assert app.control.ping(timeout=PATIENCE_S, limit=1)


# --- users of others, who may do less

LESS = {
    "no channel": "~{rushes}:* resetchannels +@all",
    "no PUBLISH": "~{rushes}:* &* +@all -publish",
    "no SUBSCRIBE": "~{rushes}:* &* +@all -subscribe",
    "no pub/sub": "~{rushes}:* &* +@all -@pubsub",
}


@contextmanager
def as_user(server: RedisServer, rights: str) -> Iterator[Ledger]:
    with redis.Redis.from_url(server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "less", "reset", "on", ">change-me", *rights.split())
    with connect(url(server, "less"), PATIENCE_S) as client:
        yield Ledger(RedisStore(client), POLICY)


@pytest.mark.parametrize("rights", LESS.values(), ids=list(LESS))
def test_without_a_right_to_the_channel_all_that_is_written_is_answered_so(own_redis: RedisServer, rights: str) -> None:
    with as_user(own_redis, rights) as ledger:
        subject = job()
        assert ledger.create(subject, "order-7", "digest") is None
        assert ledger.create(job(), "order-7", "digest") == ledger.get(subject.id)
        moved = running(ledger)
        assert ledger.nudge("apimart", moved.id, 1, None, NOW) == "noted"
        assert ledger.apply(subject.id, events.Canceled(), NOW) == ledger.get(subject.id)
        ledger.claim([], NOW)  # the next move that frees a place rings
        assert ledger.apply(moved.id, events.Succeeded(link()), NOW) == ledger.get(moved.id)
        ledger.wake()


@pytest.mark.parametrize("right", ["no channel", "no SUBSCRIBE", "no pub/sub"])
def test_a_scheduler_that_may_not_subscribe_looks_for_due_jobs_and_says_so_once(
    own_redis: RedisServer, right: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    clock = SimpleNamespace(now=1.0)
    monkeypatch.setattr(bell, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=pauses.append))
    with as_user(own_redis, LESS[right]) as ledger, capture_logs() as lines:
        for clock.now in (1, 2, 2 + bell.DEAF_S, 3 + bell.DEAF_S):
            ledger.listen(0.7)
    assert pauses == [0.7] * 4
    (line,) = lines
    assert ("no wake-ups" in line["event"], "NOPERM" in line["reason"]) == (True, True)


def test_wake_ups_are_heard_again_once_they_are_allowed(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bell, "DEAF_S", 0)
    with as_user(own_redis, LESS["no channel"]) as ledger:
        ledger.listen(0.01)
        with redis.Redis.from_url(own_redis.url) as admin:
            admin.execute_command("ACL", "SETUSER", "less", "&*")
        ledger.listen(0.01)
        ledger.wake()
        ledger.listen(PATIENCE_S)  # a test that waits for all of it is stopped


@pytest.mark.parametrize(
    "rights", ["~{rushes}:* &* +@all -@scripting", "~{rushes}:* ~ &* +@all -zadd", "~others:* &* +@all"]
)
def test_who_may_not_write_jobs_is_told_so_and_nothing_names_one(own_redis: RedisServer, rights: str) -> None:
    with as_user(own_redis, rights) as ledger:
        subject = job()
        for _ in range(2):
            with pytest.raises(LedgerUnavailable):
                ledger.create(subject, "order-7", "digest")
    with redis.Redis.from_url(own_redis.url) as admin:
        assert [*admin.scan_iter("{rushes}:job:*"), *admin.scan_iter("{rushes}:idem:*")] == []


# --- what doctor tries


def test_every_program_finds_something_to_do_in_a_rehearsal(own_redis: RedisServer) -> None:
    """One that did nothing would need no right. And nothing is left behind."""
    with connect(own_redis.url, PATIENCE_S) as client:
        answers: dict[str, Any] = {}
        run = RedisStore.run

        def note(store: RedisStore, program: str, *arguments: Any, **named: Any) -> Any:
            answers[program] = run(store, program, *arguments, **named)
            return answers[program]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(RedisStore, "run", note)
            assert rehearsal.run_programs(own_redis.url) == {}
        assert rehearsal.ring(own_redis.url) == ""
        assert client.keys("*") in ([], ["{rushes}:bell"])
    assert set(answers) == {path.stem for path in redis_store.LUA.glob("*.lua")}
    assert answers == {
        "check_writes": "OK",
        "wake": None,
        "create": "",
        "create_batch": "",
        "keep_key": "",
        "known_keys": ["probe"],
        "newest": [["probe"]],
        "claim": answers["claim"],
        "open_tickets": ["2 open 1 1 - 1:\n"],
        "renew": 1,
        "unpark": 1,
        "nudge": "noted",
        "repair": [],
        "commit": ["done"],
        "remove_misplaced": 1,
        "halve_counts": 1,
        "quarantine": 1,
        "move_old_names": "none",
    }
    assert answers["claim"][1:] == [1, "probe"]


@pytest.mark.parametrize(
    ("rights", "refused"),
    [
        (
            "~{rushes}:* &* +@all -@scripting",
            {
                "check_writes",
                "wake",
                "create",
                "create_batch",
                "claim",
                "open_tickets",
                "renew",
                "nudge",
                "repair",
                "commit",
                "remove_misplaced",
                "halve_counts",
                "quarantine",
                "move_old_names",
            },
        ),
        ("~{rushes}:* &* +@all -hincrby", {"create", "create_batch", "quarantine", "commands"}),
        ("~{rushes}:* &* +@all -scan", {"commands"}),
    ],
)
def test_a_rehearsal_finds_a_right_that_is_missing(own_redis: RedisServer, rights: str, refused: set[str]) -> None:
    with as_user(own_redis, rights):
        found = rehearsal.run_programs(url(own_redis, "less"))
    assert refused <= set(found)


@pytest.mark.parametrize("right", LESS)
def test_a_rehearsal_finds_that_there_are_no_wake_ups(own_redis: RedisServer, right: str) -> None:
    with as_user(own_redis, LESS[right]):
        assert rehearsal.run_programs(url(own_redis, "less")) == {}
        assert "NOPERM" in rehearsal.ring(url(own_redis, "less"))


def test_the_documented_user_may_do_all_that_is_tried(guarded: RedisServer) -> None:
    assert (rehearsal.run_programs(url(guarded, "ledger")), rehearsal.ring(url(guarded, "ledger"))) == ({}, "")
