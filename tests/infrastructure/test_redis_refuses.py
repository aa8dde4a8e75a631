"""A Redis that refuses for a while: every process waits, says so once, and goes on by itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from patience import wait_until
from receiver_steps import environment
from site_steps import alive, lines_since, log_of, readiness
from whole_stack import Site

from rushes.deploy.sandbox.stack import Stack
from rushes.shared.client import Unreachable
from rushes.worker import __main__ as launcher

# A worker, of which there are two, a scheduler and a failover guard each say so once; and the launcher, if one ended.
LINES_MAX = 12


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    env = {"SANDBOX_TASK_SECONDS": "1", "RUSHES_WORKER_PROCESSES": "2"}
    with Stack(tmp_path_factory.mktemp("refused"), extra_env=env) as stack:
        yield Site(stack)


class Outage:
    """What is set at a server, and how it is taken back."""

    def __init__(self, begin: Callable[[redis.Redis], Any], end: Callable[[redis.Redis], Any]) -> None:
        self.begin, self.end = begin, end


def setting(name: str, value: str, usual: str) -> Outage:
    return Outage(lambda client: client.config_set(name, value), lambda client: client.config_set(name, usual))


def cannot_save(client: redis.Redis) -> None:
    """As on a full disk: a snapshot fails, and then writes are refused (MISCONF). The process that saves is killed."""
    client.config_set("save", "3600 1")
    client.config_set("rdb-key-save-delay", "1000000")  # µs for each key: it surely still saves when it is killed
    client.bgsave()
    for saving in children(client.info("server")["process_id"]):
        os.kill(saving, signal.SIGKILL)
    wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", "a snapshot that fails")


def can_save(client: redis.Redis) -> None:
    client.config_set("rdb-key-save-delay", "0")
    client.config_set("save", "")


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(child) for child in found.stdout.split()]


OUTAGES = {
    "NOREPLICAS": setting("min-replicas-to-write", "1", "0"),
    "OOM": setting("maxmemory", "1", "0"),
    "READONLY": Outage(lambda client: client.replicaof("127.0.0.1", "1"), lambda client: client.replicaof("NO", "ONE")),
    "MISCONF": Outage(cannot_save, can_save),
    "NOPERM": Outage(
        lambda client: client.execute_command("ACL", "SETUSER", "default", "-@write", "-@blocking"),
        lambda client: client.execute_command("ACL", "SETUSER", "default", "+@all"),
    ),
}


# What each word is to the ledger, tests/ledger/test_outages.py says; one shows here what the processes do.
WORDS = [word if word == "NOREPLICAS" else pytest.param(word, marks=pytest.mark.infrastructure) for word in OUTAGES]


@pytest.mark.parametrize("word", WORDS)
def test_every_process_waits_for_a_redis_that_refuses_and_goes_on(site: Site, word: str) -> None:
    wait_until(lambda: len(alive(site)["workers"]) == 2, "workers")
    assert site.wait(site.text(f"before {word}"))["status"] == "completed"
    before, start = alive(site), len(log_of(site).read_text("utf-8"))
    with redis.Redis(port=site.stack.ports.redis, decode_responses=True) as client:
        OUTAGES[word].begin(client)
        try:
            wait_until(lambda: is_told(word, lines_since(site, start)), "lines in the log")
            with pytest.raises(Unreachable):
                site.client.submit({"model": "kling-v2-6", "prompt": "a lighthouse", "provider": "apimodels"}, word)
            status, body = readiness(site)
            assert (status, word == "NOPERM" or word in body["ledger"]) == (503, True)
        finally:
            OUTAGES[word].end(client)
    assert site.wait(site.text(f"after {word}"))["status"] == "completed"
    wait_until(lambda: readiness(site)[0] == 200, "readiness")
    lines = lines_since(site, start)
    assert [line for line in lines if "Traceback" in line or "Unrecoverable" in line] == []
    assert len(reasons(lines)) <= LINES_MAX
    assert alive(site) == before


def is_told(word: str, lines: list[str]) -> bool:
    """By both workers that cannot consume; without room they can, and only the scheduler writes."""
    events = Counter(reasons(lines))
    return events["the ledger cannot be compared with the journal"] > 0 and (
        word == "OOM" or events["broker out of reach"] > 1
    )


def reasons(lines: list[str]) -> list[str]:
    """The events of the lines that tell of an outage."""
    outage_lines = [line[line.index("{") :] for line in lines if "out of reach" in line or "cannot be compared" in line]
    return [event for line in outage_lines if not (event := json.loads(line)["event"]).startswith("over:")]


# --- the launcher


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "CHECK_S", 0.01)


@pytest.mark.usefixtures("quick")
def test_workers_that_end_while_redis_refuses_are_not_counted(own_redis: Any) -> None:
    settings = launcher.load(environment(REDIS_URL=own_redis.url))
    asked: list[str] = []

    def outage() -> str:
        asked.append(launcher.outage(settings))
        if len(asked) == 20:
            client.config_set("min-replicas-to-write", "0")
        return asked[-1]

    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("min-replicas-to-write", "1")
        launcher.WorkerProcesses(1, outage, lambda _: sys.exit(3)).supervise()
    assert set(asked[:20]) == {"NOREPLICAS Not enough good replicas to write."}
    assert asked[20:] == [""] * (1 + launcher.MAX_FAILED_STARTS)


@pytest.mark.usefixtures("quick")
def test_workers_that_end_while_the_broker_is_away_are_not_counted(own_redis: Any) -> None:
    away = environment(REDIS_URL=own_redis.url, RUSHES_BROKER_URL="amqp://127.0.0.1:1")
    assert "refused" in launcher.outage(launcher.load(away))
    assert launcher.outage(launcher.load(environment(REDIS_URL=own_redis.url))) == ""
