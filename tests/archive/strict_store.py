"""A whole S3 on loopback, moto's, behind a door that believes no signature before it has made it itself.

The door may stand in a region, keep those out who may not list, demand headers of every object, and be as odd with
metadata as some stores are.
"""

from __future__ import annotations

import hmac
import http.client
import re
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from patience import PATIENCE_S
from strict_bucket import ERROR, Seen, signature_of_link, wrong

# What a bucket's owner grants, by what the request is.
LIST, UPLOADS = "s3:ListBucket", "s3:ListBucketMultipartUploads"


@dataclass
class Manners:
    """How the store is, beyond being strict."""

    region: str = "eu-central-1"
    tells: bool = True
    """The region is in the body of a refusal too, where boto looks."""
    denied: set[str] = field(default_factory=set)
    """Rights that nobody has."""
    demanded: Mapping[str, str] = field(default_factory=dict)
    """Headers that every object must be written with."""
    capitals: bool = False
    """Names of metadata come back in capitals."""
    forgets: bool = False
    """Metadata do not come back."""
    copies: int = 200
    """What a copy is answered."""


class StrictStore(ThreadingHTTPServer):
    """`seen` are the requests, `wrong` what was wrong with signatures, `unadorned` those without a demanded header."""

    daemon_threads = True

    def __init__(
        self, behind: str, bucket: str, manners: Manners | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(("127.0.0.1", 0), Door)
        self.behind, self.bucket, self.manners = urlsplit(behind).netloc, bucket, manners or Manners()
        self.seen: list[Seen] = []
        self.wrong: list[str] = []
        self.unadorned: list[Seen] = []
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

    def writes(self) -> list[Seen]:
        """The requests that make an object: whole ones, begun uploads, copies."""
        return [seen for seen in self.seen if _makes_an_object(seen)]


class Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StrictStore

    def log_message(self, *_: Any) -> None: ...

    def do_PUT(self) -> None:
        seen = self._take()
        status, code = self._verdict(seen)
        if code:
            return self._say(status, code)
        return self._forward(seen)

    do_GET = do_HEAD = do_POST = do_DELETE = do_PUT  # noqa: N815

    def _take(self) -> Seen:
        headers = {name.lower(): value for name, value in self.headers.items()}
        if headers.get("expect"):
            self.send_response_only(100)
            self.end_headers()
        target = self.path
        seen = Seen(self.command, target, headers, self.rfile.read(int(headers.get("content-length", 0))))
        self.server.seen.append(seen)
        return seen

    def _verdict(self, seen: Seen) -> tuple[int, str]:
        manners, bucket = self.server.manners, self._is_of_the_bucket(seen)
        if "authorization" not in seen.headers and "X-Amz-Signature" not in seen.target:
            return 403, "AccessDenied"
        if _region(seen) != manners.region:
            return 400, "AuthorizationHeaderMalformed"
        if complaint := _complaint(seen):
            self.server.wrong.append(complaint)
            return 403, "SignatureDoesNotMatch"
        if bucket and _right(seen) in manners.denied:
            return 403, "AccessDenied"
        if _makes_an_object(seen) and any(seen.headers.get(name) != value for name, value in manners.demanded.items()):
            self.server.unadorned.append(seen)
            return 403, "AccessDenied"
        if "x-amz-copy-source" in seen.headers and manners.copies != 200:
            return manners.copies, "NotImplemented"
        return 200, ""

    def _is_of_the_bucket(self, seen: Seen) -> bool:
        return urlsplit(self._path(seen)).path.strip("/") == self.server.bucket

    def _path(self, seen: Seen) -> str:
        """The target in path style."""
        virtual = seen.headers["host"].startswith(f"{self.server.bucket}.")
        return f"/{self.server.bucket}{seen.target}" if virtual else seen.target

    def _forward(self, seen: Seen) -> None:
        connection = http.client.HTTPConnection(self.server.behind, timeout=PATIENCE_S)
        kept = {name: value for name, value in seen.headers.items() if name not in ("host", "connection", "expect")}
        connection.request(seen.method, self._path(seen), seen.body, kept)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status == 404 and LIST in self.server.manners.denied:
            return self._say(403, "AccessDenied")
        return self._pass(answer, body)

    def _pass(self, answer: http.client.HTTPResponse, body: bytes) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "x-amz-bucket-region"):
                self._odd_header(name, value)
        length = answer.getheader("content-length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    def _odd_header(self, name: str, value: str) -> None:
        manners, is_metadata = self.server.manners, name.lower().startswith("x-amz-meta-")
        if is_metadata and manners.forgets:
            return
        self.send_header(name.title() if is_metadata and manners.capitals else name, value)

    def _say(self, status: int, code: str) -> None:
        told = ERROR.format(code).replace("</Error>", f"<Region>{self.server.manners.region}</Region></Error>")
        body = b"" if self.command == "HEAD" else (told if self.server.manners.tells else ERROR.format(code)).encode()
        self.send_response(status)
        self.send_header("x-amz-bucket-region", self.server.manners.region)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _makes_an_object(seen: Seen) -> bool:
    query = dict(parse_qsl(urlsplit(seen.target).query, keep_blank_values=True))
    return (seen.method == "PUT" and "partNumber" not in query) or (seen.method == "POST" and "uploads" in query)


def _right(seen: Seen) -> str:
    return UPLOADS if re.search(r"[?&]uploads\b", seen.target) else LIST


def _region(seen: Seen) -> str:
    if "authorization" in seen.headers:
        return seen.headers["authorization"].partition("Credential=")[2].split("/")[2]
    return dict(parse_qsl(urlsplit(seen.target).query))["X-Amz-Credential"].split("/")[2]


def _complaint(seen: Seen) -> str | None:
    if "authorization" in seen.headers:
        return wrong(seen)
    query = dict(parse_qsl(urlsplit(seen.target).query, keep_blank_values=True))
    made = signature_of_link(seen, query)
    return None if hmac.compare_digest(made, query["X-Amz-Signature"]) else "the link's signature does not match"
