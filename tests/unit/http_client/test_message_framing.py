"""Generated responses, URLs and headers: no cut response counts as whole, and no text adds a line to a request."""

from __future__ import annotations

import contextlib
import re
import resource
import socket
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise

import pytest
from client_steps import LONG_S, LOOPBACK, get
from fault_server import FaultServer, Peer, http_response, keeping
from hypothesis import given, settings
from hypothesis import strategies as st

from rushes.shared.domain.http_messages import Request, Response
from rushes.shared.http import AnswerLost, HttpClient, NotSent

quick = settings(max_examples=100, deadline=None)
TOKEN = st.text("abcXYZ019-_", min_size=1, max_size=8).map(lambda name: f"X-{name}")
VALUE = st.text('abc ,;:="/\xe9\xff\t', max_size=12).map(str.strip)
FILES = 1100  # select(2) ends at 1024
END = st.sampled_from([b"\r\n", b"\n"])


class Echo(FaultServer):
    """Sends `data` to each request, in pieces split at `cuts`; then closes the connection if `closes`."""

    def __init__(self) -> None:
        self.data, self.cuts, self.closes = b"", set[int](), True
        super().__init__(self._say)

    def _say(self, peer: Peer) -> None:
        while peer.read_request():
            edges = sorted({0, len(self.data)} | {cut for cut in self.cuts if cut < len(self.data)})
            for start, stop in pairwise(edges):
                peer.send_bytes(self.data[start:stop])
            if self.closes:
                return


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    with Echo() as server:
        yield server  # type: ignore[misc]


@st.composite
def chunks(draw, body, end):
    cuts = sorted(draw(st.sets(st.integers(0, len(body)), max_size=5)) | {0, len(body)})
    framed = b""
    for start, stop in pairwise(cuts):
        if start < stop:
            size = draw(st.sampled_from(["%x", "%X", "00%x", "%x;a=b"])) % (stop - start)
            framed += size.encode() + end + body[start:stop] + end
    trailers = draw(st.lists(TOKEN, max_size=2))
    return framed + b"0" + end + b"".join(f"{name}: z".encode() + end for name in trailers) + end


@st.composite
def answers(draw, framings=("length", "chunked", "close"), statuses=(200, 201, 404, 503, 304)):
    """Method, bytes, status, headers and body of a response."""
    method, status = draw(st.sampled_from(["GET", "PUT", "HEAD"])), draw(st.sampled_from(statuses))
    end, framing = draw(END), draw(st.sampled_from(framings))
    body = draw(st.binary(max_size=60))
    names = st.dictionaries(TOKEN, VALUE, max_size=4)
    headers = draw(names.filter(lambda found: len({*map(str.lower, found)}) == len(found)))
    framed_by = {"length": {"content-LENGTH": str(len(body))}, "chunked": {"Transfer-Encoding": "Chunked"}}
    headers |= framed_by.get(framing, {})
    reason = draw(st.sampled_from([" OK", "", " ", " Not so fine"]))
    hints = draw(st.integers(0, 2)) * (b"HTTP/1.1 103 Early Hints" + end + end)
    lines = [f"HTTP/1.1 {status}{reason}", *(f"{name}:{value}" for name, value in headers.items()), "", ""]
    bodiless = method == "HEAD" or status == 304
    framed = b"" if bodiless else draw(chunks(body, end)) if framing == "chunked" else body
    data = hints + end.join(line.encode("latin-1") for line in lines) + framed
    return method, data, status, {name.lower(): value for name, value in headers.items()}, b"" if bodiless else body


def send(echo: Echo, method: str, data: bytes, cuts: set[int], closes: bool = True) -> Response:
    echo.data, echo.cuts, echo.closes = data, cuts, closes
    with closing(HttpClient(LOOPBACK)) as client:
        return client.send(Request(method, echo.url), deadline_s=LONG_S)


@quick
@given(response=answers(), cuts=st.sets(st.integers(1, 300), max_size=6))
def test_an_answer_is_read_as_it_was_meant(echo, response, cuts):
    method, data, *expected = response

    got = send(echo, method, data, cuts)

    assert [got.status, got.headers, got.body] == expected


@quick
@given(response=answers(("length", "chunked")), cuts=st.sets(st.integers(1, 300), max_size=6), draw=st.data())
def test_an_answer_cut_anywhere_is_never_taken_for_whole(echo, response, cuts, draw):
    method, data, *_ = response
    cut = draw.draw(st.integers(0, len(data) - 1))

    with pytest.raises(AnswerLost):
        send(echo, method, data[:cut], cuts)


@quick
@given(
    response=answers(),
    spots=st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=6)), min_size=1, max_size=4),
)
def test_a_spoilt_answer_is_an_answer_or_lost(echo, response, spots):
    method, data, *_ = response
    for at, noise in spots:
        data = data[:at] + noise + data[at + 1 :]

    with contextlib.suppress(AnswerLost):
        assert 200 <= send(echo, method, data, set()).status < 1000


SAID = st.text("aZ/-: \r\n\t\0\x7f\xe9\u0101", min_size=1, max_size=4)


@settings(max_examples=300, deadline=None)
@given(
    method=st.sampled_from(["GET", "PUT", "GET /", "GET / HTTP/1.1\r\nX:", "G\tT", "\xe9"]),
    headers=st.dictionaries(SAID | st.just("X"), SAID, max_size=2),
    target=st.sampled_from(["", "/", "?"]),
    text=st.text(max_size=20) | SAID,
)
def test_nothing_that_is_said_adds_a_line_to_a_request(echo, method, headers, target, text):
    echo.data, echo.cuts, echo.closes = http_response(b""), set(), True
    echo.requests.clear()
    with closing(HttpClient(LOOPBACK)) as client, contextlib.suppress(NotSent):
        client.send(Request(method, f"{echo.url}{target}{text}", headers), deadline_s=LONG_S)
    for request in echo.requests:
        first, *lines = re.split("[\r\n]+", request.decode("latin-1").rstrip("\r\n"))
        assert first.count(" ") == 2
        names = {line.partition(":")[0].lower() for line in lines}
        usual = {"host", "user-agent", "accept-encoding", "content-length"}
        assert names - usual <= {name.lower() for name in headers}
        assert len(lines) <= len(usual) + len(headers)


def test_a_large_piece_of_small_chunks_is_whole():
    framed = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"10\r\n%016d\r\n" % 0) * (1 << 16) + b"0\r\n\r\n"
    )

    with (
        FaultServer(keeping(framed)) as server,
        closing(HttpClient(LOOPBACK)) as client,
        client.stream(get(server.url), deadline_s=LONG_S) as stream,
    ):
        assert [len(piece) for piece in stream.chunks(1 << 20)] == [1 << 20]


def test_file_numbers_that_select_does_not_know_harm_no_answer():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * FILES:
        pytest.skip("too few files may be open here")
    with contextlib.ExitStack() as opened, FaultServer(keeping(http_response(b"ours"))) as server:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * FILES), hard))
        opened.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(FILES // 2):
            for end in socket.socketpair():
                opened.enter_context(end)
        client = opened.enter_context(closing(HttpClient(LOOPBACK)))
        with client.stream(get(server.url), deadline_s=LONG_S) as stream:
            assert b"".join(stream.chunks(100)) == b"ours"
        (((_, got),),) = client.send_all([get(server.url)], deadline_s=LONG_S)
    assert isinstance(got, Response)
