"""What only a server shows: bodies without a length, bodies that never come, and a Redis that does not answer."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import parse_headers
from pathlib import Path
from typing import Any

import pytest
from factories import job_in
from patience import PATIENCE_S, wait_until
from real_server import Answer, Server, answer, chunked, head, serving
from receiver_steps import TEXT, callback_path, error_of, secret_in

from rushes.deploy.sandbox import redis as durable_redis
from rushes.shared.domain import events
from rushes.shared.domain.job import Job, State
from rushes.shared.domain.schedule import Policy
from rushes.shared.ledger import redis_store
from rushes.shared.ledger.connection import connect
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.shared_clock import wall_clock
from rushes.shared.services import RECEIVER_TIMEOUT_S
from rushes.webhook_receiver.jobs_api import STREAMS_MAX

MIB = 1 << 20
COMPLETED = {"id": "task-1", "status": "completed", "results": ["https://files.example/clip.mp4"]}
# Nobody waits for long: two seconds for Redis, less for anything else, and what a busy machine adds. It would be 15 s
# with a worker's patience for Redis, or where a hundred halves of a header hold the 32 threads for 5 s each.
SOON_S = 12.0


@pytest.fixture(scope="module")
def server(served_redis_url: str, s3_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("web") / "log"
    with serving(log, REDIS_URL=served_redis_url, AWS_ENDPOINT_URL_S3=s3_url) as server:
        yield server


def running(ledger: Ledger) -> Job:
    now = wall_clock()
    plan = {"provider": "evolink", "callback": True, "submitted_at": now}
    made = job_in(State.RUNNING, plan, created_at=now, route=("evolink",))
    ledger.create(made)
    return made


def refused(heard: Answer, status: int) -> None:
    assert heard.status == status, heard.body
    assert heard.headers["content-type"] == "application/json"
    error_of(heard.body)


# --- bodies


def doors(ledger: Ledger) -> list[tuple[str, str | None]]:
    return [("/v1/jobs", "acme"), ("/v1/estimates", "acme"), (callback_path(running(ledger)), None)]


def test_a_body_without_a_length_is_read(server: Server, ledger: Ledger) -> None:
    raw = json.dumps(TEXT).encode()
    start = head("POST", "/v1/jobs", headers={"Transfer-Encoding": "chunked"})

    heard = server.exchange([start, *chunked([raw[:7], raw[7:]])])

    assert heard.status == 202
    assert heard.json["request"]["prompt"] == TEXT["prompt"]
    assert server.call("GET", heard.headers["location"]).json == heard.json


def test_a_body_without_a_length_of_more_than_a_mebibyte_is_a_413(server: Server, ledger: Ledger) -> None:
    for path, tenant in doors(ledger):
        start = head("POST", path, tenant, {"Transfer-Encoding": "chunked"})
        refused(server.exchange([start, *chunked([b" " * 65_536] * 16 + [b" "])]), 413)


def test_a_body_that_never_ends_is_a_413(server: Server, ledger: Ledger) -> None:
    for path, tenant in doors(ledger):
        start = head("POST", path, tenant, {"Transfer-Encoding": "chunked"})
        refused(server.exchange([start, *chunked([b" " * MIB] * 40)]), 413)


def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(server: Server, ledger: Ledger) -> None:
    for path, tenant in doors(ledger):
        for length in (MIB + 1, 10**15):
            heard = server.exchange([head("POST", path, tenant, {"Content-Length": str(length)})])
            refused(heard, 413)  # and no 400, as for a body that is waited for


def test_a_whole_body_that_is_too_large_is_a_413(server: Server, ledger: Ledger) -> None:
    for path, tenant in doors(ledger):
        refused(server.call("POST", path, b" " * (8 * MIB), tenant), 413)


def test_a_strangers_body_is_not_waited_for(server: Server) -> None:
    for path, status in (("/v1/jobs", 401), ("/callbacks/evolink/job_1/1-token", 404), ("/nowhere", 404)):
        heard = server.exchange([head("POST", path, None, {"Content-Length": "1000"}), b"{"])
        refused(heard, status)  # and no 400, as for a body that is waited for


def test_a_strangers_body_is_not_measured(server: Server, ledger: Ledger) -> None:
    """A 413 would tell that the address is right."""
    path = callback_path(running(ledger)).partition("-")[0] + "-" + "A" * 32
    for size in (MIB + 1, 8 * MIB):
        refused(server.call("POST", path, b" " * size, None), 404)
    start = head("POST", path, None, {"Transfer-Encoding": "chunked"})
    refused(server.exchange([start, *chunked([b" " * MIB] * 3)]), 404)


def test_a_slow_body_is_read_to_its_end(server: Server) -> None:
    raw = json.dumps(TEXT).encode()
    start = head("POST", "/v1/jobs", headers={"Content-Length": str(len(raw))})

    assert server.exchange([start, *(raw[at : at + 20] for at in range(0, len(raw), 20))], pause_s=0.1).status == 202


def test_a_body_cut_short_is_no_job(server: Server) -> None:
    raw = json.dumps(TEXT).encode()
    started = time.monotonic()

    with server.connected() as connection:
        connection.sendall(head("POST", "/v1/jobs", headers={"Content-Length": str(len(raw) + 10)}) + raw)
        connection.shutdown(socket.SHUT_WR)
        refused(answer(connection, started), 400)


def test_bodies_that_do_not_come_hold_up_nobody_else(server: Server, ledger: Ledger) -> None:
    stuck = [server.connected() for _ in range(20)]
    try:
        for connection in stuck:
            connection.sendall(head("POST", "/v1/jobs", headers={"Content-Length": "1000"}) + b"{")
        assert server.call("POST", callback_path(running(ledger)), COMPLETED, None).status == 200
        waiting = select.poll()  # select(2) ends at file 1024
        for connection in stuck:
            waiting.register(connection, select.POLLIN)
        assert waiting.poll(0) == []  # they are still waited for
    finally:
        for connection in stuck:
            connection.close()


def test_a_head_of_any_door_is_answered_and_over(server: Server, ledger: Ledger) -> None:
    job = running(ledger)

    for path in ("/healthz", "/readyz", "/v1/jobs", f"/v1/jobs/{job.id}", f"/v1/jobs/{job.id}/events"):
        with server.connected() as connection, connection.makefile("rb") as answered:
            connection.sendall(head("HEAD", path))
            assert b" 200 " in answered.readline()
            parse_headers(answered)
            assert answered.read(1) == b""  # the server has closed the connection


# --- streams


def events_of(connection: socket.socket) -> Iterator[dict[str, Any]]:
    """The data of the events that come, as they come."""
    with connection.makefile("rb") as lines:
        for line in lines:
            if line.startswith(b"data: "):
                yield json.loads(line[6:])


def test_a_job_is_followed_to_its_end(server: Server, ledger: Ledger) -> None:
    job = running(ledger)

    with server.connected() as connection:
        connection.sendall(head("GET", f"/v1/jobs/{job.id}/events"))
        told = events_of(connection)
        assert next(told)["status"] == "running"
        ledger.apply(job.id, events.Progressed(40), wall_clock())
        assert next(told)["progress"] == 40
        ledger.apply(job.id, events.Failed(events.Reason.INPUT, "no"), wall_clock())
        last = next(told)
        assert (last["status"], last["error"]["code"]) == ("failed", "input_rejected")
        assert list(told) == []


def test_watchers_hold_up_no_callback(server: Server, ledger: Ledger) -> None:
    job = running(ledger)
    follow = head("GET", f"/v1/jobs/{job.id}/events")
    watching = [server.connected() for _ in range(STREAMS_MAX)]
    try:
        for connection in watching:
            connection.sendall(follow)
            assert connection.recv(12) == b"HTTP/1.1 200"
        for _ in range(20):
            refused(server.exchange([follow]), 429)
        assert server.call("POST", callback_path(job), COMPLETED, None).status == 200  # while they are watching
    finally:
        for connection in watching:
            connection.close()
        ledger.apply(job.id, events.Failed(events.Reason.INPUT, "no"), wall_clock())


# --- what is written down of a callback


def test_no_token_is_in_the_servers_log(server: Server, ledger: Ledger) -> None:
    path = callback_path(running(ledger))
    token = secret_in(path)
    calls = [
        server.call("POST", path, COMPLETED, None),
        server.call("POST", path, b"{", None),
        server.call("POST", path, b" " * (2 * MIB), None),
        server.call("GET", path, None, None),
        server.call("POST", path + "x", COMPLETED, None),
        server.call("POST", path, COMPLETED, None, Expect="100-continue"),
    ]
    odd = [
        server.exchange([b"POST " + path.encode() + b" HTTP/9.9\r\nHost: x\r\n\r\n"]),
        server.exchange([b"POST " + path.encode() + b" nothing\r\n\r\n"]),
        server.exchange([b"PO ST " + path.encode() + b" HTTP/1.1\r\n\r\n"]),
        server.exchange([head("POST", path, None, {"Content-Length": "-5"})]),
        server.exchange([head("POST", path, None, {"Transfer-Encoding": "chunked"}), b"zz\r\n"]),
        server.exchange([head("POST", path, None, {"X-Long": "x" * 9000})]),
        server.exchange([head("POST", path + "?" + "x" * 5000, None)]),
    ]

    assert [heard.status for heard in calls] == [200, 400, 413, 405, 404, 200]
    assert {heard.status // 100 for heard in odd} <= {4, 5}
    assert [heard.body for heard in (*calls, *odd) if token.encode() in heard.body] == []
    assert token not in server.log.read_text("utf-8")


# --- Redis away


def everywhere(job: Job) -> list[tuple[str, str, Any, str | None]]:
    """Every door that needs the ledger."""
    at = f"/v1/jobs/{job.id}"
    return [
        ("POST", callback_path(job), COMPLETED, None),
        ("POST", callback_path(job), {"status": "processing"}, None),
        ("POST", "/v1/jobs", TEXT, "acme"),
        ("GET", "/v1/jobs", None, "acme"),
        ("GET", "/v1/jobs?status=queued&provider=evolink", None, "admin"),
        ("GET", at, None, "acme"),
        ("GET", f"{at}/events", None, "acme"),
        ("GET", f"{at}/content", None, "acme"),
        ("POST", f"{at}/cancel", None, "acme"),
        ("POST", f"{at}/retry", None, "acme"),
        ("POST", f"{at}/resolve", {"action": "fail"}, "acme"),
        ("GET", "/v1/gateways", None, "acme"),
        ("POST", "/v1/gateways/evolink/resume", None, "admin"),
        ("GET", "/v1/usage", None, "acme"),
    ]


def ask_everywhere(server: Server, job: Job) -> list[Answer]:
    """All of them at once, so that each waits only for itself."""
    with ThreadPoolExecutor(16) as hands:
        return list(hands.map(lambda each: server.call(each[0], each[1], each[2], each[3]), everywhere(job)))


def all_away(server: Server, job: Job) -> None:
    for heard in ask_everywhere(server, job):
        refused(heard, 503)
        assert heard.json["error"]["code"] == "unavailable"
        assert heard.took_s < SOON_S
        assert int(heard.headers["retry-after"]) > 0
    assert server.call("GET", "/healthz").status == 200
    assert server.call("POST", "/v1/estimates", TEXT).status == 200
    ready = server.call("GET", "/readyz")
    assert (ready.status, "ledger" in ready.json, ready.took_s < SOON_S) == (503, True, True)


def all_back(server: Server) -> None:
    wait_until(lambda: server.call("GET", "/v1/jobs").status == 200, "the list of jobs")
    wait_until(lambda: server.call("GET", "/readyz").status == 200, "readiness")
    assert server.call("POST", "/v1/jobs", TEXT).status == 202


def test_the_receiver_gives_a_call_to_redis_up_within_two_seconds() -> None:
    tries, pauses = redis_store.RETRIES + 1, redis_store.RETRIES
    assert tries * RECEIVER_TIMEOUT_S + pauses * redis_store.RETRY_PAUSE_S <= 2


def test_with_redis_frozen_everybody_is_told_soon(own_redis: Any, s3_url: str, tmp_path: Path) -> None:
    with serving(tmp_path / "log", REDIS_URL=own_redis.url, AWS_ENDPOINT_URL_S3=s3_url) as server:
        ledger = Ledger(RedisStore(connect(own_redis.url, PATIENCE_S)), Policy())
        job = running(ledger)
        all_back(server)  # connections are open before it freezes

        own_redis.freeze()
        try:
            all_away(server, job)
        finally:
            own_redis.thaw()

        all_back(server)
        assert server.call("POST", callback_path(job), COMPLETED, None).status == 200
        assert secret_in(callback_path(job)) not in server.log.read_text("utf-8")


def test_with_redis_stopped_everybody_is_told_and_it_comes_back(own_redis: Any, s3_url: str, tmp_path: Path) -> None:
    with serving(tmp_path / "log", REDIS_URL=own_redis.url, AWS_ENDPOINT_URL_S3=s3_url) as server:
        job = running(Ledger(RedisStore(connect(own_redis.url, PATIENCE_S)), Policy()))
        all_back(server)

        own_redis.stop()
        all_away(server, job)

        with durable_redis.running(tmp_path / "redis", own_redis.port):
            all_back(server)
            refused(server.call("POST", callback_path(job), COMPLETED, None), 404)  # it was all in memory


def test_with_s3_away_only_readiness_tells(served_redis_url: str, tmp_path: Path) -> None:
    with serving(tmp_path / "log", REDIS_URL=served_redis_url, AWS_ENDPOINT_URL_S3="http://127.0.0.1:1") as server:
        assert server.call("POST", "/v1/jobs", TEXT).status == 202
        ready = server.call("GET", "/readyz")
        assert (ready.status, set(ready.json)) == (503, {"status", "archive", "oldest_overdue_s"})


# --- who sends half of something

HALVES = {
    "half a header": b"POST /callbacks/evolink/j/t HTTP/1.1\r\nHost: x\r\nContent-Le",
    "half a stranger's callback": b"POST /callbacks/evolink/j/t HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{",
    "half a stranger's job": b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{",
}


@pytest.mark.parametrize("half", HALVES.values(), ids=list(HALVES))
def test_a_hundred_who_send_half_hold_up_nobody(server: Server, half: bytes) -> None:
    with ExitStack() as opened:
        for _ in range(100):
            opened.enter_context(server.connected()).sendall(half)
        took_s = server.exchange([head("GET", "/healthz", None)]).took_s
    assert took_s < SOON_S


def test_a_header_that_comes_in_pieces_is_read(server: Server) -> None:
    whole = head("GET", "/healthz", None)
    heard = server.exchange([whole[at : at + 9] for at in range(0, len(whole), 9)], pause_s=0.05)
    assert heard.status == 200


def test_who_leaves_in_the_middle_of_a_header_is_forgotten(server: Server) -> None:
    for _ in range(50):
        with server.connected() as connection:
            connection.sendall(HALVES["half a header"])
    assert server.exchange([head("GET", "/healthz", None)]).took_s < SOON_S
