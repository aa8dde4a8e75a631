"""A request that may have been sent is AnswerLost: never NotSent, and never a response that is not whole."""

from __future__ import annotations

import threading

import pytest
from client_steps import CHUNKED, CUT, HEAD, HELLO, LONG_S, SECRET, SHORT_S, all_of, closed_port, get, post
from fault_server import flooding, hanging, http_response, keeping, responding, trickling

from rushes.shared.domain.http_messages import Request
from rushes.shared.http import AnswerLost, NotSent, Oversized

FAULTS = {
    "closed before reading": lambda peer: peer.wait_for_request(),
    "reset before reading": lambda peer: peer.wait_for_request() or peer.reset(),
    "closed after reading": lambda peer: peer.read_request() and None,
    "reset after reading": lambda peer: peer.read_request() and peer.reset(),
    "body cut": responding(HEAD + b"Content-Length: 40\r\n\r\n{"),
    "body missing": responding(HEAD + b"Content-Length: 40\r\n\r\n"),
    "chunk cut": responding(CHUNKED + b"28\r\n{"),
    "chunks without an end": responding(CHUNKED + b"2\r\n{}\r\n"),
    "chunk's size cut to a lesser one": responding(CHUNKED + b"2\r\n{}\r\n1"),
    "chunk's size cut to the last one": responding(CHUNKED + b"2\r\n{}\r\n0"),
    "garbage status": responding(b"what?\r\n\r\n"),
    "status cut": responding(b"HTTP/1.1 20"),
    "status only": responding(HEAD),
    "headers cut in a line": responding(HEAD + b"Content-Ty"),
    "headers cut in Content-Length": responding(HEAD + b"Content-Length: 2"),
    "headers cut between lines": responding(HEAD + b"Content-Type: application/json\r\n"),
    "headers cut before the end": responding(HEAD + b"Content-Length: 0\r\n\r"),
    "too many headers": responding(HEAD + b"X: y\r\n" * 9000 + b"\r\n"),
    "a head without an end": responding(HEAD + (b"X: " + b"y" * 9000 + b"\r\n") * 90),
    "a header without a colon": responding(HEAD + b"no header\r\nContent-Length: 2\r\n\r\n{}"),
    "hints without an end": responding(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 200 + HELLO),
    "cut after a hint": responding(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + HEAD + b"Content-Le"),
    "a length beyond all measure": responding(HEAD + b"Content-Length: " + b"9" * 400 + b"\r\n\r\n{}"),
    "a switched protocol": responding(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"),
    "two lengths": responding(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    "gzip": responding(http_response(b"\x1f\x8b", "Content-Encoding: gzip")),
    "gzip in transfer": responding(HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
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
@pytest.mark.parametrize("once", [True, False])
def test_an_answer_that_is_not_whole_is_lost(serve, client, fault, once):
    server = serve(FAULTS[fault], keeping(HELLO))

    with pytest.raises(AnswerLost) as caught:
        client.send(post(f"{server.url}/v1?key={SECRET}", Authorization=SECRET), deadline_s=LONG_S, once=once)

    assert str(caught.value).startswith(server.url + ": ")
    assert SECRET not in all_of(caught.value)
    assert server.connections == 1  # nothing is tried again


@pytest.mark.parametrize(
    ("serve", "fault"),
    [("http", fault) for fault in SLOW]
    + [("https", "hang"), ("https", "trickle of headers"), ("https", "trickle of chunks")],
    indirect=["serve"],
)
def test_a_slow_answer_is_lost_at_the_deadline_on_the_wall(serve, client, fault):
    server = serve(SLOW[fault])

    with pytest.raises(AnswerLost):
        client.send(post(server.url), deadline_s=SHORT_S)


@pytest.mark.parametrize("serve", ["https"], indirect=True)
def test_a_large_request_nobody_reads_is_lost_at_the_deadline(serve, client):
    given_up = threading.Event()
    server = serve(lambda peer: given_up.wait(LONG_S) and None)
    request = Request("POST", server.url, {}, {"prompt": "x" * (16 << 20)})

    with pytest.raises(AnswerLost, match="timed out"):
        client.send(request, deadline_s=2)
    given_up.set()
    given_up.set()


def test_a_deadline_that_has_passed_is_not_sent_even_on_a_used_connection(serve, client):
    server = serve(keeping(HELLO))
    client.send(post(server.url), deadline_s=LONG_S)

    with pytest.raises(NotSent):
        client.send(post(server.url), deadline_s=0)

    assert len(server.requests) == 1


def test_two_calls_at_once_do_not_share_the_word_on_what_was_sent(serve, client):
    server = serve(responding(CHUNKED + b"2\r\n{}\r\n"))

    with client.stream(get(server.url), deadline_s=LONG_S) as stream:
        with pytest.raises(NotSent):
            client.send(post(f"http://127.0.0.1:{closed_port()}"), deadline_s=LONG_S)
        with pytest.raises(AnswerLost):
            list(stream.chunks(10))


# Size


@pytest.mark.parametrize("head", [HEAD + b"\r\n", HEAD + b"Content-Length: 52428800\r\n\r\n"])
def test_an_answer_over_the_cap_is_not_read_to_its_end(serve, client, head):
    server = serve(flooding(head, 50 << 20))

    with pytest.raises(Oversized, match="larger than 1048576 bytes"):
        client.send(post(server.url), deadline_s=LONG_S)

    assert server.sent_bytes < 25 << 20  # what the sockets' buffers take, at most


def test_a_negative_chunk_is_not_taken_for_all_there_is(serve, client):
    server = serve(flooding(CHUNKED + b"-1\r\n", 50 << 20))

    with pytest.raises(AnswerLost):
        client.send(post(server.url), deadline_s=LONG_S)

    assert server.sent_bytes < 25 << 20


def test_a_length_over_the_cap_is_enough_to_refuse(serve, client):
    server = serve(hanging(CUT))

    with pytest.raises(Oversized):
        client.send(post(server.url), deadline_s=LONG_S, max_bytes=199)


@pytest.mark.parametrize("framing", ["length", "none"])
def test_the_cap_itself_is_still_taken(serve, client, framing):
    data = http_response(b"x" * 200) if framing == "length" else HEAD + b"\r\n" + b"x" * 200
    server = serve(responding(data))

    assert len(client.send(get(server.url), deadline_s=LONG_S, max_bytes=200).body) == 200
