"""An S3 on loopback that recomputes every signature, and fails on request."""

from __future__ import annotations

import hashlib
import hmac
import ssl
import threading
from collections import deque
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

CUT_BEFORE, CUT_AFTER = "cut before it is stored", "cut after it is stored"
ERROR = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{}</Code><Message>so it is</Message></Error>"
CODES = {403: "SignatureDoesNotMatch", 404: "NoSuchKey", 409: "ConditionalRequestConflict", 412: "PreconditionFailed"}
UNSIGNED = "UNSIGNED-PAYLOAD"
KEY_ID, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


@dataclass
class ReceivedRequest:
    """A request as it was received."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def is_from_boto(self) -> bool:
        return self.headers.get("user-agent", "").startswith("Boto")

    @property
    def signed_headers(self) -> set[str]:
        return set(_parts(self.headers["authorization"])["SignedHeaders"].split(";"))


@dataclass
class StoredObject:
    """An object in the bucket."""

    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class StrictBucket(ThreadingHTTPServer):
    """`objects` by decoded path; the next requests are answered by `faults`: a status, or a cut."""

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, StoredObject] = {}
        self.requests: list[ReceivedRequest] = []
        self.signature_errors: list[str] = []
        self.faults: deque[int | str] = deque()
        self.port: int = self.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def __exit__(self, *args: Any) -> None:
        self.shutdown()
        super().__exit__(*args)

    def handle_error(self, *_: Any) -> None:
        """Ignore connections that were cut."""

    @property
    def curl_requests(self) -> list[ReceivedRequest]:
        """The requests that did not come from boto."""
        return [request for request in self.requests if not request.is_from_boto]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StrictBucket

    def log_message(self, *_: Any) -> None: ...

    def do_PUT(self) -> None:
        request = self._read_request()
        fault = self.server.faults.popleft() if self.server.faults else None
        if fault == CUT_BEFORE:
            return self._cut()
        status = fault if isinstance(fault, int) else self._store(request)
        if fault == CUT_AFTER:
            return self._cut()
        etag = hashlib.md5(request.body, usedforsecurity=False).hexdigest()
        return self._respond(status, ERROR.format(CODES.get(status, "InternalError")), ETag=f'"{etag}"')

    def do_HEAD(self) -> None:
        request = self._read_request()
        stored = self.server.objects.get(unquote(urlsplit(request.target).path))
        if stored is None or signature_error(request):
            return self._respond(404, "")
        headers = {
            name: value for name, value in stored.headers.items() if name.startswith(("x-amz-meta-", "content-type"))
        }
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(stored.body)), "ETag": '"e"'}.items():
            self.send_header(name, value)
        self.send_header("Last-Modified", formatdate(usegmt=True))
        return self.end_headers()

    def _read_request(self) -> ReceivedRequest:
        headers = {name.lower(): value for name, value in self.headers.items()}
        if headers.get("expect"):
            self.send_response_only(100)
            self.end_headers()
        request = ReceivedRequest(
            self.command, self.path, headers, self.rfile.read(int(headers.get("content-length", 0)))
        )
        self.server.requests.append(request)
        return request

    def _store(self, request: ReceivedRequest) -> int:
        if error := signature_error(request):
            self.server.signature_errors.append(error)
            return 403
        parts = urlsplit(request.target)
        name = unquote(parts.path) + (f"?{parts.query}" if parts.query else "")
        if request.headers.get("if-none-match") == "*" and name in self.server.objects:
            return 412
        self.server.objects[name] = StoredObject(request.body, request.headers)
        return 200

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.close()

    def _respond(self, status: int, body: str, **headers: str) -> None:
        body = "" if status == 200 or self.command == "HEAD" else body
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())


# --- Signature Version 4, from its documentation


def signature_error(request: ReceivedRequest) -> str | None:
    """What is wrong with a request's signature; None if it is right."""
    parts, digest = _parts(request.headers["authorization"]), request.headers["x-amz-content-sha256"]
    if digest not in (UNSIGNED, hashlib.sha256(request.body).hexdigest()):
        return "x-amz-content-sha256 is not of this body"
    if not {"host", "x-amz-date", "x-amz-content-sha256"} <= request.signed_headers:
        return "not all that must be is signed"
    if any(name.startswith("x-amz-") and name not in request.signed_headers for name in request.headers):
        return "an x-amz header is not signed"
    signature = _signature(request, parts["Credential"].split("/"), digest)
    return None if hmac.compare_digest(signature, parts["Signature"]) else "the signature does not match"


def _parts(authorization: str) -> dict[str, str]:
    scheme, _, rest = authorization.partition(" ")
    assert scheme == "AWS4-HMAC-SHA256"
    return dict(part.strip().split("=", 1) for part in rest.split(","))


def _signature(request: ReceivedRequest, credential: list[str], digest: str) -> str:
    return _signed(_canonical(request, request.signed_headers, digest), credential[1:], request.headers["x-amz-date"])


def signature_of_link(request: ReceivedRequest, query: dict[str, str]) -> str:
    """The right signature of a presigned link."""
    names = set(query["X-Amz-SignedHeaders"].split(";"))
    return _signed(_canonical(request, names, UNSIGNED), query["X-Amz-Credential"].split("/")[1:], query["X-Amz-Date"])


def _signed(canonical: str, scope: list[str], at: str) -> str:
    lines = ["AWS4-HMAC-SHA256", at, "/".join(scope), hashlib.sha256(canonical.encode()).hexdigest()]
    key = f"AWS4{SECRET}".encode()
    for step in scope:
        key = hmac.digest(key, step.encode(), "sha256")
    return hmac.digest(key, "\n".join(lines).encode(), "sha256").hex()


def _canonical(request: ReceivedRequest, signed_headers: set[str], digest: str) -> str:
    url, names = urlsplit(request.target), sorted(signed_headers)
    pairs = [pair for pair in parse_qsl(url.query, keep_blank_values=True) if pair[0] != "X-Amz-Signature"]
    query = sorted((_quoted(name), _quoted(value)) for name, value in pairs)
    headers = [f"{name}:{' '.join(request.headers[name].split())}\n" for name in names]
    return "\n".join(
        [
            request.method,
            quote(unquote(url.path), safe="/-_.~"),
            "&".join(f"{name}={value}" for name, value in query),
            "".join(headers),
            ";".join(names),
            digest,
        ]
    )


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")
