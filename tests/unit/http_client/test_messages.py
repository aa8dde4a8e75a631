"""The bytes of requests, and how responses are read."""

from __future__ import annotations

import gzip
import logging
import zlib

import pytest
from client_steps import CHUNKED, HEAD, HELLO, LONG_S, SECRET, closed_port, get, post
from fault_server import http_response, keeping, responding

from rushes.shared.domain.http_messages import Request
from rushes.shared.http import AnswerLost


def test_a_call_says_exactly_what_it_was_told(serve, client):
    server = serve(keeping(HELLO))

    headers = {
        "Authorization": "Bearer key",
        "accept-encoding": "gzip",
        "connection": "close",
        "Expect": "100-continue",
    }
    got = client.send(post(f"{server.url}/v1/videos?a=b", **headers), deadline_s=LONG_S)

    head, _, body = server.requests[0].decode().partition("\r\n\r\n")
    assert body == '{"prompt":"a pier at dawn"}'
    assert head.splitlines()[0] == "POST /v1/videos?a=b HTTP/1.1"
    assert sorted(line.lower() for line in head.splitlines()[1:]) == [
        "accept-encoding: identity",
        "authorization: bearer key",
        "connection: close",
        f"content-length: {len(body)}",
        "content-type: application/json",
        f"host: gateway.test:{server.port}",
        "user-agent: rushes",
    ]
    assert (got.status, got.headers["content-length"], got.json()) == (200, "17", {"hello": "world"})


@pytest.mark.parametrize("status", ["201 Created", "302 Found", "402 Payment Required", "429 Slow", "503 Busy"])
def test_any_status_is_an_answer(serve, client, status):
    server = serve(keeping(http_response(b"why", "Retry-After: 1", status=status)))

    got = client.send(post(server.url), deadline_s=LONG_S)

    assert (got.status, got.body) == (int(status[:3]), b"why")
    assert server.connections == 1


@pytest.mark.parametrize(
    "data",
    [
        CHUNKED + b"2\r\n{}\r\n0\r\n\r\n",
        CHUNKED + b"1\r\n{\r\n001;x=y\r\n}\r\n0\r\nX: y\r\n\r\n",
        HEAD + b"\r\n{}",  # its end is the connection's
        b"HTTP/1.0 200 OK\r\n\r\n{}",
        b"HTTP/1.1 100 Continue\r\n\r\n" + http_response(),
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + http_response(),
        http_response(b"{}", "Content-Encoding: identity"),
    ],
)
def test_a_whole_answer_is_read_however_it_is_framed(serve, client, data):
    server = serve(responding(data))

    assert client.send(post(server.url), deadline_s=LONG_S).body == b"{}"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_answer_without_a_body_is_whole(serve, client, method):
    server = serve(keeping(HEAD + b"Content-Length: 9999999\r\nContent-Encoding: gzip\r\n\r\n"))
    if method == "GET":
        server = serve(keeping(b"HTTP/1.1 204 No Content\r\n\r\n"))

    for _ in range(2):
        assert client.send(Request(method, server.url), deadline_s=LONG_S).body == b""

    assert server.connections == 1


def test_a_cookie_is_not_kept(serve, client):
    server = serve(keeping(http_response(b"", "Set-Cookie: who=me; Path=/")))

    for _ in range(2):
        client.send(get(server.url), deadline_s=LONG_S)

    assert all(b"cookie" not in request.lower() for request in server.requests)


def test_the_environment_has_no_say(serve, client, monkeypatch, tmp_path):
    server = serve(keeping(HELLO))
    (tmp_path / "netrc").write_text("machine gateway.test login me password word\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine gateway.test login me password word\n")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")

    client.send(get(server.url), deadline_s=LONG_S)

    assert b"authorization" not in server.requests[0].lower()


def test_nothing_secret_is_logged(serve, client, caplog):
    server = serve(keeping(HEAD + b"Content-Length: 0\r\nX: y\r\n\r\n"))
    caplog.set_level(logging.DEBUG)

    client.send(get(f"{server.url}/{SECRET}?key={SECRET}", Authorization=SECRET), deadline_s=LONG_S)

    assert SECRET not in caplog.text


# What a body is in


CODED = {
    "gzip": b"\x1f\x8b\x08\x00rest",
    "x-gzip": b"\x1f\x8b\x08\x00rest",
    "identity, gzip": b"\x1f\x8b\x08\x00rest",
    "deflate": b"\x78\x9crest",
    "compress": b"\x1f\x9drest",
    "zstd": b"\x28\xb5\x2f\xfdrest",
}


@pytest.mark.parametrize("words", CODED)
def test_bytes_that_a_coding_has_changed_are_lost(serve, client, words):
    server = serve(keeping(http_response(CODED[words], f"Content-Encoding: {words}")))

    with pytest.raises(AnswerLost, match="compressed"):
        client.send(get(server.url), deadline_s=LONG_S)
    with client.stream(get(server.url), deadline_s=LONG_S) as stream, pytest.raises(AnswerLost, match="compressed"):
        list(stream.chunks(100))


SMALL = b'{"id": "t1"}'
PACKED = [
    *[(words, gzip.compress(SMALL)) for words in ("gzip", "X-GZIP")],
    ("deflate", zlib.compress(SMALL)),
    ("deflate", zlib.compress(SMALL)[2:-4]),  # as some servers have it, without a header
    ("gzip, gzip", gzip.compress(gzip.compress(SMALL))),
    ("deflate, gzip", gzip.compress(zlib.compress(SMALL))),
    ("deflate", SMALL),
]


@pytest.mark.parametrize(("words", "packed"), PACKED, ids=range(len(PACKED)))
def test_a_small_answer_that_nobody_asked_to_compress_is_read(serve, client, words, packed):
    server = serve(keeping(http_response(packed, f"Content-Encoding: {words}")))

    assert client.send(get(server.url), deadline_s=LONG_S).body == SMALL


@pytest.mark.parametrize("packed", [gzip.compress(bytes(10**6)), gzip.compress(b"x" * 900)[:-9]], ids=["large", "cut"])
def test_an_answer_that_is_too_large_or_cut_short_once_it_is_unpacked_is_lost(serve, client, packed):
    server = serve(keeping(http_response(packed, "Content-Encoding: gzip")))

    with pytest.raises(AnswerLost, match="compressed"):
        client.send(get(server.url), deadline_s=LONG_S, max_bytes=10_000)


@pytest.mark.parametrize("words", ["aws-chunked", "identity", "AWS-Chunked,identity", "utf-8", "none", "x-odd", "gzip"])
def test_bytes_that_no_coding_has_changed_are_taken_whatever_is_said_of_them(serve, client, words):
    server = serve(keeping(http_response(b"an intact clip", f"Content-Encoding: {words}")))

    assert client.send(get(server.url), deadline_s=LONG_S).body == b"an intact clip"
    with client.stream(get(server.url), deadline_s=LONG_S) as stream:
        assert list(stream.chunks(100)) == [b"an intact clip"]


@pytest.mark.parametrize(
    "framed",
    [
        b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}",
        b"Transfer-Encoding: identity\r\n\r\n{}",
        b"Transfer-Encoding: identity, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"Transfer-Encoding: CHUNKED\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ],
)
def test_a_transfer_that_changes_no_byte_is_taken(serve, client, framed):
    server = serve(responding(HEAD + framed))

    assert client.send(get(server.url), deadline_s=LONG_S).body == b"{}"


# What is asked


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/a%2fb/%C3%a9?sig=%7e+%2b/=", "/a%2fb/%C3%a9?sig=%7e+%2b/="),  # signed by others, letter by letter
        ("/../x/./y//z?a=/../b", "/../x/./y//z?a=/../b"),
        ("?a=b", "/?a=b"),
        ("/?", "/?"),
        ("/x#part?not=asked", "/x"),
        ("/100%/%zz", "/100%/%zz"),
        ("/фото 1.png", "/%D1%84%D0%BE%D1%82%D0%BE%201.png"),
        ('/a"<b>`c`|{d}\\^', "/a%22%3Cb%3E%60c%60%7C%7Bd%7D%5C%5E"),
        ("/tab\there\nand\rthere", "/tab%09here%0Aand%0Dthere"),
    ],
)
def test_an_address_is_asked_as_it_was_given_unless_it_cannot_be(serve, client, path, target):
    server = serve(keeping(HELLO))

    client.send(get(server.url + path), deadline_s=LONG_S)

    assert server.requests[0].split(b"\r\n")[0].decode() == f"GET {target} HTTP/1.1"


def test_a_header_without_a_value_is_sent(serve, client):
    server = serve(keeping(HELLO))

    client.send(get(server.url, **{"X-Empty": "", "X-Blank": " "}), deadline_s=LONG_S)

    lines = server.requests[0].split(b"\r\n")
    assert b"X-Empty:" in lines
    assert b"X-Blank:" in lines


BODIES = {"small": b"x" * 100, "large": bytes(range(256)) * 1000, "part": memoryview(bytes(range(256)) * 1000)[5:-5]}


@pytest.mark.parametrize("size", BODIES)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_body_is_sent_as_it_is_and_leaves_nothing_behind(serve, client, size, method):
    server = serve(keeping(http_response(b"")))

    client.send(Request(method, server.url, {}, raw=BODIES[size]), deadline_s=LONG_S)
    client.send(Request("HEAD", server.url), deadline_s=LONG_S)
    client.send(get(server.url), deadline_s=LONG_S)
    client.send(Request("POST", server.url), deadline_s=LONG_S)

    sent, *rest = server.requests
    head, _, body = sent.partition(b"\r\n\r\n")
    assert body == bytes(BODIES[size])
    assert head.startswith(method.encode() + b" / HTTP/1.1\r\n")
    assert b"Content-Type" not in head
    assert [request.split(b" ")[0] for request in rest] == [b"HEAD", b"GET", b"POST"]
    assert [b"Content-Length: 0" in request for request in rest] == [False, False, True]
