"""A server that is told to end waits for requests, and for nobody who only holds a connection.

Where it waited for them, it would do so for the whole of its graceful time, which is longer here than any test lasts.
"""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from factories import job_in
from patience import PATIENCE_S, wait_until
from real_server import Server, answer, head, serving
from receiver_steps import TEXT

from rushes.shared.domain.job import State
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.shared_clock import wall_clock

NEVER_S = 600
BODY = json.dumps(TEXT).encode()
KEPT = {"Connection": "keep-alive"}
START = head("POST", "/v1/jobs", headers={"Content-Length": str(len(BODY)), "Expect": "100-continue"})
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def options(graceful_s: int) -> str:
    return f"--graceful-timeout {graceful_s} --keep-alive {NEVER_S}"


@pytest.fixture
def server(served_redis_url: str, tmp_path: Path) -> Iterator[Server]:
    address = {"REDIS_URL": served_redis_url, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}
    with serving(tmp_path / "log", GUNICORN_CMD_ARGS=options(NEVER_S), **address) as server:
        yield server


def stop(server: Server) -> None:
    """Tell it to end, and wait until it takes nobody any more."""
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: not takes_callers(server), "closed doors")


def takes_callers(server: Server) -> bool:
    with suppress(OSError):
        server.connected().close()
        return True
    return False


def is_over(connection: socket.socket) -> bool:
    """Whether the other side has closed it."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def idle(server: Server) -> socket.socket:
    """A connection that was answered and is kept."""
    connection = server.connected()
    connection.sendall(head("GET", "/healthz", None, KEPT))
    assert answer(connection, time.monotonic(), "GET").status == 200
    return connection


def under_way(server: Server) -> socket.socket:
    """A connection whose body is read by a thread, and has not come."""
    connection = server.connected()
    connection.sendall(START)
    assert connection.recv(len(CONTINUE), socket.MSG_WAITALL) == CONTINUE
    connection.sendall(BODY[:9])
    return connection


def test_who_holds_an_idle_connection_holds_up_no_end(server: Server) -> None:
    with ExitStack() as opened:
        connections = [opened.enter_context(idle(server)) for _ in range(5)]
        connections += [opened.enter_context(server.connected()) for _ in range(3)]
        for half in (b"POST /v1/jobs HTT", b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Le"):
            connections.append(opened.enter_context(server.connected()))
            connections[-1].sendall(half)

        stop(server)

        assert server.process.wait(PATIENCE_S) == 0
        assert [is_over(connection) for connection in connections] == [True] * 10


def test_a_request_under_way_is_answered_before_the_end(server: Server) -> None:
    with under_way(server) as connection, idle(server):
        stop(server)
        connection.sendall(BODY[9:])

        taken = answer(connection, time.monotonic())

        assert (taken.status, taken.headers["connection"]) == (202, "close")
        assert server.process.wait(PATIENCE_S) == 0


def test_a_stream_ends_whole_and_at_once(server: Server, ledger: Ledger) -> None:
    job = job_in(State.RUNNING, {"provider": "evolink", "callback": True}, created_at=wall_clock())
    ledger.create(job)
    with server.connected() as connection, ExitStack() as opened:
        connection.sendall(head("GET", f"/v1/jobs/{job.id}/events"))
        with connection.makefile("rb") as lines:
            while not lines.readline().startswith(b"data: "):
                pass
            opened.enter_context(idle(server))
            stop(server)

            assert lines.read().endswith(b"\r\n0\r\n\r\n")
    assert server.process.wait(PATIENCE_S) == 0


def test_a_body_that_never_comes_is_waited_for_a_while_and_refused(served_redis_url: str, tmp_path: Path) -> None:
    """Where it was waited for to the end of the graceful time, the process would be killed and nothing be answered."""
    address = {"REDIS_URL": served_redis_url, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}
    with serving(tmp_path / "log", GUNICORN_CMD_ARGS=options(24), **address) as server, under_way(server) as connection:
        stop(server)
        connection.settimeout(0.5)
        dripping = iter(BODY[9:-1])
        while not (answered := peeked(connection)):
            connection.sendall(bytes([next(dripping)]))
        connection.settimeout(PATIENCE_S)
        heard = answer(connection, time.monotonic())

        assert (heard.status, answered) == (400, True)
        assert server.process.wait(PATIENCE_S) == 0


def peeked(connection: socket.socket) -> bool:
    """Whether an answer has begun; waits for the length of the connection's timeout."""
    with suppress(TimeoutError):
        return bool(connection.recv(1, socket.MSG_PEEK))
    return False
