from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from http.client import BadStatusLine, HTTPException, HTTPResponse, LineTooLong
from ipaddress import ip_network
from itertools import pairwise

import pytest
from fault_server import FaultServer, answer, answering, keeping
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.wire import Request
from shared.egress import Origin
from shared.http import AnswerLost, NotSent, Outside, Oversized
from shared.http11 import HEAD_BYTES, PIECE_BYTES, Answer, Kept, Line, spoken

LOOPBACK = (ip_network("127.0.0.0/8"),)
HERE = Origin("http", "gateway.test", 80)
TROUBLE = (OSError, ValueError, HTTPException)
LONG_S = 10.0
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
OURS, EVIL = answer(b"ours"), answer(b"evil")
quick = settings(max_examples=150, deadline=None)


class Doled(socket.socket):
    """A socket that gives and takes so many bytes at a time, as a slow network does, or TLS by its records."""

    def __init__(self, sock, sizes):
        super().__init__(fileno=sock.detach())
        self.sizes, self.sends = list(sizes) or [PIECE_BYTES], 0

    def next(self):
        self.sizes.append(self.sizes.pop(0))
        return self.sizes[-1]

    def recv(self, most):
        return super().recv(min(most, self.next()))

    def send(self, data):
        self.sends += 1
        return super().send(data[: self.next()])

    def sendall(self, data):
        sent = 0
        while sent < len(data):
            sent += self.send(data[sent:])


def wait_s():
    return 5.0


@contextlib.contextmanager
def pair(sizes=()):
    """Our end and the server's."""
    ours, theirs = socket.socketpair()
    with Doled(ours, sizes) as sock, theirs:
        yield sock, theirs


def read(data, *, method="GET", sizes=(), closes=True):
    """Status, headers and body of the one answer in this data, and whether the connection may be used again."""
    with pair(sizes) as (sock, server):
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        sock.settimeout(5)
        writer = threading.Thread(target=say, args=(server, data, closes), daemon=True)
        writer.start() if len(data) > 100_000 else say(server, data, closes)
        got = Answer(Line(sock), method, wait_s)
        return got.status, got.headers, body_of(got), got.keeps


def say(server, data, closes):
    with contextlib.suppress(OSError):
        server.sendall(data)
        if closes:
            server.shutdown(socket.SHUT_WR)


def body_of(got):
    return b"".join(iter(lambda: got.some(PIECE_BYTES, wait_s), b""))


def read_by_the_library(data, method):
    with pair() as (sock, server):
        say(server, data, True)
        got = HTTPResponse(sock, method=method)
        with contextlib.closing(got):
            got.begin()
            return got.status, {name.lower(): value for name, value in got.headers.items()}, got.read()


# Answers as real servers frame them

TOKEN = st.text("abcXYZ019-_", min_size=1, max_size=8).map(lambda name: f"X-{name}")
VALUE = st.text('abc ,;:="/\xe9\xff\t', max_size=12).map(str.strip)
END = st.sampled_from([b"\r\n", b"\n"])
SIZES = st.lists(st.integers(1, 40), max_size=6)


@st.composite
def chunks(draw, body, end):
    cuts = sorted(draw(st.sets(st.integers(0, len(body)), max_size=5)) | {0, len(body)})
    said = b""
    for start, stop in pairwise(cuts):
        size = draw(st.sampled_from(["%x", "%X", "00%x", "%x ", "%x;a=b", "%x ; a"])) % (stop - start)
        said += size.encode() + end + body[start:stop] + end
    trailers = draw(st.lists(TOKEN, max_size=2))
    return said + b"0" + end + b"".join(f"{name}: z".encode() + end for name in trailers) + end


@st.composite
def answers(draw, framings=("length", "chunked", "close"), statuses=(200, 201, 404, 503, 204, 304)):
    """Method, bytes, status, headers and body of an answer."""
    method, status = draw(st.sampled_from(["GET", "POST", "HEAD"])), draw(st.sampled_from(statuses))
    end, framing = draw(END), draw(st.sampled_from(framings))
    body = draw(st.binary(max_size=60))
    headers = draw(
        st.dictionaries(TOKEN, VALUE, max_size=4).filter(lambda all_: len({*map(str.lower, all_)}) == len(all_))
    )
    headers |= {"length": {"content-LENGTH": str(len(body))}, "chunked": {"Transfer-Encoding": "Chunked"}}.get(
        framing, {}
    )
    version, reason = draw(st.sampled_from(["1.0", "1.1"])), draw(st.sampled_from([" OK", "", " ", " Not so fine"]))
    hints = draw(st.integers(0, 2)) * (b"HTTP/1.1 100 Continue" + end + end)
    lines = [f"HTTP/{version} {status}{reason}", *(f"{name}:{value}" for name, value in headers.items()), "", ""]
    bodiless = method == "HEAD" or status in (204, 304)
    framed = b"" if bodiless else draw(chunks(body, end)) if framing == "chunked" else body
    told = {name.lower(): value for name, value in headers.items()}
    return (
        method,
        hints + end.join(line.encode("latin-1") for line in lines) + framed,
        status,
        told,
        b"" if bodiless else body,
    )


@quick
@given(answers(), SIZES)
def test_an_answer_is_read_as_it_was_meant_and_as_the_standard_library_reads_it(made, sizes):
    method, data, *meant = made

    assert list(read(data, method=method, sizes=sizes)[:3]) == meant
    # Of chunks the library wants strict line ends, and it reads them also where there is no body.
    if b"Chunked" not in data or (meant[0] not in (204, 304) and b"\n\n" not in data):
        assert list(read_by_the_library(data, method)) == meant


@quick
@given(answers(("length", "chunked")), SIZES, st.data())
def test_an_answer_cut_anywhere_is_never_taken_for_whole(made, sizes, draw):
    method, data, *_ = made
    cut = draw.draw(st.integers(0, len(data) - 1))

    with pytest.raises(TROUBLE):
        read(data[:cut], method=method, sizes=sizes)


@quick
@given(answers(("length", "chunked"), (200, 404)), SIZES, st.binary(min_size=1, max_size=80))
def test_what_follows_an_answer_is_neither_taken_nor_kept_for_the_next(made, sizes, extra):
    method, data, *meant = made

    *got, keeps = read(data + extra, method=method, sizes=sizes, closes=False)

    assert (got, keeps) == (meant, False)


@quick
@given(answers(), SIZES, st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=6)), min_size=1, max_size=4))
def test_a_spoilt_answer_is_an_answer_or_an_error_of_the_kinds_we_know(made, sizes, spots):
    method, data, *_ = made
    for at, noise in spots:
        data = data[:at] + noise + data[at + 1 :]

    with contextlib.suppress(*TROUBLE):
        assert 100 < read(data, method=method, sizes=sizes)[0] < 1000


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        (b"HTTP/1.1 200\nContent-Length: 2\n\n{}", {"content-length": "2"}),
        (b"HTTP/1.1 200 OK\r\nCONTENT-LENGTH:2\n\r\n{}", {"content-length": "2"}),
        (b"HTTP/1.1  200 \t \xe9\r\nContent-Length \t: \t 2 \t\r\n\r\n{}", {"content-length": "2"}),
        (HEAD + b"Content-Length: 2\r\ncontent-length: 2\r\n\r\n{}", {"content-length": "2, 2"}),
        (HEAD + b"Content-Length: 2, 2\r\n\r\n{}", {"content-length": "2, 2"}),
        (HEAD + b"X: a\r\n\tb\r\n c\r\nContent-Length: 2\r\n\r\n{}", {"x": "a b c", "content-length": "2"}),
        (HEAD + b"no header\r\n folded: y\r\nContent-Length: 2\r\n\r\n{}", {"content-length": "2"}),
        (HEAD + b" Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}", {"content-length": "2"}),
        (HEAD + b": nameless\r\nX: \xe9\r\nContent-Length: 2\r\n\r\n{}", {"x": "é", "content-length": "2"}),
    ],
)
def test_an_untidy_head_is_understood(data, headers):
    assert read(data, closes=False) == (200, headers, b"{}", True)


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"ICY 200 OK",
        b"HTTP/2 200",
        b"HTTP/1.1",
        b"HTTP/1.1 20",
        b"HTTP/1.1 2000",
        b"HTTP/1.1 099 Low",
        b"HTTP/1.1 +20",
    ],
)
def test_a_first_line_without_a_status_is_no_answer(first):
    with pytest.raises(BadStatusLine):
        read(first + b"\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    "told", ["+2", "-2", "0x2", "2;", "2 2", "2.0", "1_0", "\xb2", "many", "2,3", ",2", "9" * 5000]
)
def test_a_length_nobody_can_read_is_refused_rather_than_passed_over(told):
    with pytest.raises(ValueError):  # noqa: PT011 - it has no text
        read(HEAD + f"Content-Length: {told}\r\n\r\n".encode("latin-1") + b"{}")


@pytest.mark.parametrize(
    "framed",
    [
        b"-1\r\n",
        b"+2\r\n{}\r\n",
        b"0x2\r\n{}\r\n",
        b"1_0\r\n",
        b"\r\n",
        b";a\r\n",
        b"2\r\n{}x\r\n",
        b"2\r\n{}2\r\n",
        b"f" * 16 + b"\r\n",
    ],
)
def test_a_chunk_of_no_clear_size_or_end_is_refused(framed):
    with pytest.raises(ValueError):  # noqa: PT011 - it has no text
        read(CHUNKED + framed + b"0\r\n\r\n")


@pytest.mark.parametrize(
    ("version", "connection", "keeps"),
    [
        ("1.1", "", True),
        ("1.1", "Connection: Keep-Alive, Foo\r\n", True),
        ("1.1", "Connection: CLOSE\r\n", False),
        ("1.1", "Connection: keep-alive\r\nConnection: Close\r\n", False),
        ("1.0", "", False),
        ("1.0", "Connection: Keep-Alive, Foo\r\n", True),
        ("1.0", "Connection: close\r\n", False),
    ],
)
def test_a_connection_is_kept_where_the_server_keeps_it(version, connection, keeps):
    data = f"HTTP/{version} 200 OK\r\n{connection}Content-Length: 2\r\n\r\n{{}}".encode()

    assert read(data, closes=False)[3] is keeps
    assert read(data, closes=True)[3] is False


def test_a_switched_connection_is_never_used_again():
    assert read(b"HTTP/1.1 101 Switching\r\n\r\n", closes=False)[3] is False


# Whatever a server sends, it is bounded


@contextlib.contextmanager
def cpu_below(limit_s):
    began = time.thread_time()
    yield
    assert time.thread_time() - began < limit_s


def test_a_head_that_comes_byte_by_byte_is_not_searched_from_its_start_for_each():
    with cpu_below(2.5):
        assert read(HEAD + b"X: " + b"y" * 40_000 + b"\r\n\r\n", sizes=[1])[0] == 200


@pytest.mark.parametrize("sizes", [[1000], [PIECE_BYTES]])
def test_a_head_without_an_end_is_given_up(sizes):
    with pytest.raises(LineTooLong):
        read(HEAD + b"X: y" * HEAD_BYTES, sizes=sizes)


def test_hints_without_an_end_are_given_up():
    assert read(b"HTTP/1.1 102 Processing\r\n\r\n" * 90 + OURS)[2] == b"ours"
    with pytest.raises(BadStatusLine):
        read(b"HTTP/1.1 102 Processing\r\n\r\n" * 110 + OURS)


def test_an_extension_of_a_chunk_without_an_end_is_given_up():
    with pytest.raises(LineTooLong):
        read(CHUNKED + b"2;" + b"x" * 90_000, sizes=[1000])


@pytest.mark.parametrize("sizes", [[5], [PIECE_BYTES]])
def test_trailers_without_an_end_are_given_up(sizes):
    assert read(CHUNKED + b"2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 90 + b"\r\n", sizes=sizes)[2] == b"{}"
    with pytest.raises(LineTooLong):
        read(CHUNKED + b"2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 200 + b"\r\n", sizes=sizes)


def test_a_large_piece_of_small_chunks_is_not_copied_for_each():
    with (
        serving(answering(CHUNKED + (b"10\r\n%016d\r\n" % 0) * (1 << 16) + b"0\r\n\r\n")) as (server, outside),
        cpu_below(1.5),
        outside.stream(get(server.url), deadline_s=LONG_S) as stream,
    ):
        assert [len(piece) for piece in stream.chunks(1 << 20)] == [1 << 20]


def test_a_length_beyond_all_measure_is_over_the_cap():
    beyond = answering(HEAD + b"Content-Length: " + b"9" * 4000 + b"\r\n\r\nx")

    with serving(beyond) as (server, outside), pytest.raises(Oversized):
        outside.send(get(server.url), deadline_s=LONG_S)


def test_each_record_that_a_slow_reader_takes_is_held_against_the_deadline():
    waits = iter([1.0, 1.0])
    with pair([1 << 14]) as (sock, _), pytest.raises(StopIteration):  # the deadline, at the third record
        Line(sock).send(b"x" * 1000, b"x" * PIECE_BYTES, lambda: next(waits))


# What goes out

SAID = st.text("aZ/-: \r\n\t\0\x7f\xe9\u0101", min_size=1, max_size=4)
METHOD = st.sampled_from(["GET", "POST", "GET /", "GET / HTTP/1.1\r\nX:", "G\tT", "\xe9"])


@settings(max_examples=1000, deadline=None)
@given(METHOD, SAID | st.just("/"), st.dictionaries(SAID | st.just("X"), SAID, max_size=2))
def test_nothing_that_is_said_adds_a_line_to_a_request(method, target, headers):
    try:
        head = spoken(method, target, HERE, headers, b"{}").decode("latin-1")
    except ValueError:
        return
    told = {**headers, "Host": "gateway.test", "Content-Length": "2"}
    first, *lines = re.split("[\r\n]+", head.removesuffix("\r\n\r\n"))
    assert first.split(" ") == [method, target, "HTTP/1.1"]
    assert sorted(lines) == sorted(f"{name}: {value}" for name, value in told.items())


def test_an_address_is_asked_as_one_line_or_is_not_sent():
    @quick
    @given(st.text(max_size=30), st.sampled_from(["", "/", "?"]))
    def ask(text, mark):
        server.requests.clear()
        with contextlib.suppress(NotSent):
            outside.send(get(f"{server.url}{mark}{text}"), deadline_s=LONG_S)
        for asked in server.requests:
            assert asked.split(b"\r\n")[0].count(b" ") == 2
            assert asked.count(b"\r\n") == 6

    with serving(keeping(OURS)) as (server, outside):
        ask()


# No answer is taken for that of another call


def get(url):
    return Request("GET", url)


@contextlib.contextmanager
def serving(*scripts):
    with FaultServer(*scripts) as server, contextlib.closing(Outside(LOOPBACK)) as outside:
        yield server, outside


@pytest.mark.parametrize("extra", [EVIL, b"\r\n", b"x"])
@pytest.mark.parametrize("first", [OURS, CHUNKED + b"4\r\nours\r\n0\r\n\r\n", b"HTTP/1.1 304 Same\r\n\r\n"])
def test_an_answer_too_many_is_not_the_next_calls(first, extra):
    with serving(keeping(first + extra), keeping(OURS)) as (server, outside):
        outside.send(get(server.url), deadline_s=LONG_S)

        assert outside.send(get(server.url), deadline_s=LONG_S).body == b"ours"
        assert server.connections == 2


def test_the_body_of_an_answer_to_head_is_not_the_next_calls():
    with serving(keeping(HEAD + b"Content-Length: %d\r\n\r\n" % len(EVIL) + EVIL), keeping(OURS)) as (server, outside):
        outside.send(Request("HEAD", server.url), deadline_s=LONG_S)

        assert outside.send(get(server.url), deadline_s=LONG_S).body == b"ours"


@pytest.mark.parametrize("framing", [f"Content-Length: {len(EVIL)}", "Transfer-Encoding: chunked"])
def test_the_late_body_of_an_answer_that_can_have_none_is_not_the_next_calls(framing):
    def late(peer):
        peer.take()
        peer.say(f"HTTP/1.1 204 None\r\n{framing}\r\n\r\n".encode())
        peer.take()
        peer.say(EVIL)

    with serving(late, keeping(OURS)) as (server, outside):
        outside.send(get(server.url), deadline_s=LONG_S)

        assert outside.send(get(server.url), deadline_s=LONG_S).body == b"ours"


def test_a_connection_whose_trailers_did_not_come_in_time_is_not_used_again():
    def stalling(peer):
        peer.take()
        peer.say(CHUNKED + b"2\r\n{}\r\n0\r\n")
        peer.take()
        peer.say(EVIL)

    with serving(stalling, keeping(OURS)) as (server, outside):
        with pytest.raises(AnswerLost):
            outside.send(get(server.url), deadline_s=0.3)

        assert outside.send(get(server.url), deadline_s=LONG_S).body == b"ours"


def test_an_answer_that_came_before_we_had_spoken_is_read_and_the_connection_left():
    with pair() as (sock, server):
        server.sendall(answer(b"", status="413 Too Large"))
        server.close()
        line = Line(sock)
        line.send(b"POST", b"x" * (1 << 20), wait_s)

        got = Answer(line, "POST", wait_s)

        assert (got.status, got.keeps) == (413, False)


# TLS


def test_what_tls_has_read_and_nobody_asked_for_is_not_the_next_calls(tls):
    def records(peer):
        peer.take()
        peer.say(HEAD + b"Content-Length: 4\r\n\r\n")
        peer.say(b"ours" + EVIL)  # one record, of which four bytes are asked for
        peer.wait()

    with FaultServer(records, keeping(OURS), tls=tls) as server:
        outside, url = Outside(LOOPBACK), f"https://gateway.test:{server.port}"
        for _ in range(2):
            assert outside.send(get(url), deadline_s=LONG_S).body == b"ours"
        assert server.connections == 2


@pytest.mark.parametrize("framed", [OURS, CHUNKED + b"4\r\nours\r\n0\r\n\r\n", HEAD + b"\r\nours"])
def test_over_tls_an_answer_is_whole_without_an_announced_end(tls, framed):
    def ending(peer):
        peer.take()
        peer.say(framed)
        socket.socket(fileno=peer.sock.detach()).close()

    with FaultServer(ending, tls=tls) as server:
        got = Outside(LOOPBACK).send(get(f"https://gateway.test:{server.port}"), deadline_s=LONG_S)
        assert got.body == b"ours"


# Kept connections


@pytest.fixture
def lines():
    """Makes connections: (ours, the server's end)."""
    with contextlib.ExitStack() as opened:

        def make():
            sock, server = opened.enter_context(pair())
            server.settimeout(5)
            return Line(sock), server

        yield make


def has_hung_up(server):
    server.setblocking(False)
    try:
        return server.recv(1) == b""
    except BlockingIOError:
        return False


def test_the_connection_used_last_goes_first(lines):
    kept = Kept(2, 2)
    (older, _), (newer, _) = lines(), lines()
    kept.give(HERE, older)
    kept.give(HERE, newer)

    assert [kept.take(HERE), kept.take(HERE), kept.take(HERE)] == [newer, older, None]


@pytest.mark.parametrize("deed", [lambda server: server.close(), lambda server: server.sendall(EVIL)])
def test_a_kept_connection_that_was_closed_or_spoken_on_is_not_used(lines, deed):
    kept = Kept(2, 2)
    (sound, _), (spoilt, server) = lines(), lines()
    kept.give(HERE, sound)
    kept.give(HERE, spoilt)
    deed(server)

    assert kept.take(HERE) is sound
    assert kept.take(HERE) is None


def test_too_many_to_one_host_close_the_one_not_used_for_longest(lines):
    kept, made = Kept(2, 2), [lines() for _ in range(3)]
    for line, _ in made:
        kept.give(HERE, line)

    assert [has_hung_up(server) for _, server in made] == [True, False, False]


def test_too_many_hosts_close_the_one_not_used_for_longest(lines):
    kept, made = Kept(2, 2), [lines() for _ in range(4)]
    for (line, _), host in zip(made, "abac", strict=True):
        kept.give(Origin("http", host, 80), line)

    assert [has_hung_up(server) for _, server in made] == [False, True, False, False]


def test_a_connection_is_never_used_for_another_origin(lines):
    kept = Kept(9, 9)
    kept.give(HERE, lines()[0])

    assert [kept.take(HERE._replace(**other)) for other in ({"scheme": "https"}, {"port": 81}, {"host": "b"})] == [
        None
    ] * 3


def test_all_that_is_kept_can_be_closed(lines):
    kept, made = Kept(2, 2), [lines() for _ in range(2)]
    for line, _ in made:
        kept.give(HERE, line)
    kept.close()

    assert all(has_hung_up(server) for _, server in made)
    assert kept.take(HERE) is None


def test_calls_of_many_threads_get_their_own_answers():
    def echo(peer):
        while asked := peer.take():
            peer.say(answer(asked.split(b" ")[1]))

    def ask(name):
        for turn in range(20):
            path = f"/{name}/{turn}"
            got[path] = outside.send(get(server.url + path), deadline_s=LONG_S).body.decode()

    got = {}
    with serving(echo) as (server, outside):
        threads = [threading.Thread(target=ask, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 160
        assert all(path == told for path, told in got.items())
        assert server.connections <= 8
