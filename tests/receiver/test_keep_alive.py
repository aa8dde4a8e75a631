"""A connection that is kept open answers every request on it, however the requests fall into packets."""

from __future__ import annotations

import json
from contextlib import suppress
from http.client import parse_headers
from typing import BinaryIO

import pytest
from real_server import Server, head
from receiver_steps import TEXT

BODY = json.dumps(TEXT).encode()
KEPT = {"Connection": "keep-alive"}
GET = head("GET", "/healthz", None, KEPT)


# The server waits 0.2 s for the rest of a body that it did not ask for, and a busy machine may be late.
TRIES = 8


class Closed(Exception):
    """The server has closed the connection, and answers no more on it."""


def answered(server: Server, piece: bytes, answers: int) -> list[int]:
    """The statuses that come back on one connection; one that is left unanswered is closed (gunicorn's keepalive)."""
    with server.connected() as connection, connection.makefile("rb") as lines:
        connection.sendall(piece)
        return [status(lines) for _ in range(answers)]


def answered_before_and_after(server: Server, first: bytes, rest: bytes) -> list[int]:
    """The status of what comes first, and that of the rest, which comes when the first is answered."""
    with server.connected() as connection, connection.makefile("rb") as lines:
        connection.sendall(first)
        before = status(lines)
        connection.sendall(rest)
        return [before, status(lines)]


def status(lines: BinaryIO) -> int:
    line = lines.readline()
    if not line:
        raise Closed
    code = int(line.split()[1])
    headers = parse_headers(lines)
    lines.read(int(headers["Content-Length"]))
    return code


def post(path: str, tenant: str | None = "acme") -> bytes:
    return head("POST", path, tenant, {**KEPT, "Content-Length": str(len(BODY))})


REFUSED = {
    "not there": (post("/v1/jobs/job_1/cancel"), 404),
    "no key": (post("/v1/jobs", None), 401),
    "no callback": (post("/callbacks/evolink/job_1/1-token", None), 404),
}


@pytest.mark.parametrize(("first", "code"), [*REFUSED.values(), (post("/v1/jobs"), 202)], ids=[*REFUSED, "taken"])
def test_what_comes_in_one_piece_with_a_body_is_answered(server: Server, first: bytes, code: int) -> None:
    assert answered(server, first + BODY + GET + GET, 3) == [code, 200, 200]


@pytest.mark.parametrize(("first", "refused_with"), REFUSED.values(), ids=list(REFUSED))
def test_what_comes_with_a_body_that_comes_late_is_answered(server: Server, first: bytes, refused_with: int) -> None:
    for _ in range(TRIES):
        with suppress(Closed, ConnectionError):
            assert answered_before_and_after(server, first, BODY + GET) == [refused_with, 200]
            return
    raise AssertionError("what came with the body of another was never answered")


def test_what_comes_with_a_body_that_comes_in_a_piece_of_its_own_is_answered(server: Server) -> None:
    with server.connected() as connection, connection.makefile("rb") as lines:
        connection.sendall(post("/v1/jobs"))
        connection.sendall(BODY + GET)
        assert [status(lines), status(lines)] == [202, 200]


def test_requests_in_one_piece_are_all_answered(server: Server) -> None:
    assert answered(server, GET * 5, 5) == [200] * 5


def test_the_thousandth_request_of_a_connection_is_answered_like_the_first(server: Server) -> None:
    # What is added to a connection for each request shows here: in its depth, and in what each one costs.
    with server.connected() as connection, connection.makefile("rb") as lines:
        seen = set()
        for _ in range(1000):
            connection.sendall(GET)
            seen.add(status(lines))
    assert seen == {200}
