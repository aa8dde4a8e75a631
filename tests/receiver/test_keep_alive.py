"""A connection that is kept open answers every request on it, however the requests fall into packets."""

from __future__ import annotations

import json
import time
from http.client import parse_headers
from typing import BinaryIO

import pytest
from real_server import Server, head
from receiver_steps import TEXT

AT_ONCE_S = 2.0
BODY = json.dumps(TEXT).encode()
KEPT = {"Connection": "keep-alive"}
GET = head("GET", "/healthz", None, KEPT)


def answered(server: Server, pieces: list[bytes], answers: int) -> list[int]:
    """The statuses that come back on one connection; none may take longer than AT_ONCE_S."""
    with server.connected(AT_ONCE_S) as connection, connection.makefile("rb") as lines:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.05)
        return [status(lines) for _ in range(answers)]


def status(lines: BinaryIO) -> int:
    code = int(lines.readline().split()[1])
    headers = parse_headers(lines)
    lines.read(int(headers["Content-Length"]))
    return code


def post(path: str, tenant: str | None = "acme") -> bytes:
    return head("POST", path, tenant, {**KEPT, "Content-Length": str(len(BODY))})


@pytest.mark.parametrize(
    ("first", "refused_with"),
    [
        (post("/v1/jobs/job_1/cancel"), 404),
        (post("/v1/jobs", None), 401),
        (post("/callbacks/evolink/job_1/1-token", None), 404),
        (post("/v1/jobs"), 202),
    ],
    ids=["not there", "no key", "no callback", "taken"],
)
def test_what_comes_in_one_piece_with_a_body_is_answered(server: Server, first: bytes, refused_with: int) -> None:
    assert answered(server, [first + BODY + GET + GET], 3) == [refused_with, 200, 200]
    # The body comes late, when it has been answered already, and the next request with it.
    assert answered(server, [first, BODY + GET], 2) == [refused_with, 200]


def test_requests_in_one_piece_are_all_answered(server: Server) -> None:
    assert answered(server, [GET * 5], 5) == [200] * 5


def test_the_thousandth_request_of_a_connection_is_answered_like_the_first(server: Server) -> None:
    # What is added to a connection for each request shows here: in its depth, and in what each one costs.
    with server.connected(AT_ONCE_S) as connection, connection.makefile("rb") as lines:
        seen = set()
        for _ in range(1000):
            connection.sendall(GET)
            seen.add(status(lines))
    assert seen == {200}
