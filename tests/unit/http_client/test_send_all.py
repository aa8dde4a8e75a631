"""Many calls at once in one thread."""

from __future__ import annotations

import select
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from types import SimpleNamespace
from typing import Any

import pycurl
import pytest
from client_steps import (
    CHUNKED,
    CUT,
    EVIL,
    HEAD,
    HELLO,
    LONG_S,
    OURS,
    SECRET,
    SHORT_S,
    Serve,
    closed_port,
    get,
    greeting,
    post,
)
from fault_server import FaultServer, Peer, Script, flooding, hanging, http_response, keeping, responding

from rushes.shared.domain.http_messages import Request, Response
from rushes.shared.http import AnswerLost, HttpClient, Oversized, multi
from rushes.shared.http import client as http_client
from rushes.shared.http.curl_handle import CurlHandle
from rushes.shared.http.multi import Outcome
from rushes.shared.http.prepared_request import PreparedRequest

HINT = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
ServeConnected = Callable[..., list[FaultServer]]


@pytest.fixture
def serve_connected(serve: Serve, client: HttpClient) -> ServeConnected:
    """Start a server for each script, with an open connection; the script serves the next call on it."""

    def start(*scripts: Script) -> list[FaultServer]:
        servers = [serve(greeting(script), keeping(HELLO)) for script in scripts]
        assert bodies(outcomes(client, requests_to(servers))) == [b'{"hello":"world"}'] * len(servers)
        return servers

    return start


def requests_to(servers: Sequence[FaultServer], **headers: str) -> list[Request]:
    return [get(server.url, **headers) for server in servers]


def outcomes(
    client: HttpClient, requests: Sequence[Request], deadline_s: float = LONG_S, **options: Any
) -> list[Outcome]:
    """The outcome of each call in order; each comes exactly once."""
    results = list(chain.from_iterable(client.send_all(requests, deadline_s=deadline_s, **options)))
    assert indexes(results) == list(range(len(requests)))
    return [dict(results)[number] for number in range(len(requests))]


def bodies(results: Sequence[Outcome]) -> list[bytes | AnswerLost | None]:
    """The bodies of responses; other outcomes unchanged."""
    return [result.body if isinstance(result, Response) else result for result in results]


def test_paid_calls_have_connections_of_their_own(serve: Serve, client: HttpClient) -> None:
    server = serve(keeping(HELLO))
    outcomes(client, [get(server.url)])
    calls = [Request("PUT", server.url, raw=b"x"), get(server.url)]
    assert bodies(outcomes(client, calls, once=True)) == [b'{"hello":"world"}'] * 2

    assert [b"connection: close" in request.lower() for request in server.requests] == [False, True, True]
    assert server.connections == 3
    outcomes(client, [get(server.url)])
    assert server.connections == 3  # the kept one is still there


def test_polls_do_not_wait_for_the_handles_of_paid_calls(
    serve: Serve, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(keeping(HELLO))
    made: list[multi.MultiHandle] = []
    init = multi.MultiHandle.__init__
    monkeypatch.setattr(multi.MultiHandle, "__init__", lambda own, *options: [init(own, *options), made.append(own)][0])

    counts = []
    for call in (get, post, get, post):
        outcomes(client, [call(server.url)])
        counts.append(len(made))
    assert counts == [1, 2, 2, 2]


def test_each_is_asked_for_once_its_connection_is_open_and_without_leave_nothing_is_sent(
    serve: Serve, client: HttpClient
) -> None:
    server = serve(keeping(HELLO))
    seen: list[int] = []

    def may_send(index: int) -> bool:
        seen.append(index)
        assert not any(b"/%d " % index in request for request in server.requests)
        return bool(("yes", 1 / index)) and index != 2

    calls = [*(get(f"{server.url}/{index}") for index in range(4)), get(f"http://127.0.0.1:{closed_port()}")]
    results = outcomes(client, calls, once=True, may_send=may_send)

    assert bodies(results) == [None, b'{"hello":"world"}', None, b'{"hello":"world"}', None]
    assert sorted(seen) == [0, 1, 2, 3]
    assert len(server.requests) == 2


def test_a_paid_call_is_sent_once_though_libcurl_would_send_it_again(
    serve: Serve, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keeps_the_connection(handle: CurlHandle, call: PreparedRequest, *options: Any) -> None:
        loaded(handle, call, *options)
        handle.curl.setopt(pycurl.FRESH_CONNECT, 0)
        handle.curl.setopt(pycurl.FORBID_REUSE, 0)

    loaded = CurlHandle.load
    server = serve(responding(HELLO, b""), keeping(HELLO))
    monkeypatch.setattr(CurlHandle, "load", keeps_the_connection)
    first, second = (outcomes(client, [get(server.url)], once=True) for _ in range(2))

    assert bodies(first) == [b'{"hello":"world"}']
    assert isinstance(second[0], AnswerLost)
    assert len(server.requests) == 2


def test_each_connection_of_its_own_resumes_a_tls_session(tls: ssl.SSLContext, client: HttpClient) -> None:
    with FaultServer(keeping(HELLO), tls=tls) as server:
        calls = [post(f"https://gateway.test:{server.port}")] * 6
        for resumed in (0, 6):  # libcurl keeps two sessions of a server
            before = tls.session_stats()
            assert bodies(outcomes(client, calls)) == [b'{"hello":"world"}'] * 6
            after = tls.session_stats()
            assert [after[name] - before[name] for name in ("accept_good", "hits")] == [6, resumed]


def indexes(group: Sequence[tuple[int, Outcome]]) -> list[int]:
    return sorted(number for number, _ in group)


@contextmanager
def groups_of(client: HttpClient, requests: Sequence[Request]) -> Iterator[Iterator[list[tuple[int, Outcome]]]]:
    """The groups of outcomes as they come; closed at the end."""
    groups: Any = client.send_all(requests, deadline_s=LONG_S)
    with closing(groups):
        yield groups


def replace_gather_pause(monkeypatch: pytest.MonkeyPatch, wait: Callable[[], object]) -> None:
    """Replace the pause in which a group gathers: it lasts until `wait` returns."""
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: wait())
    monkeypatch.setattr(multi, "time", clock)


# --- connections


def test_connections_are_opened_at_first_and_used_again(serve: Serve, client: HttpClient) -> None:
    server = serve(keeping(HELLO))

    for _ in range(3):
        assert bodies(outcomes(client, requests_to([server] * 5))) == [b'{"hello":"world"}'] * 5

    assert (server.connections, len(server.requests)) == (5, 15)


def test_no_more_connections_are_kept_than_may_be(
    serve: Serve, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "BATCH_CONNECTIONS", 2)
    server = serve(keeping(HELLO))
    for _ in range(2):
        outcomes(client, requests_to([server] * 5))

    (handles,) = (kept for idle in client._multis._idle.values() for kept in idle)
    assert len(handles._idle[False]) == 2
    assert server.connections > 5


def test_each_call_gets_the_answer_to_its_own_question(serve: Serve, client: HttpClient) -> None:
    def echo(peer: Peer) -> None:
        while request := peer.read_request():
            peer.send_bytes(http_response(request.split(b" ")[1][1:]))

    server = serve(echo)

    for _ in range(2):
        results = outcomes(client, [get(f"{server.url}/{number}") for number in range(20)])
        assert bodies(results) == [b"%d" % number for number in range(20)]


def test_a_call_says_the_same_as_one_that_is_sent_alone(serve: Serve, client: HttpClient) -> None:
    server = serve(keeping(OURS))
    for method in ("POST", "GET", "PUT"):
        body = None if method == "GET" else {"prompt": "a pier at dawn"}
        request = Request(method, f"{server.url}/v1?a=b", {"Authorization": "Bearer key"}, body)

        outcomes(client, [request])
        client.send(request, deadline_s=LONG_S)

        assert server.requests[-1] == server.requests[-2]


def test_no_calls_are_no_trouble(client: HttpClient) -> None:
    assert outcomes(client, []) == []


def test_a_call_whose_kept_connection_was_closed_is_made_over_another(
    serve_connected: ServeConnected, client: HttpClient
) -> None:
    (server,) = serve_connected(lambda peer: None)

    assert bodies(outcomes(client, requests_to([server]))) == [b'{"hello":"world"}']
    assert server.connections == 2


def test_what_nobody_listens_to_is_not_sent_and_holds_up_no_other(serve: Serve, client: HttpClient) -> None:
    server = serve(keeping(OURS))
    urls = [f"http://127.0.0.1:{closed_port()}", server.url, "https://nobody.invalid", "https://8.8.8.8:22/"]

    assert bodies(outcomes(client, [get(url) for url in urls])) == [None, b"ours", None, None]


def test_a_name_that_nobody_knows_is_looked_up_once_for_all(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[tuple[str, float]] = []
    real = client._guard.addresses
    monkeypatch.setattr(
        client._guard,
        "addresses",
        lambda target, wait_s: looked_up.append((target.host, wait_s)) or real(target, wait_s),
    )

    assert outcomes(client, [get("https://nobody.invalid/")] * 9) == [None] * 9
    assert looked_up == [("nobody.invalid", multi.LOOKUP_S)]  # meanwhile no other answer is heard


# --- answers in groups, as they come


def test_a_slow_answer_does_not_hold_up_the_quick(serve_connected: ServeConnected, client: HttpClient) -> None:
    gate = threading.Event()

    def slow(peer: Peer) -> None:
        peer.read_request()
        gate.wait(LONG_S)
        peer.send_bytes(OURS)
        peer.wait()

    with groups_of(client, requests_to(serve_connected(slow, hanging(OURS)))) as groups:
        assert indexes(next(groups)) == [1]
        gate.set()
        assert indexes(next(groups)) == [0]
        assert list(groups) == []


def test_what_comes_within_a_moment_comes_in_one_group(
    serve_connected: ServeConnected, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, answered = threading.Event(), threading.Semaphore(0)

    def second(peer: Peer) -> None:
        peer.read_request()
        started.wait(LONG_S)
        peer.send_bytes(OURS)
        answered.release()
        peer.wait()

    def within_the_moment() -> None:
        started.set()
        assert all(answered.acquire(timeout=LONG_S) for _ in range(2))

    servers = serve_connected(hanging(OURS), second, hanging(), second)
    replace_gather_pause(monkeypatch, within_the_moment)
    with groups_of(client, requests_to(servers)) as groups:
        assert indexes(next(groups)) == [0, 1, 3]


def test_the_last_answer_is_not_waited_for_a_moment_longer(
    serve_connected: ServeConnected, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = serve_connected(hanging(OURS))
    replace_gather_pause(monkeypatch, lambda: pytest.fail("nobody else can come"))

    assert bodies(outcomes(client, requests_to(servers))) == [b"ours"]


def test_what_has_not_come_at_the_deadline_is_lost_and_its_connection_closed(
    serve_connected: ServeConnected, client: HttpClient
) -> None:
    quick, silent, half = serve_connected(hanging(OURS), hanging(), hanging(CUT + b"x"))

    results = outcomes(client, requests_to([quick, silent, half], Authorization=SECRET), deadline_s=SHORT_S)

    assert bodies(results[:1]) == [b"ours"]
    assert [type(result) for result in results[1:]] == [AnswerLost] * 2
    assert [str(result) for result in results[1:]] == [f"{server.url}: timed out" for server in (silent, half)]
    assert silent.hung_up.wait(LONG_S)
    assert half.hung_up.wait(LONG_S)


def test_what_came_while_another_answer_was_dealt_with_is_not_lost(
    serve_connected: ServeConnected, client: HttpClient
) -> None:
    come = threading.Event()

    def answering_late(peer: Peer) -> None:
        peer.read_request()
        come.wait(LONG_S)
        peer.send_bytes(OURS)

    quick, late, silent = serve_connected(hanging(OURS), answering_late, hanging())
    groups: Any = client.send_all(requests_to([quick, late, silent]), deadline_s=SHORT_S)
    with closing(groups):
        assert indexes(next(groups)) == [0]
        come.set()
        (sockets,) = [result for result in waiting_sockets(groups) if result]
        readiness = select.poll()
        for connection in sockets:
            readiness.register(connection, select.POLLIN)
        assert readiness.poll(1000 * LONG_S)  # it has come
        time.sleep(SHORT_S)  # and the deadline is over: no more than that is waited for here
        assert bodies([result for _, result in next(groups)]) == [b"ours"]
        ((number, lost),) = next(groups)
        assert (number, type(lost)) == (2, AnswerLost)


def waiting_sockets(groups: Any) -> Iterator[list[int]]:
    """The socket of the second call, while its response has not come."""
    for handle, number in groups.gi_yieldfrom.gi_frame.f_locals["self"]._waiting.items():
        if number == 1:
            yield [handle.curl.getinfo(pycurl.ACTIVESOCKET)]


def test_a_deadline_that_has_passed_sends_nothing(serve_connected: ServeConnected, client: HttpClient) -> None:
    (server,) = serve_connected(keeping(OURS))

    assert outcomes(client, requests_to([server]), deadline_s=0) == [None]
    assert len(server.requests) == 1


def test_a_request_that_the_server_does_not_take_in_time_is_lost(serve: Serve, client: HttpClient) -> None:
    given_up = threading.Event()
    server = serve(lambda peer: given_up.wait(LONG_S) and None)

    results = outcomes(client, [Request("PUT", server.url, raw=bytes(16 << 20))], deadline_s=2)
    given_up.set()

    assert [type(result) for result in results] == [AnswerLost]


# --- answers that come in pieces


PIECES: dict[str, tuple[bytes, ...]] = {
    "head, then body": (HEAD + b"Content-Length: 4\r\n\r\n", b"ours"),
    "split in the middle of the head": (b"HTTP/1.1 2", b"00 OK\r\nContent-Len", b"gth: 4\r\n\r\nours"),
    "split in the end of the head": (HEAD + b"Content-Length: 4\r", b"\n\r", b"\nours"),
    "chunks": (CHUNKED, b"2\r\nou", b"\r", b"\n2\r\nrs\r\n", b"0\r\n", b"\r\n"),
    "chunks and trailers": (CHUNKED + b"4;x=y\r\nours\r\n0\r\n", b"X: ", b"y\r\n\r\n"),
    "hints": (HINT[:20], HINT[20:], HINT + OURS[:-1], OURS[-1:]),
    "byte by byte": tuple(OURS[at : at + 1] for at in range(len(OURS))),
}


def saying(*pieces: bytes) -> Script:
    """Send one piece at a time, and keep the connection open."""

    def script(peer: Peer) -> None:
        peer.read_request()
        for piece in pieces:
            peer.send_bytes(piece)
            time.sleep(0.01)
        peer.wait()

    return script


@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
def test_an_answer_in_pieces_is_whole_and_its_connection_kept(
    serve_connected: ServeConnected, client: HttpClient, pieces: tuple[bytes, ...]
) -> None:
    servers = serve_connected(saying(*pieces))

    assert bodies(outcomes(client, requests_to(servers))) == [b"ours"]
    assert not servers[0].hung_up.is_set()


def test_an_answer_larger_than_a_record_and_than_a_read_is_whole(
    serve_connected: ServeConnected, client: HttpClient
) -> None:
    body = bytes(range(256)) * 1000

    assert bodies(outcomes(client, requests_to(serve_connected(hanging(http_response(body)))))) == [body]


# --- connections that break, and answers that are none


def breaking(data: bytes = b"", reset: bool = False) -> Script:
    """Send this much of a response, and end the connection."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send_bytes(data)
        if reset:
            peer.reset()

    return script


FAULTS: dict[str, Script] = {
    "closed within the head": breaking(HEAD + b"Content-Le"),
    "closed within the body": breaking(CUT + b"x"),
    "closed within the chunks": breaking(CHUNKED + b"2\r\n{}\r\n"),
    "closed after a hint": breaking(HINT),
    "reset within the body": breaking(CUT + b"x", reset=True),
    "a malformed status": hanging(b"what?\r\n\r\n"),
    "two lengths": hanging(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    "a chunk of no size": hanging(CHUNKED + b"-1\r\n"),
    "too many headers": hanging(HEAD + b"X: y\r\n" * 9000 + b"\r\n"),
    "compressed": breaking(http_response(b"\x1f\x8b\x08", "Content-Encoding: gzip")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_answer_that_is_none_is_lost_at_once_and_harms_no_other(
    serve_connected: ServeConnected, client: HttpClient, fault: str
) -> None:
    server, sound = serve_connected(FAULTS[fault], hanging(OURS))

    requests = [get(f"{server.url}/?key={SECRET}", Authorization=SECRET), get(sound.url)]
    lost, whole = outcomes(client, requests)

    assert isinstance(lost, AnswerLost)
    assert str(lost).startswith(f"{server.url}: ")
    assert SECRET not in str(lost)
    assert "timed out" not in str(lost)
    assert bodies([whole]) == [b"ours"]
    assert bodies(outcomes(client, requests_to([server]))) == [b'{"hello":"world"}']


@pytest.mark.parametrize("head", [HEAD + b"\r\n", HEAD + b"Content-Length: 52428800\r\n\r\n"])
def test_an_answer_over_the_cap_is_not_read_to_its_end(
    serve_connected: ServeConnected, client: HttpClient, head: bytes
) -> None:
    (server,) = serve_connected(flooding(head, 50 << 20))

    assert [type(result) for result in outcomes(client, requests_to([server]), max_bytes=65536)] == [Oversized]
    assert server.sent_bytes < 25 << 20  # what the sockets' buffers take, at most


def test_the_cap_itself_is_still_taken(serve_connected: ServeConnected, client: HttpClient) -> None:
    servers = serve_connected(hanging(http_response(b"x" * 200)))

    assert bodies(outcomes(client, requests_to(servers), max_bytes=200)) == [b"x" * 200]


# --- what becomes of the connections


CLOSING = http_response(b"ours", "Connection: close")


@pytest.mark.parametrize("script", [hanging(CLOSING), responding(CLOSING), hanging(OURS + EVIL)])
def test_an_answer_that_ends_its_connection_is_taken_and_the_connection_is_not_kept(
    serve_connected: ServeConnected, client: HttpClient, script: Script
) -> None:
    (server,) = serve_connected(script)

    assert bodies(outcomes(client, requests_to([server]))) == [b"ours"]
    assert bodies(outcomes(client, requests_to([server]))) == [b'{"hello":"world"}']
    assert server.connections == 2


def test_whoever_takes_no_more_answers_leaves_no_call_under_way(
    serve_connected: ServeConnected, client: HttpClient
) -> None:
    quick, slow = serve_connected(keeping(OURS), hanging())

    with groups_of(client, requests_to([quick, slow])) as groups:
        assert indexes(next(groups)) == [0]

    assert slow.hung_up.wait(LONG_S)
    assert bodies(outcomes(client, requests_to([quick]))) == [b"ours"]
    assert quick.connections == 1


def test_whoever_takes_nothing_leaves_nothing_open(serve_connected: ServeConnected, client: HttpClient) -> None:
    (server,) = serve_connected(keeping(OURS))

    with warnings.catch_warnings(record=True) as left_open:
        warnings.simplefilter("always")
        with groups_of(client, [get("http://["), *requests_to([server])]) as groups:
            assert next(groups) == [(0, None)]

    assert left_open == []
    assert len(server.requests) == 1


# --- requests that cannot be sent


@pytest.mark.parametrize(
    "url", ["", "gateway.test", "ftp://gateway.test/", "http://[/", "http://me:word@gateway.test/", "http://a:b/"]
)
def test_a_request_to_what_is_no_address_is_not_sent_and_harms_no_other(
    serve_connected: ServeConnected, client: HttpClient, url: str
) -> None:
    first, second = requests_to(serve_connected(hanging(OURS), hanging(OURS)))

    assert bodies(outcomes(client, [first, get(url), second])) == [b"ours", None, b"ours"]


def test_a_request_that_cannot_be_said_is_not_sent_and_leaves_its_connection(
    serve_connected: ServeConnected, client: HttpClient
) -> None:
    (server,) = serve_connected(keeping(OURS))
    unsayable = [get(server.url, Authorization="a\r\nX: y"), Request("POST", server.url, {}, {"prompt": "\ud83d"})]

    assert bodies(outcomes(client, [*unsayable, get(server.url)])) == [None, None, b"ours"]
    assert (server.connections, len(server.requests)) == (1, 2)
