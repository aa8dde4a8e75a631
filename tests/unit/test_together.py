"""Many calls in one thread, over connections that stand."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from ipaddress import ip_network
from itertools import chain, pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from fault_server import FaultServer, Peer, Script, answer, answering, flooding, hanging, keeping
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import together
from shared.domain.wire import Request, Response
from shared.egress import Origin
from shared.http import AnswerLost, Outside, Oversized
from shared.http11 import PIECE_BYTES, Line
from shared.together import LOOKS, Asked, Glance, NotYet, Outcome

LOOPBACK = (ip_network("127.0.0.0/8"),)
HERE = Origin("http", "gateway.test", 80)
SECRET = "hush"
LONG_S = 10.0  # a deadline that no test should meet
SHORT_S = 0.3
HEAD = b"HTTP/1.1 200 OK\r\n"
CUT = HEAD + b"Content-Length: 200\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
HINT = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
HELLO, OURS, EVIL = answer(b"hello"), answer(b"ours"), answer(b"evil")

Serve = Callable[[Script], FaultServer]
Stand = Callable[..., list[FaultServer]]


@pytest.fixture(params=["http", "https"])
def serve(request: pytest.FixtureRequest, tls: ssl.SSLContext) -> Iterator[Serve]:
    """Start a server of either kind; its `url` is what to ask."""
    with ExitStack() as servers:

        def start(script: Script) -> FaultServer:
            server = servers.enter_context(FaultServer(script, tls=tls if request.param == "https" else None))
            server.url = f"{request.param}://gateway.test:{server.port}"
            return server

        yield start


@pytest.fixture
def calls(tls: ssl.SSLContext) -> Iterator[Outside]:
    with closing(Outside(LOOPBACK)) as outside:
        yield outside


@pytest.fixture
def standing(serve: Serve, calls: Outside) -> Stand:
    """Start a server for each script, with a connection that stands; by the script the next call on it is served."""

    def start(*scripts: Script) -> list[FaultServer]:
        servers = [serve(greeting(script)) for script in scripts]
        for server in servers:
            calls.send(get(server.url), deadline_s=LONG_S)
        return servers

    return start


def greeting(script: Script) -> Script:
    """Answer the first call of a connection; the rest is the script's."""

    def whole(peer: Peer) -> None:
        peer.take()
        peer.say(HELLO)
        script(peer)

    return whole


def get(url: str, **headers: str) -> Request:
    return Request("GET", url, headers)


def stand(calls: Outside, server: FaultServer, count: int) -> None:
    """So many connections to one server stand from now on."""
    with ExitStack() as opened:
        for _ in range(count):
            stream = opened.enter_context(calls.stream(get(server.url), deadline_s=LONG_S))
            assert list(stream.chunks(100)) == [b"hello"]


def outcomes(calls: Outside, requests: Sequence[Request], deadline_s: float = LONG_S, **options: Any) -> list[Outcome]:
    """What came of each call, in their order; each is told of once."""
    found = list(chain.from_iterable(calls.send_all(requests, deadline_s=deadline_s, **options)))
    assert numbers(found) == list(range(len(requests)))
    return [dict(found)[number] for number in range(len(requests))]


def asked(servers: Sequence[FaultServer], **headers: str) -> list[Request]:
    return [get(server.url, **headers) for server in servers]


def bodies(found: Sequence[Outcome]) -> list[bytes | AnswerLost | None]:
    """The bodies of answers; what is none as it is."""
    return [one.body if isinstance(one, Response) else one for one in found]


def numbers(group: Sequence[tuple[int, Outcome]]) -> list[int]:
    return sorted(number for number, _ in group)


@contextmanager
def told(calls: Outside, requests: Sequence[Request]) -> Iterator[Iterator[list[tuple[int, Outcome]]]]:
    """The answers in groups, as they come; at the end no more of them are taken."""
    groups: Any = calls.send_all(requests, deadline_s=LONG_S)
    with closing(groups):
        yield groups


@contextmanager
def took_between(least_s: float, most_s: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert least_s <= time.monotonic() - began < most_s


def moment(monkeypatch: pytest.MonkeyPatch, wait: Callable[[], object]) -> None:
    """The moment for which answers are waited longer lasts until this has happened."""
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: wait())
    monkeypatch.setattr(together, "time", clock)


# --- connections that stand


def test_without_a_connection_that_stands_nothing_is_sent(serve: Serve, calls: Outside) -> None:
    server = serve(keeping(HELLO))

    groups = list(calls.send_all(asked([server, server]), deadline_s=LONG_S))

    assert groups == [[(0, None), (1, None)]]
    assert (server.connections, server.requests) == (0, [])


def test_the_connections_that_stand_are_used_and_none_is_opened(serve: Serve, calls: Outside) -> None:
    server = serve(keeping(HELLO))
    stand(calls, server, 3)

    for _ in range(2):
        assert bodies(outcomes(calls, asked([server] * 3))) == [b"hello"] * 3

    assert (server.connections, len(server.requests)) == (3, 9)


def test_one_call_more_than_connections_stand_is_told_of_first_and_not_sent(serve: Serve, calls: Outside) -> None:
    server = serve(keeping(HELLO))
    stand(calls, server, 2)

    first, *rest = calls.send_all(asked([server] * 3), deadline_s=LONG_S)

    assert first == [(2, None)]
    assert numbers([one for group in rest for one in group]) == [0, 1]
    assert (server.connections, len(server.requests)) == (2, 4)


def test_each_call_gets_the_answer_to_its_own_question(serve: Serve, calls: Outside) -> None:
    def echo(peer: Peer) -> None:
        while said := peer.take():
            peer.say(answer(said.split(b" ")[1][1:] or b"hello"))

    server = serve(echo)
    stand(calls, server, 5)

    found = outcomes(calls, [get(f"{server.url}/{number}") for number in range(5)])

    assert bodies(found) == [b"0", b"1", b"2", b"3", b"4"]


def test_a_call_says_the_same_as_one_that_is_sent_alone(standing: Stand, calls: Outside) -> None:
    (server,) = standing(keeping(OURS))
    request = Request("POST", f"{server.url}/v1?a=b", {"Authorization": "Bearer key"}, {"prompt": "a pier at dawn"})

    outcomes(calls, [request])
    calls.send(request, deadline_s=LONG_S)

    assert server.requests[1] == server.requests[2]
    assert server.requests[1].endswith(b'{"prompt":"a pier at dawn"}')


def test_no_calls_are_no_trouble(calls: Outside) -> None:
    assert outcomes(calls, []) == []


def test_a_connection_that_was_closed_meanwhile_does_not_stand(standing: Stand, calls: Outside) -> None:
    gate = threading.Event()
    (server,) = standing(lambda peer: gate.wait(5) and None)
    (line,) = kept_lines(calls)
    gate.set()
    assert select.select([line], [], [], 5)[0] == [line]

    assert outcomes(calls, asked([server])) == [None]
    assert len(server.requests) == 1


def kept_lines(calls: Outside) -> list[Line]:
    return list(chain.from_iterable(calls._kept._idle.values()))


# --- answers in groups, as they come


def test_a_slow_answer_does_not_hold_up_the_quick(standing: Stand, calls: Outside) -> None:
    gate = threading.Event()

    def slow(peer: Peer) -> None:
        peer.take()
        gate.wait(5)
        peer.say(OURS)
        peer.wait()

    with told(calls, asked(standing(slow, hanging(OURS)))) as groups:
        assert numbers(next(groups)) == [1]
        gate.set()
        assert numbers(next(groups)) == [0]
        assert list(groups) == []


def test_what_comes_within_a_moment_comes_in_one_group(
    standing: Stand, calls: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, said = threading.Event(), threading.Semaphore(0)

    def second(peer: Peer) -> None:
        peer.take()
        begun.wait(5)
        peer.say(OURS)
        said.release()
        peer.wait()

    def within_the_moment() -> None:
        begun.set()
        assert all(said.acquire(timeout=5) for _ in range(2))

    servers = standing(hanging(OURS), second, hanging(), second)
    moment(monkeypatch, within_the_moment)
    with told(calls, asked(servers)) as groups:
        assert numbers(next(groups)) == [0, 1, 3]


def test_the_last_answer_is_not_waited_for_a_moment_longer(
    standing: Stand, calls: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment(monkeypatch, lambda: pytest.fail("nobody else can come"))

    assert bodies(outcomes(calls, asked(standing(hanging(OURS))))) == [b"ours"]


def test_what_has_not_come_at_the_deadline_is_lost_and_its_connection_closed(standing: Stand, calls: Outside) -> None:
    quick, silent, half = standing(hanging(OURS), hanging(), hanging(CUT + b"x"))

    with took_between(SHORT_S, SHORT_S + 1):
        found = outcomes(calls, asked([quick, silent, half], Authorization=SECRET), deadline_s=SHORT_S)

    assert bodies(found[:1]) == [b"ours"]
    assert [type(one) for one in found[1:]] == [AnswerLost] * 2
    assert [str(one) for one in found[1:]] == [f"{server.url}: TimeoutError" for server in (silent, half)]
    assert silent.hung_up.wait(5)
    assert half.hung_up.wait(5)


def test_where_one_cannot_be_said_the_connections_of_those_before_it_are_closed(
    standing: Stand, calls: Outside
) -> None:
    (first,) = standing(hanging())

    with pytest.raises(TypeError) as told:  # which holds on to all that it came through
        calls.send_all([get(first.url), Request("POST", first.url, {}, {"odd": object()})], deadline_s=LONG_S)
    assert first.hung_up.wait(5)
    assert told.tb


def test_what_came_while_another_answer_was_dealt_with_is_not_lost(standing: Stand, calls: Outside) -> None:
    def answering_late(peer: Peer) -> None:
        peer.take()
        time.sleep(SHORT_S / 3)
        peer.say(OURS)

    quick, late, silent = standing(keeping(OURS), answering_late, hanging())

    groups = calls.send_all(asked([quick, late, silent]), deadline_s=SHORT_S)
    assert numbers(next(groups)) == [0]
    time.sleep(SHORT_S)
    assert [bodies([one for _, one in group]) for group in [next(groups)]] == [[b"ours"]]
    ((number, lost),) = next(groups)
    assert (number, type(lost)) == (2, AnswerLost)


def test_a_deadline_that_has_passed_sends_nothing(standing: Stand, calls: Outside) -> None:
    (server,) = standing(keeping(OURS))

    assert outcomes(calls, asked([server]), deadline_s=0) == [None]
    assert len(server.requests) == 1


def test_a_request_that_the_server_does_not_take_in_time_is_given_up_and_its_connection_not_kept(
    standing: Stand, calls: Outside
) -> None:
    gate = threading.Event()
    (server,) = standing(lambda peer: gate.wait(5) and None)

    with took_between(SHORT_S, SHORT_S + 2):
        found = outcomes(calls, [Request("POST", server.url, raw=bytes(16 << 20))], deadline_s=SHORT_S)
    gate.set()

    assert (found, kept_lines(calls)) == ([None], [])


# --- answers that come in pieces


PIECES: dict[str, tuple[bytes, ...]] = {
    "head, then body": (HEAD + b"Content-Length: 4\r\n\r\n", b"ours"),
    "split in the middle of the head": (b"HTTP/1.1 2", b"00 OK\r\nContent-Len", b"gth: 4\r\n\r\nours"),
    "split in the end of the head": (HEAD + b"Content-Length: 4\r", b"\n\r", b"\nours"),
    "chunks": (CHUNKED, b"2\r\nou", b"\r", b"\n2\r\nrs\r\n", b"0\r\n", b"\r\n"),
    "chunks and trailers": (CHUNKED + b"4;x=y\r\nours\r\n0\r\n", b"X: ", b"y\r\n\r\n"),
    "hints": (HINT[:20], HINT[20:], HINT + OURS[:-1], OURS[-1:]),
}


def saying(*pieces: bytes) -> Script:
    """Say a piece at a time, and keep the connection open."""

    def script(peer: Peer) -> None:
        peer.take()
        for piece in pieces:
            peer.say(piece)
            time.sleep(0.01)
        peer.wait()

    return script


@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
def test_an_answer_in_pieces_is_whole_and_its_connection_kept(
    standing: Stand, calls: Outside, pieces: tuple[bytes, ...]
) -> None:
    servers = standing(saying(*pieces))

    assert bodies(outcomes(calls, asked(servers))) == [b"ours"]
    assert not servers[0].hung_up.is_set()
    assert len(kept_lines(calls)) == 1


@contextmanager
def sent(max_bytes: int = 1 << 20) -> Iterator[tuple[Asked, socket.socket, list[Line]]]:
    """A request that was sent, the server's end, and the connections that were given back."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        call, kept = Glance(LONG_S), list[Line]()
        call.origin, call.begun = HERE, True
        yield Asked("GET", Line(ours), call, kept.append, max_bytes), theirs, kept


def come(one: Asked, server: socket.socket, *pieces: bytes) -> None:
    """The pieces come, each is looked at, and none of them is the last."""
    for piece in pieces:
        server.sendall(piece)
        with pytest.raises(NotYet):
            one.outcome()


def has_hung_up(server: socket.socket) -> bool:
    server.setblocking(False)
    try:
        return server.recv(1) == b""
    except BlockingIOError:
        return False


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([*map(b"".join, PIECES.values()), HINT * 3 + b"HTTP/1.1 304 Same\r\nETag: 1\r\n\r\n"]),
    st.sets(st.integers(1, 150), max_size=LOOKS - 1),
)
def test_an_answer_cut_anywhere_is_whole_with_its_last_piece_and_not_before(data: bytes, cuts: set[int]) -> None:
    edges = sorted({0, len(data)} | {cut for cut in cuts if cut < len(data)})
    *first, last = (data[start:stop] for start, stop in pairwise(edges))
    with sent() as (one, server, kept):
        come(one, server, *first)
        server.sendall(last)
        got = one.outcome()

    assert isinstance(got, Response)
    assert (got.status, got.body) in ((200, b"ours"), (304, b""))
    assert kept == [one.line]


@pytest.mark.parametrize(("pieces", "outcome"), [(LOOKS, b"x" * (LOOKS - 1)), (LOOKS + 1, None)])
def test_an_answer_in_too_many_pieces_is_given_up_and_its_connection_closed(pieces: int, outcome: bytes | None) -> None:
    body = b"x" * (pieces - 1)
    with sent() as (one, server, kept):
        come(one, server, answer(body)[: -len(body)], *[b"x"] * (LOOKS - 2))
        server.sendall(b"x")
        got = one.outcome()

        assert bodies([got]) == [outcome]
        assert has_hung_up(server) is (outcome is None)
    assert (got is None) is (kept == [])


def test_an_answer_that_trickles_is_left_to_a_call_of_its_own(standing: Stand, calls: Outside) -> None:
    (server,) = standing(lambda peer: peer.take() and peer.trickle(answer(b"x" * 200), every_s=0.01))

    assert outcomes(calls, asked([server])) == [None]
    assert calls.send(get(server.url), deadline_s=LONG_S).body == b"hello"
    assert server.connections == 2


# --- answers that come at once


def test_an_answer_larger_than_a_record_and_than_a_read_is_whole(standing: Stand, calls: Outside) -> None:
    body = bytes(range(256)) * 1000
    assert len(body) > 3 * PIECE_BYTES

    assert bodies(outcomes(calls, asked(standing(hanging(answer(body)))))) == [body]


def test_what_has_come_in_many_records_is_taken_in_one_look(
    standing: Stand, calls: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = threading.Event()

    def scattered(peer: Peer) -> None:
        peer.take()
        for byte in OURS:
            peer.say(bytes([byte]))
        said.set()
        peer.wait()

    assert len(OURS) > LOOKS
    servers = standing(scattered, hanging())
    moment(monkeypatch, lambda: said.wait(5))
    with told(calls, asked(servers)) as groups:
        assert bodies([got for _, got in next(groups)]) == [b"ours"]


# --- connections that break


def breaking(data: bytes = b"", reset: bool = False) -> Script:
    """Say so much of an answer, and end the connection."""

    def script(peer: Peer) -> None:
        peer.take()
        peer.say(data)
        if reset:
            peer.reset()

    return script


BROKEN: dict[str, Script] = {
    "closed without an answer": breaking(),
    "closed within the head": breaking(HEAD + b"Content-Le"),
    "closed within the body": breaking(CUT + b"x"),
    "closed within the chunks": breaking(CHUNKED + b"2\r\n{}\r\n"),
    "closed after a hint": breaking(HINT),
    "reset without an answer": breaking(reset=True),
    "reset within the body": breaking(CUT + b"x", reset=True),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_call_whose_connection_broke_is_left_to_a_call_of_its_own(
    standing: Stand, calls: Outside, fault: str
) -> None:
    broken, sound = standing(BROKEN[fault], hanging(OURS))

    with took_between(0, 5):
        assert bodies(outcomes(calls, asked([broken, sound]))) == [None, b"ours"]

    assert len(broken.requests) == 2  # it was sent, and nothing is tried again
    assert calls.send(get(broken.url), deadline_s=LONG_S).body == b"hello"
    assert broken.connections == 2


# --- answers that are none


FAULTS: dict[str, tuple[bytes, type[AnswerLost], str]] = {
    "a malformed status": (b"what?\r\n\r\n", AnswerLost, "BadStatusLine"),
    "two lengths": (HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", AnswerLost, "ValueError"),
    "a chunk of no size": (CHUNKED + b"-1\r\n", AnswerLost, "ValueError"),
    "too many headers": (HEAD + b"X: y\r\n" * 200 + b"\r\n", AnswerLost, "BadStatusLine"),
    "compressed": (answer(b"\x1f\x8b", "Content-Encoding: gzip"), AnswerLost, "the answer is compressed"),
    "a length over the cap": (CUT, Oversized, "the answer is over 199 bytes"),
    "chunks over the cap": (
        CHUNKED + b"64\r\n" + b"x" * 100 + b"\r\n64\r\nx",
        Oversized,
        "the answer is over 199 bytes",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_answer_that_is_none_is_lost_at_once_and_its_connection_closed(
    standing: Stand, calls: Outside, fault: str
) -> None:
    data, kind, text = FAULTS[fault]
    server, sound = standing(hanging(data), hanging(OURS))

    requests = [get(f"{server.url}/?key={SECRET}", Authorization=SECRET), get(sound.url)]
    with took_between(0, 5):
        lost, whole = outcomes(calls, requests, max_bytes=199)

    assert (type(lost), str(lost)) == (kind, f"{server.url}: {text}")
    assert bodies([whole]) == [b"ours"]
    assert server.hung_up.wait(5)
    assert calls.send(get(server.url), deadline_s=LONG_S).body == b"hello"


@pytest.mark.parametrize("head", [HEAD + b"\r\n", HEAD + b"Content-Length: 52428800\r\n\r\n"])
def test_an_answer_over_the_cap_is_not_read_to_its_end(standing: Stand, calls: Outside, head: bytes) -> None:
    (server,) = standing(flooding(head, 50 << 20))

    assert [type(one) for one in outcomes(calls, asked([server]), max_bytes=PIECE_BYTES)] == [Oversized]
    assert server.sent_bytes < 25 << 20  # what the sockets' buffers take, at most


def test_the_cap_itself_is_still_taken(standing: Stand, calls: Outside) -> None:
    servers = standing(hanging(answer(b"x" * 200)))

    assert bodies(outcomes(calls, asked(servers), max_bytes=200)) == [b"x" * 200]


# --- what becomes of the connections


CLOSING = answer(b"ours", "Connection: close")


@pytest.mark.parametrize("script", [hanging(CLOSING), answering(CLOSING), hanging(OURS + EVIL)])
def test_an_answer_that_ends_its_connection_is_taken_and_the_connection_is_not_kept(
    standing: Stand, calls: Outside, script: Script
) -> None:
    (server,) = standing(script)

    assert bodies(outcomes(calls, asked([server]))) == [b"ours"]
    assert kept_lines(calls) == []
    assert calls.send(get(server.url), deadline_s=LONG_S).body == b"hello"
    assert server.connections == 2


def test_a_connection_that_was_looked_at_waits_again_for_later_calls_and_only_to_their_deadline(
    standing: Stand, calls: Outside
) -> None:
    def answering_late(peer: Peer) -> None:
        for pause_s in (0, 0.05):
            peer.take()
            time.sleep(pause_s)
            peer.say(OURS)
        hanging()(peer)

    (server,) = standing(answering_late)
    assert bodies(outcomes(calls, asked([server]))) == [b"ours"]
    assert calls.send(get(server.url), deadline_s=LONG_S).body == b"ours"

    with took_between(SHORT_S, SHORT_S + 1), pytest.raises(AnswerLost, match="TimeoutError"):
        calls.send(get(server.url), deadline_s=SHORT_S)

    assert (server.connections, len(server.requests)) == (1, 4)


def test_whoever_takes_no_more_answers_leaves_no_call_under_way(standing: Stand, calls: Outside) -> None:
    quick, slow = standing(keeping(OURS), hanging())

    with told(calls, asked([quick, slow])) as groups:
        assert numbers(next(groups)) == [0]

    assert slow.hung_up.wait(5)
    assert calls.send(get(quick.url), deadline_s=LONG_S).body == b"ours"
    assert quick.connections == 1


def test_whoever_takes_nothing_after_what_does_not_stand_leaves_no_call_under_way(
    standing: Stand, calls: Outside
) -> None:
    (slow,) = standing(hanging())

    with warnings.catch_warnings(record=True) as left_open:
        warnings.simplefilter("always")
        with told(calls, [get("http://gateway.test:1/"), *asked([slow])]) as groups:
            assert next(groups) == [(0, None)]

    assert slow.hung_up.wait(5)
    assert left_open == []  # not by the collector of garbage


# --- requests that cannot be sent


@pytest.mark.parametrize(
    "url", ["", "gateway.test", "ftp://gateway.test/", "http://[/", "http://me:word@gateway.test/", "http://a:b/"]
)
def test_a_request_to_what_is_no_address_is_not_sent_and_harms_no_other(
    standing: Stand, calls: Outside, url: str
) -> None:
    servers = standing(hanging(OURS), hanging(OURS))

    first, second = asked(servers)

    assert bodies(outcomes(calls, [first, get(url), second])) == [b"ours", None, b"ours"]


def test_a_request_that_cannot_be_said_is_not_sent_and_leaves_its_connection(standing: Stand, calls: Outside) -> None:
    (server,) = standing(keeping(OURS))
    unsayable = [get(server.url, Authorization="a\r\nX: y"), Request("POST", server.url, {}, {"prompt": "\ud83d"})]

    assert bodies(outcomes(calls, [*unsayable, get(server.url)])) == [None, None, b"ours"]
    assert (server.connections, len(server.requests)) == (1, 2)


# --- looking at a connection


def wait_s() -> float:
    return LONG_S


@pytest.fixture
def line() -> Iterator[tuple[Line, socket.socket]]:
    """A connection and the server's end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Line(ours), theirs


def test_a_look_takes_in_what_has_come_and_waits_for_nothing(line: tuple[Line, socket.socket]) -> None:
    ours, server = line
    with took_between(0, 1):
        assert ours.look()
    server.sendall(b"one\r\n\r\ntwo")

    assert ours.look()
    assert ours.head(wait_s) == b"one"
    assert ours.some(9, wait_s) == b"two"


def test_a_look_at_a_closed_connection_says_so_and_what_came_before_can_still_be_read(
    line: tuple[Line, socket.socket],
) -> None:
    ours, server = line
    server.sendall(b"one\r\n\r\n")
    server.close()

    assert [ours.look(), ours.look()] == [True, False]
    assert ours.head(wait_s) == b"one"


def test_what_was_taken_since_the_last_look_can_be_taken_again(line: tuple[Line, socket.socket]) -> None:
    ours, server = line
    server.sendall(b"zero\r\n\r\none\r\n\r\n")
    ours.look()
    ours.head(wait_s)
    server.sendall(b"two\r\n\r\n")
    ours.look()

    for _ in range(2):
        assert [ours.head(wait_s), ours.head(wait_s)] == [b"one", b"two"]
        ours.unread()


class Flood(ssl.SSLSocket):
    """Gives whatever is asked for; a bound, so that a test that it floods comes to its end."""

    given_bytes = 0

    def settimeout(self, value: float | None) -> None:
        pass

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        if self.given_bytes > 8 << 20:
            raise ssl.SSLWantReadError
        self.given_bytes += buflen
        return b"x" * buflen


def test_a_look_at_a_flood_over_tls_is_bounded() -> None:
    flood = Flood.__new__(Flood)

    Line(flood).look()

    assert flood.given_bytes <= 4 << 20
