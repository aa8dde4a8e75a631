"""An S3 on loopback that believes no signature before it has made it itself, and fails as it is told to."""

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
class Seen:
    """One request as it came over the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def is_botos(self) -> bool:
        return self.headers.get("user-agent", "").startswith("Boto")

    @property
    def signed(self) -> set[str]:
        return set(_parts(self.headers["authorization"])["SignedHeaders"].split(";"))


@dataclass
class Held:
    """An object."""

    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class StrictBucket(ThreadingHTTPServer):
    """`held` by path as it was decoded; the next requests are answered by `faults`: a status, or a cut."""

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.held: dict[str, Held] = {}
        self.seen: list[Seen] = []
        self.wrong: list[str] = []
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
        """A connection that was cut is none of ours."""

    @property
    def direct(self) -> list[Seen]:
        """What came the short way."""
        return [seen for seen in self.seen if not seen.is_botos]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StrictBucket

    def log_message(self, *_: Any) -> None: ...

    def do_PUT(self) -> None:
        seen = self._take()
        fault = self.server.faults.popleft() if self.server.faults else None
        if fault == CUT_BEFORE:
            return self._cut()
        status = fault if isinstance(fault, int) else self._store(seen)
        if fault == CUT_AFTER:
            return self._cut()
        etag = hashlib.md5(seen.body, usedforsecurity=False).hexdigest()
        return self._say(status, ERROR.format(CODES.get(status, "InternalError")), ETag=f'"{etag}"')

    def do_HEAD(self) -> None:
        seen = self._take()
        held = self.server.held.get(unquote(urlsplit(seen.target).path))
        if held is None or wrong(seen):
            return self._say(404, "")
        kept = {name: value for name, value in held.headers.items() if name.startswith(("x-amz-meta-", "content-type"))}
        self.send_response(200)
        for name, value in {**kept, "Content-Length": str(len(held.body)), "ETag": '"e"'}.items():
            self.send_header(name, value)
        self.send_header("Last-Modified", formatdate(usegmt=True))
        return self.end_headers()

    def _take(self) -> Seen:
        headers = {name.lower(): value for name, value in self.headers.items()}
        if headers.get("expect"):
            self.send_response_only(100)
            self.end_headers()
        seen = Seen(self.command, self.path, headers, self.rfile.read(int(headers.get("content-length", 0))))
        self.server.seen.append(seen)
        return seen

    def _store(self, seen: Seen) -> int:
        if complaint := wrong(seen):
            self.server.wrong.append(complaint)
            return 403
        parts = urlsplit(seen.target)
        name = unquote(parts.path) + (f"?{parts.query}" if parts.query else "")
        if seen.headers.get("if-none-match") == "*" and name in self.server.held:
            return 412
        self.server.held[name] = Held(seen.body, seen.headers)
        return 200

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.close()

    def _say(self, status: int, body: str, **headers: str) -> None:
        body = "" if status == 200 or self.command == "HEAD" else body
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())


# --- Signature Version 4, from its documentation


def wrong(seen: Seen) -> str | None:
    """What is wrong with a request's signature."""
    parts, digest = _parts(seen.headers["authorization"]), seen.headers["x-amz-content-sha256"]
    if digest not in (UNSIGNED, hashlib.sha256(seen.body).hexdigest()):
        return "x-amz-content-sha256 is not of this body"
    if not {"host", "x-amz-date", "x-amz-content-sha256"} <= seen.signed:
        return "not all that must be is signed"
    if any(name.startswith("x-amz-") and name not in seen.signed for name in seen.headers):
        return "an x-amz header is not signed"
    made = _signature(seen, parts["Credential"].split("/"), digest)
    return None if hmac.compare_digest(made, parts["Signature"]) else "the signature does not match"


def _parts(authorization: str) -> dict[str, str]:
    scheme, _, rest = authorization.partition(" ")
    assert scheme == "AWS4-HMAC-SHA256"
    return dict(part.strip().split("=", 1) for part in rest.split(","))


def _signature(seen: Seen, credential: list[str], digest: str) -> str:
    return _signed(_canonical(seen, seen.signed, digest), credential[1:], seen.headers["x-amz-date"])


def signature_of_link(seen: Seen, query: dict[str, str]) -> str:
    """What the signature of a presigned link must be."""
    names = set(query["X-Amz-SignedHeaders"].split(";"))
    return _signed(_canonical(seen, names, UNSIGNED), query["X-Amz-Credential"].split("/")[1:], query["X-Amz-Date"])


def _signed(canonical: str, scope: list[str], at: str) -> str:
    lines = ["AWS4-HMAC-SHA256", at, "/".join(scope), hashlib.sha256(canonical.encode()).hexdigest()]
    key = f"AWS4{SECRET}".encode()
    for step in scope:
        key = hmac.digest(key, step.encode(), "sha256")
    return hmac.digest(key, "\n".join(lines).encode(), "sha256").hex()


def _canonical(seen: Seen, signed: set[str], digest: str) -> str:
    url, names = urlsplit(seen.target), sorted(signed)
    pairs = [pair for pair in parse_qsl(url.query, keep_blank_values=True) if pair[0] != "X-Amz-Signature"]
    query = sorted((_quoted(name), _quoted(value)) for name, value in pairs)
    headers = [f"{name}:{' '.join(seen.headers[name].split())}\n" for name in names]
    return "\n".join(
        [
            seen.method,
            quote(unquote(url.path), safe="/-_.~"),
            "&".join(f"{name}={value}" for name, value in query),
            "".join(headers),
            ";".join(names),
            digest,
        ]
    )


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")
