"""No message can end a worker, and nothing that one holds is ever in what a worker writes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from odd_messages import ANSWERED, ARGUMENTS, SECRETS, STRANGERS_KEY, UNANSWERED, message
from patience import PATIENCE_S, wait_until
from real_server import PATH
from receiver_steps import AWS, KEYS, environment, error_of
from redis import Redis

WORKERS = {
    "as in the Procfile": [sys.executable, "-m", "rushes.worker"],
    "as talkative as Celery can be": [
        *(sys.executable, "-m", "celery", "--app", "rushes.worker.app", "worker", "--queues", "work,enqueue"),
        *("--loglevel", "DEBUG", "--task-events"),
    ],
}
# kombu brings a handler of its own for these.
TALKATIVE = {"KOMBU_LOG_DEBUG": "1", "KOMBU_LOG_CONNECTION": "1", "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True)
class Worker:
    process: subprocess.Popen[bytes]
    log: Path
    broker: Redis
    sender: Celery

    def written(self) -> str:
        return self.log.read_text("utf-8")

    def refusals(self) -> int:
        return self.written().count('"event":"message refused"')

    def push(self, raw: bytes, queue: str = "enqueue") -> None:
        self.broker.lpush(queue, raw)

    def answers(self) -> bool:
        """Whether it still does what it is for."""
        sent = self.sender.send_task("rushes.enqueue", kwargs={}, queue="enqueue")
        return dict(sent.get(timeout=PATIENCE_S))["error"]["code"] == "unauthorized"


@pytest.fixture(scope="module", params=WORKERS.values(), ids=list(WORKERS))
def worker(request: Any, served_redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    log = tmp_path_factory.mktemp("worker") / "log"
    changes = {"REDIS_URL": served_redis_url, "RUSHES_WORKER_PROCESSES": "1"}
    env = {**AWS, **environment(**changes), **TALKATIVE, "PATH": PATH, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}
    with log.open("wb") as lines, Redis.from_url(served_redis_url) as broker:
        broker.flushdb()
        process = subprocess.Popen(request.param, env=env, stdout=lines, stderr=lines)
        with Celery("somebody-elses", broker=served_redis_url, backend=served_redis_url) as sender:
            made = Worker(process, log, broker, sender)
            assert made.answers()
            yield made
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_S)
        process.kill()
        process.wait()


@pytest.fixture(autouse=True)
def nothing_told(worker: Worker) -> Iterator[None]:
    """It goes on, receipts nothing but once, and has written down nothing of what it was sent."""
    yield
    assert worker.answers()
    assert worker.process.poll() is None
    wait_until(lambda: worker.broker.zcard("unacked_index") == 0, "receipts")
    written = worker.written()
    assert [secret for secret in SECRETS if secret in written] == []


@pytest.mark.parametrize(("code", "odd"), ANSWERED.values(), ids=ANSWERED)
def test_who_waits_for_a_call_that_cannot_be_made_is_told_why(
    worker: Worker, code: str | None, odd: dict[str, Any]
) -> None:
    before, task_id = worker.refusals(), odd["headers"]["id"]

    worker.push(json.dumps(odd).encode())

    result = worker.sender.AsyncResult(task_id)
    wait_until(result.ready, "a result")
    if code is None:
        assert (result.state, type(result.result).__name__) == ("FAILURE", "NotRegistered")
    else:
        assert result.state == "SUCCESS"
        error_of(json.dumps(result.result).encode(), code)
    assert worker.refusals() == before + 1


@pytest.mark.parametrize("raw", UNANSWERED.values(), ids=UNANSWERED)
@pytest.mark.parametrize("queue", ["enqueue", "work"])
def test_what_is_no_message_is_dropped_and_counted(worker: Worker, raw: bytes, queue: str) -> None:
    before = worker.refusals()

    worker.push(raw, queue)

    wait_until(lambda: worker.refusals() == before + 1, "a refusal")


def test_a_task_that_breaks_over_what_it_was_given_tells_where_and_not_what(worker: Worker) -> None:
    written = len(worker.written())

    worker.push(json.dumps(message([[[SECRETS[0]]], {}, {}], {"task": "rushes.work"})).encode(), "work")

    wait_until(lambda: "TypeError" in worker.written()[written:], "a traceback")
    assert "worker/tasks.py" in worker.written()[written:]


@pytest.mark.parametrize(("task", "queue"), [("rushes.work", "enqueue"), ("rushes.enqueue", "work")])
def test_a_task_in_the_queue_of_the_other_is_done_once(worker: Worker, task: str, queue: str) -> None:
    named = {} if task == "rushes.work" else ARGUMENTS
    sent = worker.sender.send_task(task, [[]] if task == "rushes.work" else [], named, queue=queue)

    if named:
        assert dict(sent.get(timeout=PATIENCE_S))["object"] == "job"
    wait_until(lambda: worker.broker.llen(queue) == 0, "a worker")  # and no receipt is missing (nothing_told)


def test_a_message_to_all_workers_that_is_none_is_dropped(worker: Worker) -> None:
    for raw in (b"5", SECRETS[0].encode(), json.dumps(message()).encode(), b"[]", b"{}"):
        # After one that it could read, and that says nothing, a worker subscribes anew.
        wait_until(lambda raw=raw: worker.broker.publish("/0.celery.pidbox", raw) == 1, "a listener")


@pytest.mark.parametrize("key", [STRANGERS_KEY, KEYS["acme"]])
def test_a_call_is_answered_and_not_written_down(worker: Worker, key: str) -> None:
    sent = worker.sender.send_task("rushes.enqueue", kwargs={**ARGUMENTS, "api_key": key}, queue="enqueue")

    assert set(sent.get(timeout=PATIENCE_S)) & {"id", "error"}
