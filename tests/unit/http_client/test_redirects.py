"""Redirects: each hop is checked like the first address, and a key stays with its own origin."""

from __future__ import annotations

import socket

import pytest
from client_steps import HELLO, LONG_S, SECOND_ONLY, SECRET, closed_port, get, post
from fault_server import FakeResolver, FaultServer, http_response, keeping, redirecting, responding

from rushes.shared.http import Forbidden, HttpClient, NotSent, address_guard


def test_a_redirect_is_an_answer_unless_asked_to_follow(serve, client):
    target = serve(keeping(HELLO))
    server = serve(redirecting(target.url))

    assert client.send(get(server.url), deadline_s=LONG_S).status == 302
    assert target.connections == 0


def test_a_redirect_is_followed_when_asked(serve, client):
    target = serve(keeping(HELLO))
    server = serve(redirecting(f"{target.url}/clip.mp4?key=word"))

    got = client.send(get(server.url), deadline_s=LONG_S, redirects=1)

    assert got.json() == {"hello": "world"}
    assert target.requests[0].startswith(b"GET /clip.mp4?key=word HTTP/1.1\r\n")


@pytest.mark.parametrize("location", ["/there", "there", "?to=there"])
def test_a_relative_redirect_stays_where_it_is(serve, client, location):
    server = serve(redirecting(location), keeping(HELLO))

    assert client.send(get(f"{server.url}/"), deadline_s=LONG_S, redirects=1).status == 200
    assert b"there HTTP/1.1\r\n" in server.requests[1]


def test_one_redirect_more_than_asked_is_the_answer(serve, client):
    server = serve(redirecting("/again"))

    got = client.send(get(server.url), deadline_s=LONG_S, redirects=3)

    assert got.status == 302
    assert len(server.requests) == 4


def test_after_a_redirect_the_word_is_on_the_last_hop(serve, client):
    server = serve(redirecting(f"http://127.0.0.1:{closed_port()}/"))

    with pytest.raises(NotSent, match="connection refused"):
        client.send(get(server.url), deadline_s=LONG_S, redirects=1)


def test_a_post_is_never_redirected(serve, client):
    target = serve(keeping(HELLO))
    server = serve(redirecting(target.url, "307 Temporary Redirect"))

    assert client.send(post(server.url), deadline_s=LONG_S, redirects=3).status == 307
    assert target.connections == 0


KEYS = {"Authorization": SECRET, "Cookie": SECRET, "X-Api-Key": SECRET, "Range": "bytes=5-"}


def test_a_key_does_not_go_to_another_origin(serve, client):
    target = serve(keeping(HELLO))
    server = serve(redirecting(target.url))

    client.send(get(server.url, **KEYS), deadline_s=LONG_S, redirects=1)

    assert SECRET.encode() not in target.requests[0]
    assert b"Range: bytes=5-" in target.requests[0]


def test_a_key_stays_on_its_own_origin(serve, client):
    server = serve(redirecting("/there"))

    client.send(get(server.url, **KEYS), deadline_s=LONG_S, redirects=1)

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
        HttpClient(SECOND_ONLY).send(get(server.url), deadline_s=LONG_S, redirects=3)

    assert server.connections == 1
    assert canary.connections == 0


def test_a_redirect_from_https_to_http_is_only_for_allowed_hosts(tls, monkeypatch):
    names = FakeResolver(gateway_test=[["127.0.0.2"]], public_test=[["127.0.0.1"]], allowed_test=[["127.0.0.2"]])
    monkeypatch.setattr(socket, "getaddrinfo", names)
    monkeypatch.setattr(address_guard, "NON_PUBLIC_NETWORKS", ())  # 127.0.0.1 plays a public host
    with FaultServer(keeping(HELLO)) as public, FaultServer(keeping(HELLO), host="127.0.0.2") as allowed:
        scripts = [
            redirecting(f"http://allowed.test:{allowed.port}/"),
            redirecting(f"http://public.test:{public.port}/"),
        ]
        with FaultServer(*scripts, host="127.0.0.2", tls=tls) as server:
            monkeypatch.setattr(address_guard, "PUBLIC_PORTS", {server.port, public.port})
            url = f"https://gateway.test:{server.port}/"
            client = HttpClient(SECOND_ONLY)
            got = client.send(get(url), deadline_s=LONG_S, redirects=1, once=True)
            with pytest.raises(Forbidden, match="only https"):
                client.send(get(url), deadline_s=LONG_S, redirects=1, once=True)

    assert got.status == 200
    assert public.connections == 0


RAW = {
    "/фото клип.mp4": b"/%D1%84%D0%BE%D1%82%D0%BE%20%D0%BA%D0%BB%D0%B8%D0%BF.mp4",  # raw UTF-8 and a space
    "/clip%20%D0%BA.mp4?sig=a%2Fb+c": b"/clip%20%D0%BA.mp4?sig=a%2Fb+c",  # encoded already
    "/é/100%?q=é&x=%41": b"/%C3%A9/100%?q=%C3%A9&x=%41",  # some of both
    "/there#фото": b"/there",
    "?q=к": b"/one/two?q=%D0%BA",
    "three x": b"/one/three%20x",
    "../three": b"/three",
    "#part": b"/one/two",
    "": b"/one/two",
}


PREFIXES = ("", "//gateway.test:{port}", "HTTP{s}://Gateway.Test:{port}")


@pytest.mark.parametrize(
    ("absolute", "location"),
    [(prefix, location) for location in RAW for prefix in PREFIXES[: 3 if location.startswith("/") else 1]],
)
def test_a_location_is_asked_as_browsers_do(serve, client, absolute, location):
    server = serve(lambda peer: peer.read_request() and peer.send_bytes(redirect_response(where)), keeping(HELLO))
    scheme_s = "S" if server.url.startswith("https") else ""
    where = absolute.format(port=server.port, s=scheme_s) + location

    with client.stream(get(f"{server.url}/one/two"), deadline_s=LONG_S) as stream:
        assert stream.status == 200
    assert server.requests[1].split(b" ")[1] == RAW[location]


def test_a_location_in_latin_1_is_asked_by_its_bytes(serve, client):
    server = serve(responding(redirect_response("/caf?").replace(b"?", b"\xe9")), keeping(HELLO))

    assert client.send(get(server.url), deadline_s=LONG_S, redirects=1).status == 200
    assert server.requests[1].split(b" ")[1] == b"/caf%E9"


def redirect_response(location):
    """A redirect whose Location is UTF-8, as many servers send it."""
    return http_response(b"", f"Location: {location}", "Connection: close", status="302 Found")


def redirecting_times(times):
    """Redirect from /0 to /1 and so on, `times` times."""

    def script(peer):
        while request := peer.read_request():
            at = int(request.split(b" ")[1].rpartition(b"/")[2] or 0)
            peer.send_bytes(
                http_response(b"whole")
                if at == times
                else http_response(b"", f"Location: /{at + 1}", status="302 Found")
            )

    return script


def test_a_stream_follows_ten_redirects_and_no_more(serve, client):
    ten, eleven = serve(redirecting_times(10)), serve(redirecting_times(11))

    with client.stream(get(ten.url), deadline_s=LONG_S) as stream:
        assert (stream.status, b"".join(stream.chunks(100))) == (200, b"whole")
    with client.stream(get(eleven.url), deadline_s=LONG_S) as stream:
        assert stream.status == 302
    assert ten.connections == 1


def test_each_of_many_redirects_is_judged(canary):
    hops = [f"http://127.0.0.2:{{port}}/{at}" for at in range(6)] + [f"https://127.0.0.1:{canary.port}/"]
    with (
        FaultServer(
            *(lambda peer, at=at: redirecting(hops[at].format(port=server.port))(peer) for at in range(7)),
            host="127.0.0.2",
        ) as server,
        pytest.raises(Forbidden),
    ):
        HttpClient(SECOND_ONLY).send(get(server.url), deadline_s=LONG_S, redirects=10)

    assert server.connections == 7
    assert canary.connections == 0


@pytest.mark.parametrize("status", ["300 Many", "304 Same", "305 Proxy"])
def test_what_is_no_redirect_is_an_answer(serve, client, status):
    server = serve(keeping(http_response(b"", "Location: /there", status=status)))

    assert client.send(get(server.url), deadline_s=LONG_S, redirects=3).status == int(status[:3])
