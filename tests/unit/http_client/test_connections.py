"""Connections are reused, never for a paid call, and no response is taken for that of another call."""

from __future__ import annotations

import os
import socket
import threading

import pycurl
import pytest
from client_steps import CHUNKED, EVIL, HEAD, HELLO, LONG_S, OURS, SHORT_S, get, post
from fault_server import FaultServer, flooding, http_response, keeping, responding

from rushes.shared.domain.http_messages import Request
from rushes.shared.http import AnswerLost
from rushes.shared.http.curl_handle import CurlHandle


def test_a_connection_is_kept_alive_for_the_next_call(serve, client):
    server = serve(keeping(HELLO))

    for _ in range(3):
        client.send(get(server.url), deadline_s=LONG_S)

    assert (server.connections, len(server.requests)) == (1, 3)


def test_a_fresh_call_takes_no_kept_connection_and_leaves_none(serve, client):
    server = serve(keeping(HELLO))
    client.send(get(server.url), deadline_s=LONG_S)

    for expected in (2, 3):
        server.hung_up.clear()
        client.send(post(server.url), deadline_s=LONG_S, once=True)
        assert server.connections == expected
        assert b"connection: close" in server.requests[-1].lower()
        assert server.hung_up.wait(LONG_S)  # though the server would have kept it

    client.send(get(server.url), deadline_s=LONG_S)
    assert server.connections == 3  # the kept one is still there


def test_a_post_goes_over_no_kept_connection(serve, client):
    server = serve(responding(HELLO, b""), keeping(HELLO))
    client.send(get(server.url), deadline_s=LONG_S)

    assert client.send(post(server.url), deadline_s=LONG_S).status == 200
    assert server.connections == 2


def test_a_question_that_is_lost_on_a_kept_connection_is_asked_again_on_another(serve, client):
    server = serve(responding(HELLO, b""), keeping(HELLO))
    client.send(get(server.url), deadline_s=LONG_S)

    assert client.send(get(server.url), deadline_s=LONG_S).json() == {"hello": "world"}

    assert (server.connections, len(server.requests)) == (2, 3)


def test_a_large_body_that_is_lost_on_a_kept_connection_is_sent_again_whole(serve, client):
    server = serve(responding(HELLO, b""), keeping(HELLO))
    client.send(get(server.url), deadline_s=LONG_S)
    body = bytes(range(256)) * 2000

    client.send(Request("PUT", server.url, raw=body), deadline_s=LONG_S)

    assert [request.endswith(b"\r\n\r\n" + body) for request in server.requests[1:]] == [True, True]


def test_a_paid_call_is_sent_once_though_libcurl_would_send_it_again(serve, client, monkeypatch):
    def keeps_the_connection(self, call, max_bytes=0):
        loaded(self, call, max_bytes)
        self.curl.setopt(pycurl.FRESH_CONNECT, 0)
        self.curl.setopt(pycurl.FORBID_REUSE, 0)

    loaded = CurlHandle.load
    server = serve(responding(HELLO, b""), keeping(HELLO))
    monkeypatch.setattr(CurlHandle, "load", keeps_the_connection)
    client.send(post(server.url), deadline_s=LONG_S, once=True)

    with pytest.raises(AnswerLost):
        client.send(post(server.url), deadline_s=LONG_S, once=True)

    assert len(server.requests) == 2


def test_a_broken_answer_does_not_spoil_the_next_call(serve, client):
    server = serve(flooding(CHUNKED, 1), keeping(HELLO))
    with pytest.raises(AnswerLost):
        client.send(get(server.url), deadline_s=LONG_S)

    assert client.send(get(server.url), deadline_s=LONG_S).status == 200
    assert server.connections == 2


# No answer is taken for that of another call


@pytest.mark.parametrize("extra", [EVIL, b"\r\n", b"x"])
@pytest.mark.parametrize("first", [OURS, CHUNKED + b"4\r\nours\r\n0\r\n\r\n", b"HTTP/1.1 304 Same\r\n\r\n"])
def test_an_answer_too_many_is_not_the_next_calls(serve, client, first, extra):
    server = serve(keeping(first + extra), keeping(OURS))
    client.send(get(server.url), deadline_s=LONG_S)

    assert client.send(get(server.url), deadline_s=LONG_S).body == b"ours"


def test_the_body_of_an_answer_to_head_is_not_the_next_calls(serve, client):
    server = serve(keeping(HEAD + b"Content-Length: %d\r\n\r\n" % len(EVIL) + EVIL), keeping(OURS))
    client.send(Request("HEAD", server.url), deadline_s=LONG_S)

    assert client.send(get(server.url), deadline_s=LONG_S).body == b"ours"


@pytest.mark.parametrize("framing", [f"Content-Length: {len(EVIL)}", "Transfer-Encoding: chunked"])
def test_the_late_body_of_an_answer_that_can_have_none_is_not_the_next_calls(serve, client, framing):
    def late(peer):
        peer.read_request()
        peer.send_bytes(f"HTTP/1.1 204 None\r\n{framing}\r\n\r\n".encode())
        peer.read_request()
        peer.send_bytes(EVIL)

    server = serve(late, keeping(OURS))
    client.send(get(server.url), deadline_s=LONG_S)

    assert client.send(get(server.url), deadline_s=LONG_S).body == b"ours"


def test_a_connection_whose_trailers_did_not_come_in_time_is_not_used_again(serve, client):
    def stalling(peer):
        peer.read_request()
        peer.send_bytes(CHUNKED + b"2\r\n{}\r\n0\r\n")
        peer.read_request()
        peer.send_bytes(EVIL)

    server = serve(stalling, keeping(OURS))
    with pytest.raises(AnswerLost):
        client.send(get(server.url), deadline_s=SHORT_S)

    assert client.send(get(server.url), deadline_s=LONG_S).body == b"ours"


def test_trailers_are_no_headers(serve, client):
    server = serve(keeping(CHUNKED + b"4\r\nours\r\n0\r\nX-Late: y\r\nHTTP/1.1 500: z\r\n\r\n"))

    for _ in range(2):
        got = client.send(get(server.url), deadline_s=LONG_S)
        assert (got.status, got.headers, got.body) == (200, {"transfer-encoding": "chunked"}, b"ours")


@pytest.mark.parametrize("framed", [OURS, CHUNKED + b"4\r\nours\r\n0\r\n\r\n", HEAD + b"\r\nours"])
def test_over_tls_an_answer_is_whole_without_an_announced_end(tls, client, framed):
    def ending(peer):
        peer.read_request()
        peer.send_bytes(framed)
        socket.socket(fileno=peer.sock.detach()).close()

    with FaultServer(ending, tls=tls) as server:
        got = client.send(get(f"https://gateway.test:{server.port}"), deadline_s=LONG_S)
    assert got.body == b"ours"


def test_an_answer_that_came_before_we_had_spoken_is_taken(serve, client):
    def refusing(peer):
        peer.wait_for_request()
        peer.send_bytes(http_response(b"", "Connection: close", status="413 Too Large"))
        peer.wait()

    server = serve(refusing)

    assert client.send(Request("PUT", server.url, raw=bytes(32 << 20)), deadline_s=LONG_S).status == 413


def test_calls_of_many_threads_get_their_own_answers(serve, client):
    def echo(peer):
        while request := peer.read_request():
            peer.send_bytes(http_response(request.split(b" ")[1]))

    def ask(name):
        for turn in range(20):
            path = f"/{name}/{turn}"
            got[path] = client.send(get(server.url + path), deadline_s=LONG_S).body.decode()

    got = {}
    server = serve(echo)
    threads = [threading.Thread(target=ask, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 160
    assert all(path == body for path, body in got.items())
    assert server.connections <= 8


def test_after_a_fork_the_childs_calls_go_over_connections_of_its_own(serve, client):
    server = serve(keeping(HELLO))
    client.send(get(server.url), deadline_s=LONG_S)

    child = os.fork()
    if child == 0:
        try:
            os._exit(client.send(get(server.url), deadline_s=LONG_S).status - 200)
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    assert client.send(get(server.url), deadline_s=LONG_S).status == 200
    assert server.connections == 2
