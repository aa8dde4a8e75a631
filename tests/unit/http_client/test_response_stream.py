"""Responses that are read piece by piece."""

from __future__ import annotations

import contextlib

import pytest
from client_steps import CHUNKED, CUT, HEAD, HELLO, LONG_S, SHORT_S, get
from fault_server import flooding, hanging, http_response, keeping, responding, trickling

from rushes.shared.domain.http_messages import Response
from rushes.shared.http import AnswerLost, is_whole, may_be_whole


@pytest.mark.parametrize(
    "data", [http_response(b"x" * 25), CHUNKED + b"7\r\nxxxxxxx\r\n12\r\n" + b"x" * 18 + b"\r\n0\r\n\r\n"]
)
def test_a_stream_comes_in_equal_pieces(serve, client, data):
    server = serve(keeping(data))

    for _ in range(2):
        with client.stream(get(server.url), deadline_s=LONG_S) as stream:
            assert [len(piece) for piece in stream.chunks(10)] == [10, 10, 5]

    assert server.connections == 1


def test_a_stream_tells_its_status_its_headers_and_its_length(serve, client):
    server = serve(keeping(http_response(b"x" * 25, "ETag: 1", "X-Twice: a", "X-Twice: b", status="206 Partial")))

    with client.stream(get(server.url), deadline_s=LONG_S) as stream:
        assert (stream.status, stream.length_bytes) == (206, 25)
        assert (stream.headers["etag"], stream.headers["x-twice"]) == ("1", "a, b")


@pytest.mark.parametrize(
    "data",
    [
        CHUNKED + b"0\r\n\r\n",
        HEAD + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"\r\n",
    ],
)
def test_a_stream_of_unknown_length_says_so(serve, client, data):
    server = serve(responding(data))

    with client.stream(get(server.url), deadline_s=LONG_S) as stream:
        assert stream.length_bytes is None


@pytest.mark.parametrize("data", [http_response(b"x" * 25)[:-1], CHUNKED + b"19\r\n" + b"x" * 24])
def test_a_stream_cut_short_is_lost(serve, client, data):
    server = serve(responding(data))

    with client.stream(get(server.url), deadline_s=LONG_S) as stream, pytest.raises(AnswerLost):
        list(stream.chunks(10))


def test_a_stream_that_stalls_is_lost_long_before_its_deadline(serve, client):
    server = serve(hanging(CUT + b"x" * 20))

    with client.stream(get(server.url), deadline_s=LONG_S, stall_s=SHORT_S) as stream:
        pieces = stream.chunks(10)
        assert (len(next(pieces)), len(next(pieces))) == (10, 10)
        with pytest.raises(AnswerLost):
            next(pieces)


def test_a_stream_that_trickles_is_lost_at_its_deadline(serve, client):
    server = serve(trickling(b"x" * 200, HEAD + b"\r\n"))

    with (
        client.stream(get(server.url), deadline_s=SHORT_S, stall_s=LONG_S) as stream,
        pytest.raises(AnswerLost),
    ):
        list(stream.chunks(1))


def test_a_stream_left_early_is_closed(serve, client):
    server = serve(hanging(CUT + b"x" * 20))

    with client.stream(get(server.url), deadline_s=LONG_S) as stream:
        next(stream.chunks(10))

    assert server.hung_up.wait(LONG_S)


def test_a_stream_closed_twice_leaves_the_connection_to_the_next_call(serve, client):
    server = serve(keeping(HELLO))

    with client.stream(get(server.url), deadline_s=LONG_S) as stream:
        list(stream.chunks(100))
        stream.close()
    with client.stream(get(server.url), deadline_s=LONG_S) as stream:
        list(stream.chunks(100))

    assert server.connections == 1


def test_a_stream_does_not_speak_for_the_trouble_of_its_reader(serve, client):
    server = serve(keeping(HELLO))

    with (
        pytest.raises(ConnectionError, match="the bucket"),
        client.stream(get(server.url), deadline_s=LONG_S) as stream,
    ):
        raise ConnectionError("the bucket", next(stream.chunks(10)))


@pytest.mark.parametrize(
    ("status", "content_range", "whole"),
    [
        (200, None, True),
        (200, "bytes 5-9/10", True),
        (201, None, True),
        (203, None, True),
        (202, None, False),
        (206, "bytes 0-9/10", True),
        (206, "Bytes=0-9/10", True),
        (206, "bytes 0-8/10", False),
        (206, "bytes 1-9/10", False),
        (206, "bytes 0-9/*", False),
        (206, "bytes 0-9", False),
        (206, None, False),
        (404, None, False),
        (416, "bytes */10", False),
    ],
)
def test_a_part_that_leaves_nothing_out_is_the_whole(status, content_range, whole):
    headers = {} if content_range is None else {"content-range": content_range}

    assert is_whole(Response(status, headers, b"")) is whole


@pytest.mark.parametrize(
    ("status", "content_range", "may_be"),
    [
        *((206, "bytes 0-9/*", True), (206, None, True), (206, "bytes 1-9/*", False), (206, "bytes 0-8/10", False)),
        *((206, "bytes */10", False), (404, None, False), (416, "bytes 0-9/*", False)),
    ],
)
def test_a_part_of_an_unknown_whole_may_be_all_of_it(status, content_range, may_be):
    headers = {} if content_range is None else {"content-range": content_range}

    assert may_be_whole(Response(status, headers, b"")) is may_be


def test_what_nobody_takes_is_not_read(serve, client):
    server = serve(flooding(HEAD + b"Content-Length: 52428800\r\n\r\n", 50 << 20))

    with client.stream(get(server.url), deadline_s=LONG_S) as stream:
        next(stream.chunks(10))
        assert sum(map(len, stream._pieces)) < 8 << 20  # what one turn brings, of 50 MiB
    assert server.sent_bytes < 25 << 20  # what the sockets' buffers take, at most


def test_many_streams_at_once_are_each_their_own(serve, client):
    def echo(peer):
        while request := peer.read_request():
            peer.send_bytes(http_response(request.split(b" ")[1] * 10_000))

    server = serve(echo)
    with contextlib.ExitStack() as opened:
        streams = [
            opened.enter_context(client.stream(get(f"{server.url}/{number}"), deadline_s=LONG_S)) for number in range(9)
        ]
        pieces = [stream.chunks(1000) for stream in streams]
        bodies = [[next(piece) for piece in pieces] for _ in range(20)]
    assert all(set(body) == {f"/{n}".encode() * 500 for n in range(9)} for body in bodies)
