"""Requests that libcurl signs: botocore would sign them the same, and no credentials stay behind."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from client_steps import HELLO, LONG_S, SECRET, Serve, get
from fault_server import FaultServer, keeping

from rushes.shared.domain.http_messages import Request
from rushes.shared.http import AwsSigV4, HttpClient, NotSent

SIGN = AwsSigV4("eu-west-1", "AKIAKEY", f"{SECRET}/+=", f"{SECRET}-token")
KEYS = ["plain.mp4", "a b/c+d.mp4", "é~(1)'*!$&,;=@:.mp4", "%41/%2F", "a//b/", "...", "🎬"]


def put(server: FaultServer, key: str, body: bytes, query: str = "", **headers: str) -> Request:
    sha256 = {"x-amz-content-sha256": hashlib.sha256(body).hexdigest()}
    return Request("PUT", f"{server.url}/bucket/{quote(key, safe='/~')}{query}", {**headers, **sha256}, raw=body)


def parse_request(request: bytes) -> tuple[str, str, dict[str, str]]:
    first, *lines = request.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    return method, target, {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


def is_signed_by_the_book(request: bytes, scheme: str) -> bool:
    """Whether botocore would sign it the same."""
    method, target, headers = parse_request(request)
    _, _, signed = headers["authorization"].partition("SignedHeaders=")
    names = signed.partition(",")[0].split(";")
    again = AWSRequest(method, f"{scheme}://{headers['host']}{target}", {name: headers[name] for name in names})
    again.context.update(timestamp=headers["x-amz-date"], signing={"region": SIGN.region})
    auth = S3SigV4Auth(Credentials(SIGN.access_key, SIGN.secret_key), "s3", SIGN.region)
    text = auth.string_to_sign(again, auth.canonical_request(again))
    return headers["authorization"].endswith(auth.signature(text, again))


@pytest.fixture
def server(serve: Serve) -> FaultServer:
    return serve(keeping(HELLO))


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("size", [0, 10, 300_000])
def test_a_put_is_signed_by_the_book(server: FaultServer, client: HttpClient, key: str, size: int) -> None:
    headers: Mapping[str, str] = {"If-None-Match": "*", "Content-Type": "video/mp4", "x-amz-meta-job-id": "job_1"}
    request = put(server, key, b"x" * size, **headers)

    client.send(request, deadline_s=LONG_S, sign=SIGN)
    list(client.send_all([request], deadline_s=LONG_S, sign=SIGN))

    assert len(server.requests) == 2
    for request in server.requests:
        _, _, headers = parse_request(request)
        assert headers["x-amz-security-token"] == SIGN.session_token
        assert {"if-none-match", "x-amz-meta-job-id", "x-amz-security-token"} <= set(headers)
        assert is_signed_by_the_book(request, server.url.partition(":")[0])


def test_a_part_of_an_upload_is_signed_by_the_book(server: FaultServer, client: HttpClient) -> None:
    query = f"?partNumber=7&uploadId={quote('a/b+c=~', safe='')}"
    client.send(put(server, "clip.mp4", b"x", query), deadline_s=LONG_S, sign=SIGN)

    assert is_signed_by_the_book(server.requests[0], server.url.partition(":")[0])


@pytest.mark.parametrize("key", ["../up", "a/./b", "a/..", "%2e%2e/up"])
def test_a_path_that_libcurl_would_shorten_is_not_sent(server: FaultServer, client: HttpClient, key: str) -> None:
    request = Request("PUT", f"{server.url}/bucket/{key}", raw=b"x")

    with pytest.raises(NotSent):
        client.send(request, deadline_s=LONG_S, sign=SIGN)
    assert server.requests == []


def test_no_credentials_stay_for_the_next_call(server: FaultServer, client: HttpClient) -> None:
    other = AwsSigV4("us-east-1", "OTHER", "word")
    for sign in (SIGN, None, other, None):
        client.send(put(server, "clip.mp4", b"x") if sign else get(server.url), deadline_s=LONG_S, sign=sign)
        list(client.send_all([put(server, "k", b"x") if sign else get(server.url)], deadline_s=LONG_S, sign=sign))

    signers = [
        parse_request(request)[2].get("authorization", "-").partition("Credential=")[2][:5]
        for request in server.requests
    ]
    assert signers == ["AKIAK", "AKIAK", "", "", "OTHER", "OTHER", "", ""]
    assert ["x-amz-security-token" in parse_request(request)[2] for request in server.requests] == [True] * 2 + [
        False
    ] * 6
    handles = [handle for idle in client._handles._idle.values() for handle in idle]
    assert [hasattr(handle, "call") for handle in handles] == [False, False]
    (multi,) = (multi for idle in client._multis._idle.values() for multi in idle)
    assert {signs: len(idle) for signs, idle in multi._idle.items()} == {True: 1, False: 1}


def test_no_credentials_are_shown() -> None:
    assert SECRET not in repr(SIGN)
