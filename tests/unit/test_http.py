from __future__ import annotations

import contextlib
import logging
import socket
import time
import traceback
from ipaddress import ip_network

import pytest
from fault_server import FaultServer, Names, answer, answering, flooding, hanging, keeping, redirecting, trickling

from shared.domain.wire import Request
from shared.http import AnswerLost, Forbidden, NotSent, Outside, Oversized, address_guard

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
SECOND_ONLY = (ip_network("127.0.0.2/32"),)
SECRET = "hush"
HELLO = answer(b'{"hello":"world"}')
LONG_S = 10.0  # a deadline that no test should meet
SHORT_S = 0.5


def post(url, **headers):
    return Request("POST", url, headers, {"prompt": "a pier at dawn"})


def get(url, **headers):
    return Request("GET", url, headers)


@pytest.fixture
def outside():
    outside = Outside(LOOPBACK)
    yield outside
    outside.close()


@pytest.fixture(params=["http", "https"])
def serve(request, tls):
    """Start a fault server of either kind; its `url` is what to ask."""
    with contextlib.ExitStack() as servers:

        def start(*scripts):
            context = tls if request.param == "https" else None
            server = servers.enter_context(FaultServer(*scripts, tls=context))
            server.url = f"{request.param}://gateway.test:{server.port}"
            return server

        yield start


@pytest.fixture
def calls(serve):
    return Outside(LOOPBACK)


# What is surely not sent


def test_an_unknown_name_is_not_sent(outside):
    with pytest.raises(NotSent, match=r"nobody\.invalid"):
        outside.send(post("https://nobody.invalid/v1"), deadline_s=LONG_S)


def test_a_refused_connection_is_not_sent(outside):
    with pytest.raises(NotSent, match="ConnectionRefusedError"):
        outside.send(post(f"http://127.0.0.1:{closed_port()}/v1"), deadline_s=LONG_S)


def test_a_connection_nobody_accepts_is_not_sent(outside):
    with full_backlog() as port, took_less_than(SHORT_S + 1), pytest.raises(NotSent, match="TimeoutError"):
        outside.send(post(f"http://127.0.0.1:{port}/v1"), deadline_s=SHORT_S)


def test_a_failed_handshake_is_not_sent(outside):
    no_tls = FaultServer(lambda peer: peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n"))

    with no_tls as server, pytest.raises(NotSent, match="SSLError WRONG_VERSION_NUMBER"):
        outside.send(post(f"https://127.0.0.1:{server.port}/v1"), deadline_s=LONG_S)


def test_a_handshake_that_never_comes_is_not_sent(outside):
    with FaultServer(hanging()) as server, took_less_than(SHORT_S + 1), pytest.raises(NotSent):
        outside.send(post(f"https://127.0.0.1:{server.port}/v1"), deadline_s=SHORT_S)


@pytest.mark.parametrize("name", ["other.test", "127.0.0.1"])
def test_a_certificate_for_another_name_is_not_sent(tls, name):
    with FaultServer(keeping(HELLO), tls=tls) as server, pytest.raises(NotSent, match="CERTIFICATE_VERIFY_FAILED"):
        Outside(LOOPBACK).send(post(f"https://{name}:{server.port}/v1"), deadline_s=LONG_S)
    assert server.requests == []


def test_a_certificate_nobody_vouches_for_is_not_sent(tls, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(socket, "getaddrinfo", Names(gateway_test=[["127.0.0.1"]]))
    with FaultServer(keeping(HELLO), tls=tls) as server, pytest.raises(NotSent, match="CERTIFICATE_VERIFY_FAILED"):
        Outside(LOOPBACK).send(post(f"https://gateway.test:{server.port}/v1"), deadline_s=LONG_S)
    assert server.requests == []


def test_a_header_that_cannot_be_sent_is_not_sent_and_not_quoted(serve, calls):
    server = serve(keeping(HELLO))

    with pytest.raises(NotSent) as caught:
        calls.send(post(server.url, Authorization=f"Bearer {SECRET}\r\nX: y"), deadline_s=LONG_S)

    assert SECRET not in told(caught.value)
    assert server.requests == []


def test_a_text_that_cannot_be_written_is_not_sent(serve, calls):
    server = serve(keeping(HELLO))

    with pytest.raises(NotSent):
        calls.send(Request("POST", server.url, {}, {"prompt": "\ud83d"}), deadline_s=LONG_S)

    assert server.requests == []


# What was sent, and may have been paid for

HEAD = b"HTTP/1.1 200 OK\r\n"
CUT = HEAD + b"Content-Length: 200\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
FAULTS = {
    "closed before reading": lambda peer: peer.sense(),
    "reset before reading": lambda peer: peer.sense() or peer.reset(),
    "closed after reading": lambda peer: peer.take() and None,
    "reset after reading": lambda peer: peer.take() and peer.reset(),
    "body cut": answering(HEAD + b"Content-Length: 40\r\n\r\n{"),
    "body missing": answering(HEAD + b"Content-Length: 40\r\n\r\n"),
    "chunk cut": answering(CHUNKED + b"28\r\n{"),
    "chunks without an end": answering(CHUNKED + b"2\r\n{}\r\n"),
    "chunk's size cut to a lesser one": answering(CHUNKED + b"2\r\n{}\r\n1"),
    "chunk's size cut to the last one": answering(CHUNKED + b"2\r\n{}\r\n0"),
    "garbage status": answering(b"what?\r\n\r\n"),
    "status cut": answering(b"HTTP/1.1 20"),
    "status only": answering(HEAD),
    "headers cut in a line": answering(HEAD + b"Content-Ty"),
    "headers cut in Content-Length": answering(HEAD + b"Content-Length: 2"),
    "headers cut between lines": answering(HEAD + b"Content-Type: application/json\r\n"),
    "headers cut before the end": answering(HEAD + b"Content-Length: 0\r\n\r"),
    "too many headers": answering(HEAD + b"X: y\r\n" * 200 + b"\r\n"),
    "two lengths": answering(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    "gzip": answering(answer(b"\x1f\x8b", "Content-Encoding: gzip")),
    "gzip in transfer": answering(HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
}
SLOW = {
    "hang": hanging(),
    "hang in the headers": hanging(HEAD),
    "hang in the body": hanging(CHUNKED),
    "trickle of the status": trickling(b"HTTP/1.1 " + b"0" * 200 + b"200 OK"),
    "trickle of headers": trickling(HEAD + b"X: y\r\n" * 40),
    "trickle of hints": trickling(b"HTTP/1.1 100 Go on\r\n\r\n" * 20),
    "trickle of the body": trickling(b"x" * 200, CUT),
    "trickle of chunks": trickling(b"1\r\nx\r\n" * 40, CHUNKED),
    "trickle without a length": trickling(b"x" * 200, HEAD + b"\r\n"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("fresh", [True, False])
def test_an_answer_that_is_not_whole_is_lost(serve, calls, fault, fresh):
    server = serve(FAULTS[fault], keeping(HELLO))

    with took_less_than(5), pytest.raises(AnswerLost) as caught:
        calls.send(post(f"{server.url}/v1?key={SECRET}", Authorization=SECRET), deadline_s=LONG_S, fresh=fresh)

    assert str(caught.value).startswith(server.url + ": ")
    assert SECRET not in told(caught.value)
    assert server.connections == 1  # nothing is tried again


@pytest.mark.parametrize(
    ("serve", "fault"),
    [("http", fault) for fault in SLOW]
    + [("https", "hang"), ("https", "trickle of headers"), ("https", "trickle of chunks")],
    indirect=["serve"],
)
def test_a_slow_answer_is_lost_at_the_deadline_on_the_wall(serve, calls, fault):
    server = serve(SLOW[fault])

    with took_less_than(SHORT_S + 1), pytest.raises(AnswerLost):
        calls.send(post(server.url), deadline_s=SHORT_S)


@pytest.mark.parametrize("serve", ["https"], indirect=True)
def test_a_large_request_nobody_reads_is_lost_at_the_deadline(serve, calls):
    server = serve(lambda peer: time.sleep(12))
    request = Request("POST", server.url, {}, {"prompt": "x" * (16 << 20)})

    with took_less_than(8), pytest.raises(AnswerLost):
        calls.send(request, deadline_s=2)


def test_a_deadline_that_has_passed_is_not_sent_even_on_a_used_connection(serve, calls):
    server = serve(keeping(HELLO))
    calls.send(post(server.url), deadline_s=LONG_S)

    with pytest.raises(NotSent):
        calls.send(post(server.url), deadline_s=0)

    assert len(server.requests) == 1


def test_two_calls_at_once_do_not_share_the_word_on_what_was_sent(serve, calls):
    server = serve(answering(CHUNKED + b"2\r\n{}\r\n"))

    with calls.stream(get(server.url), deadline_s=LONG_S) as stream:
        with pytest.raises(NotSent):
            calls.send(post(f"http://127.0.0.1:{closed_port()}"), deadline_s=LONG_S)
        with pytest.raises(AnswerLost):
            list(stream.chunks(10))


# What goes out and what comes back


def test_a_call_says_exactly_what_it_was_told(serve, calls):
    server = serve(keeping(HELLO))

    headers = {"Authorization": "Bearer key", "accept-encoding": "gzip", "connection": "close"}
    got = calls.send(post(f"{server.url}/v1/videos?a=b", **headers), deadline_s=LONG_S)

    head, _, body = server.requests[0].decode().partition("\r\n\r\n")
    assert body == '{"prompt":"a pier at dawn"}'
    assert head.splitlines()[0] == "POST /v1/videos?a=b HTTP/1.1"
    assert sorted(line.lower() for line in head.splitlines()[1:]) == [
        "accept-encoding: identity",
        "authorization: bearer key",
        "connection: keep-alive",
        f"content-length: {len(body)}",
        "content-type: application/json",
        f"host: gateway.test:{server.port}",
        "user-agent: rushes",
    ]
    assert (got.status, got.headers["content-length"], got.json()) == (200, "17", {"hello": "world"})


@pytest.mark.parametrize("status", ["201 Created", "302 Found", "402 Payment Required", "429 Slow", "503 Busy"])
def test_any_status_is_an_answer(serve, calls, status):
    server = serve(keeping(answer(b"why", "Retry-After: 1", status=status)))

    got = calls.send(post(server.url), deadline_s=LONG_S)

    assert (got.status, got.body) == (int(status[:3]), b"why")
    assert server.connections == 1


@pytest.mark.parametrize(
    "data",
    [
        CHUNKED + b"2\r\n{}\r\n0\r\n\r\n",
        CHUNKED + b"1\r\n{\r\n001;x=y\r\n}\r\n0\r\nX: y\r\n\r\n",
        HEAD + b"\r\n{}",  # its end is the connection's
        b"HTTP/1.0 200 OK\r\n\r\n{}",
        b"HTTP/1.1 100 Continue\r\n\r\n" + answer(),
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + answer(),
        answer(b"{}", "Content-Encoding: identity"),
    ],
)
def test_a_whole_answer_is_read_however_it_is_framed(serve, calls, data):
    server = serve(answering(data))

    assert calls.send(post(server.url), deadline_s=LONG_S).body == b"{}"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_answer_without_a_body_is_whole(serve, calls, method):
    server = serve(keeping(HEAD + b"Content-Length: 9999999\r\nContent-Encoding: gzip\r\n\r\n"))
    if method == "GET":
        server = serve(keeping(b"HTTP/1.1 204 No Content\r\n\r\n"))

    for _ in range(2):
        assert calls.send(Request(method, server.url), deadline_s=LONG_S).body == b""

    assert server.connections == 1


def test_a_cookie_is_not_kept(serve, calls):
    server = serve(keeping(answer(b"", "Set-Cookie: who=me; Path=/")))

    for _ in range(2):
        calls.send(get(server.url), deadline_s=LONG_S)

    assert all(b"cookie" not in request.lower() for request in server.requests)


def test_the_environment_has_no_say(serve, calls, monkeypatch, tmp_path):
    server = serve(keeping(HELLO))
    (tmp_path / "netrc").write_text("machine gateway.test login me password word\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "netrc"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")

    calls.send(get(server.url), deadline_s=LONG_S)

    assert b"authorization" not in server.requests[0].lower()


def test_nothing_secret_is_logged(serve, calls, caplog):
    server = serve(keeping(HEAD + b"Content-Length: 0\r\nno header\r\n\r\n"))
    caplog.set_level(logging.DEBUG)

    calls.send(get(f"{server.url}/{SECRET}?key={SECRET}", Authorization=SECRET), deadline_s=LONG_S)

    assert SECRET not in caplog.text


# Size


@pytest.mark.parametrize("head", [HEAD + b"\r\n", HEAD + b"Content-Length: 52428800\r\n\r\n"])
def test_an_answer_over_the_cap_is_not_read_to_its_end(serve, calls, head):
    server = serve(flooding(head, 50 << 20))

    with pytest.raises(Oversized, match="over 1048576 bytes"):
        calls.send(post(server.url), deadline_s=LONG_S)

    assert server.sent_bytes < 25 << 20  # what the sockets' buffers take, at most


def test_a_negative_chunk_is_not_taken_for_all_there_is(serve, calls):
    server = serve(flooding(CHUNKED + b"-1\r\n", 50 << 20))

    with pytest.raises(AnswerLost):
        calls.send(post(server.url), deadline_s=LONG_S)

    assert server.sent_bytes < 25 << 20


def test_a_length_over_the_cap_is_enough_to_refuse(serve, calls):
    server = serve(hanging(CUT))

    with took_less_than(5), pytest.raises(Oversized):
        calls.send(post(server.url), deadline_s=LONG_S, max_bytes=199)


@pytest.mark.parametrize("framing", ["length", "none"])
def test_the_cap_itself_is_still_taken(serve, calls, framing):
    data = answer(b"x" * 200) if framing == "length" else HEAD + b"\r\n" + b"x" * 200
    server = serve(answering(data))

    assert len(calls.send(get(server.url), deadline_s=LONG_S, max_bytes=200).body) == 200


# Connections


def test_a_connection_is_kept_alive_for_the_next_call(serve, calls):
    server = serve(keeping(HELLO))

    for _ in range(3):
        calls.send(get(server.url), deadline_s=LONG_S)

    assert (server.connections, len(server.requests)) == (1, 3)


def test_a_fresh_call_takes_no_kept_connection_and_leaves_none(serve, calls):
    server = serve(keeping(HELLO))
    calls.send(get(server.url), deadline_s=LONG_S)

    for expected in (2, 3):
        server.hung_up.clear()
        calls.send(post(server.url), deadline_s=LONG_S, fresh=True)
        assert server.connections == expected
        assert b"connection: close" in server.requests[-1].lower()
        assert server.hung_up.wait(5)  # though the server would have kept it

    calls.send(get(server.url), deadline_s=LONG_S)
    assert server.connections == 3  # the kept one is still there


def test_a_request_lost_on_a_stale_connection_is_not_sent_again(serve, calls):
    server = serve(answering(HELLO, b""), keeping(HELLO))
    calls.send(get(server.url), deadline_s=LONG_S)

    with pytest.raises(AnswerLost):
        calls.send(get(server.url), deadline_s=LONG_S)

    assert (server.connections, len(server.requests)) == (1, 2)


def test_a_broken_answer_does_not_spoil_the_next_call(serve, calls):
    server = serve(flooding(CHUNKED, 1), keeping(HELLO))
    with pytest.raises(AnswerLost):
        calls.send(get(server.url), deadline_s=LONG_S)

    assert calls.send(get(server.url), deadline_s=LONG_S).status == 200
    assert server.connections == 2


# Addresses

SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.255.255.254",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0x7F.1",
    "017700000001",
    "0177.0.0.1",
    "0177.1",
    "0",
    "0.0.0.0",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "%31%32%37.0.0.1",
    "localhost",
    "LOCALHOST",
    "ｌｏｃａｌｈｏｓｔ",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[::]",
    "[64:ff9b::7f00:1]",
    "10.0.0.1",
    "169.254.169.254",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "inside.test",
]


@pytest.fixture
def canary(monkeypatch):
    """A listener on this machine, on a port where a public host would be reached."""
    with FaultServer(keeping(HELLO)) as server:
        monkeypatch.setattr(address_guard, "PUBLIC_PORTS", {server.port})
        monkeypatch.setattr(socket, "getaddrinfo", Names(inside_test=[["127.0.0.1"]]))
        yield server


@pytest.mark.parametrize("host", SPELLINGS)
def test_no_spelling_of_an_inside_address_is_reached(canary, host):
    request = get(f"https://{host}:{canary.port}/")

    with pytest.raises(Forbidden):
        Outside().send(request, deadline_s=1)

    assert canary.connections == 0


def test_a_check_refuses_what_a_call_would_refuse_without_calling(canary):
    outside = Outside()

    with pytest.raises(Forbidden):
        outside.check(f"https://inside.test:{canary.port}/")
    with pytest.raises(NotSent):
        outside.check("https://nobody.invalid/")
    Outside(LOOPBACK).check(f"http://inside.test:{canary.port}/")

    assert canary.connections == 0


def test_a_url_with_a_password_is_refused_and_not_quoted(canary):
    url = f"http://me:{SECRET}@127.0.0.1:{canary.port}/"

    with pytest.raises(Forbidden) as caught:
        Outside(LOOPBACK).send(get(url), deadline_s=LONG_S)

    assert SECRET not in told(caught.value)
    assert canary.connections == 0


def test_a_name_that_moves_after_the_check_is_reached_where_it_was_checked(monkeypatch):
    with FaultServer(keeping(HELLO), host="127.0.0.2") as checked, FaultServer(keeping(HELLO)) as canary:
        names = Names(moving_test=[["127.0.0.2"], ["127.0.0.1"]])
        monkeypatch.setattr(socket, "getaddrinfo", names)

        got = Outside(SECOND_ONLY).send(get(f"http://moving.test:{checked.port}/"), deadline_s=LONG_S)

        assert got.status == 200
        assert names.asked == ["moving.test"]
        assert (checked.connections, canary.connections) == (1, 0)


def test_a_name_that_has_moved_inside_is_refused_at_the_next_connection(canary, monkeypatch):
    with FaultServer(answering(HELLO), host="127.0.0.2", port=canary.port) as checked:
        names = Names(moving_test=[["127.0.0.2"], ["127.0.0.1"]])
        monkeypatch.setattr(socket, "getaddrinfo", names)
        outside = Outside(SECOND_ONLY)
        outside.send(get(f"http://moving.test:{checked.port}/"), deadline_s=LONG_S, fresh=True)

        with pytest.raises(Forbidden):
            outside.send(get(f"http://moving.test:{checked.port}/"), deadline_s=LONG_S, fresh=True)

    assert canary.connections == 0


def test_the_certificate_is_checked_against_the_name_at_a_pinned_address(tls):
    asked = []
    tls.sni_callback = lambda sock, name, context: asked.append(name)
    with FaultServer(keeping(HELLO), tls=tls) as server:
        got = Outside(LOOPBACK).send(get(f"https://gateway.test:{server.port}/"), deadline_s=LONG_S)
    tls.sni_callback = None

    assert got.status == 200
    assert asked == ["gateway.test"]
    assert socket.getaddrinfo.asked == ["gateway.test"]


# Redirects


def test_a_redirect_is_an_answer_unless_asked_to_follow(serve, calls):
    target = serve(keeping(HELLO))
    server = serve(redirecting(target.url))

    assert calls.send(get(server.url), deadline_s=LONG_S).status == 302
    assert target.connections == 0


def test_a_redirect_is_followed_when_asked(serve, calls):
    target = serve(keeping(HELLO))
    server = serve(redirecting(f"{target.url}/clip.mp4?key=word"))

    got = calls.send(get(server.url), deadline_s=LONG_S, redirects=1)

    assert got.json() == {"hello": "world"}
    assert target.requests[0].startswith(b"GET /clip.mp4?key=word HTTP/1.1\r\n")


@pytest.mark.parametrize("location", ["/there", "there", "?to=there"])
def test_a_relative_redirect_stays_where_it_is(serve, calls, location):
    server = serve(redirecting(location), keeping(HELLO))

    assert calls.send(get(f"{server.url}/"), deadline_s=LONG_S, redirects=1).status == 200
    assert b"there HTTP/1.1\r\n" in server.requests[1]


def test_one_redirect_more_than_asked_is_the_answer(serve, calls):
    server = serve(redirecting("/again"))

    got = calls.send(get(server.url), deadline_s=LONG_S, redirects=3)

    assert got.status == 302
    assert len(server.requests) == 4


def test_after_a_redirect_the_word_is_on_the_last_hop(serve, calls):
    server = serve(redirecting(f"http://127.0.0.1:{closed_port()}/"))

    with pytest.raises(NotSent, match="ConnectionRefusedError"):
        calls.send(get(server.url), deadline_s=LONG_S, redirects=1)


def test_a_post_is_never_redirected(serve, calls):
    target = serve(keeping(HELLO))
    server = serve(redirecting(target.url, "307 Temporary Redirect"))

    assert calls.send(post(server.url), deadline_s=LONG_S, redirects=3).status == 307
    assert target.connections == 0


KEYS = {"Authorization": SECRET, "Cookie": SECRET, "X-Api-Key": SECRET, "Range": "bytes=5-"}


def test_a_key_does_not_go_to_another_origin(serve, calls):
    target = serve(keeping(HELLO))
    server = serve(redirecting(target.url))

    calls.send(get(server.url, **KEYS), deadline_s=LONG_S, redirects=1)

    assert SECRET.encode() not in target.requests[0]
    assert b"Range: bytes=5-" in target.requests[0]


def test_a_key_stays_on_its_own_origin(serve, calls):
    server = serve(redirecting("/there"))

    calls.send(get(server.url, **KEYS), deadline_s=LONG_S, redirects=1)

    assert server.requests[1].count(SECRET.encode()) == 3


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:{port}/",
        "https://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://me:word@127.0.0.2:{port}/",
        "ftp://127.0.0.2:{port}/",
        "https://[/",
    ],
)
def test_a_redirect_inside_is_refused_without_a_connection(canary, location):
    location = location.format(port=canary.port)
    with FaultServer(redirecting(location), host="127.0.0.2") as server, pytest.raises(Forbidden):
        Outside(SECOND_ONLY).send(get(server.url), deadline_s=LONG_S, redirects=3)

    assert server.connections == 1
    assert canary.connections == 0


def test_a_redirect_from_https_to_http_is_only_for_allowed_hosts(tls, monkeypatch):
    names = Names(gateway_test=[["127.0.0.2"]], public_test=[["127.0.0.1"]], allowed_test=[["127.0.0.2"]])
    monkeypatch.setattr(socket, "getaddrinfo", names)
    monkeypatch.setattr(address_guard, "INSIDE", ())  # 127.0.0.1 plays a public host
    with FaultServer(keeping(HELLO)) as public, FaultServer(keeping(HELLO), host="127.0.0.2") as allowed:
        scripts = [
            redirecting(f"http://allowed.test:{allowed.port}/"),
            redirecting(f"http://public.test:{public.port}/"),
        ]
        with FaultServer(*scripts, host="127.0.0.2", tls=tls) as server:
            monkeypatch.setattr(address_guard, "PUBLIC_PORTS", {server.port, public.port})
            url = f"https://gateway.test:{server.port}/"
            outside = Outside(SECOND_ONLY)
            got = outside.send(get(url), deadline_s=LONG_S, redirects=1, fresh=True)
            with pytest.raises(Forbidden, match="only https"):
                outside.send(get(url), deadline_s=LONG_S, redirects=1, fresh=True)

    assert got.status == 200
    assert public.connections == 0


# Streams


@pytest.mark.parametrize(
    "data", [answer(b"x" * 25), CHUNKED + b"7\r\nxxxxxxx\r\n12\r\n" + b"x" * 18 + b"\r\n0\r\n\r\n"]
)
def test_a_stream_comes_in_equal_pieces(serve, calls, data):
    server = serve(keeping(data))

    for _ in range(2):
        with calls.stream(get(server.url), deadline_s=LONG_S) as stream:
            assert [len(piece) for piece in stream.chunks(10)] == [10, 10, 5]

    assert server.connections == 1


def test_a_stream_tells_its_status_its_headers_and_its_length(serve, calls):
    server = serve(keeping(answer(b"x" * 25, "ETag: 1", "X-Twice: a", "X-Twice: b", status="206 Partial")))

    with calls.stream(get(server.url), deadline_s=LONG_S) as stream:
        assert (stream.status, stream.length_bytes) == (206, 25)
        assert (stream.headers["etag"], stream.headers["x-twice"]) == ("1", "a, b")


@pytest.mark.parametrize(
    "data",
    [
        CHUNKED + b"0\r\n\r\n",
        HEAD + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length:\r\n\r\n",
        HEAD + b"\r\n",
    ],
)
def test_a_stream_of_unknown_length_says_so(serve, calls, data):
    server = serve(answering(data))

    with calls.stream(get(server.url), deadline_s=LONG_S) as stream:
        assert stream.length_bytes is None


@pytest.mark.parametrize("data", [answer(b"x" * 25)[:-1], CHUNKED + b"19\r\n" + b"x" * 24])
def test_a_stream_cut_short_is_lost(serve, calls, data):
    server = serve(answering(data))

    with calls.stream(get(server.url), deadline_s=LONG_S) as stream, pytest.raises(AnswerLost):
        list(stream.chunks(10))


def test_a_stream_that_stalls_is_lost_long_before_its_deadline(serve, calls):
    server = serve(hanging(CUT + b"x" * 20))

    with took_less_than(2), calls.stream(get(server.url), deadline_s=LONG_S, stall_s=SHORT_S) as stream:
        pieces = stream.chunks(10)
        assert (len(next(pieces)), len(next(pieces))) == (10, 10)
        with pytest.raises(AnswerLost):
            next(pieces)


def test_a_stream_that_trickles_is_lost_at_its_deadline(serve, calls):
    server = serve(trickling(b"x" * 200, HEAD + b"\r\n"))

    with (
        took_less_than(SHORT_S + 1),
        calls.stream(get(server.url), deadline_s=SHORT_S, stall_s=LONG_S) as stream,
        pytest.raises(AnswerLost),
    ):
        list(stream.chunks(1))


def test_a_stream_left_early_is_closed(serve, calls):
    server = serve(hanging(CUT + b"x" * 20))

    with calls.stream(get(server.url), deadline_s=LONG_S) as stream:
        next(stream.chunks(10))

    assert server.hung_up.wait(5)


def test_a_stream_closed_twice_leaves_the_connection_to_the_next_call(serve, calls):
    server = serve(keeping(HELLO))

    with calls.stream(get(server.url), deadline_s=LONG_S) as stream:
        list(stream.chunks(100))
        stream.close()
    calls.send(get(server.url), deadline_s=LONG_S)

    assert server.connections == 1


def test_a_stream_does_not_speak_for_the_trouble_of_its_reader(serve, calls):
    server = serve(keeping(HELLO))

    with (
        pytest.raises(ConnectionError, match="the bucket"),
        calls.stream(get(server.url), deadline_s=LONG_S) as stream,
    ):
        raise ConnectionError("the bucket", next(stream.chunks(10)))


def told(error):
    """All that a log with the traceback would show."""
    return "".join(traceback.format_exception(error))


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextlib.contextmanager
def took_less_than(limit_s):
    began = time.monotonic()
    yield
    assert time.monotonic() - began < limit_s


@contextlib.contextmanager
def full_backlog():
    """A port that is listened on and where no further connection is taken."""
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
