"""moto's S3 on loopback, behind a proxy that recomputes every signature.

The proxy may have a region, deny rights such as listing, require headers of every object, and change metadata as some
stores do.
"""

from __future__ import annotations

import hmac
import http.client
import re
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from patience import PATIENCE_S
from strict_bucket import ERROR, ReceivedRequest, signature_error, signature_of_link

# What a bucket's owner grants, by what the request is.
LIST, UPLOADS = "s3:ListBucket", "s3:ListBucketMultipartUploads"


@dataclass
class StoreBehavior:
    """How the store differs from S3, besides being strict."""

    region: str = "eu-central-1"
    names_region: bool = True
    """A refusal names the region in its body too, where boto reads it."""
    denied: set[str] = field(default_factory=set)
    """Rights that the credentials do not have."""
    required_headers: Mapping[str, str] = field(default_factory=dict)
    """Headers that every object must be written with."""
    capitalizes_metadata: bool = False
    """Names of metadata are returned in capitals."""
    drops_metadata: bool = False
    """Metadata are not returned."""
    copy_status: int = 200
    """The status of a copy."""
    ignores_conditions: bool = False
    """Every object may be overwritten."""
    lacks_conditions: bool = False
    """A write under a condition is refused."""
    missing_status: int = 404
    """What is answered for an object that is not there."""
    ahead_s: int = 0
    """How far its clock is ahead; it refuses requests that are dated 15 minutes off."""
    lists_uploads: bool = True
    body: bytes | None = None
    """What is read of every object, if it is not what was written."""


class StrictStore(ThreadingHTTPServer):
    """`requests` are those received, `rejected_writes` those without a required header.

    `signature_errors` says what was wrong with signatures.
    """

    daemon_threads = True

    def __init__(
        self, backend: str, bucket: str, behavior: StoreBehavior | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(("127.0.0.1", 0), StoreHandler)
        self.backend, self.bucket, self.behavior = urlsplit(backend).netloc, bucket, behavior or StoreBehavior()
        self.requests: list[ReceivedRequest] = []
        self.signature_errors: list[str] = []
        self.rejected_writes: list[ReceivedRequest] = []
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

    def writes(self) -> list[ReceivedRequest]:
        """The requests that create an object: puts, started uploads, copies."""
        return [request for request in self.requests if _creates_object(request)]


class StoreHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StrictStore

    def log_message(self, *_: Any) -> None: ...

    def do_PUT(self) -> None:
        request = self._read_request()
        status, code = self._check_request(request)
        if code:
            return self._respond(status, code)
        return self._forward(request)

    do_GET = do_HEAD = do_POST = do_DELETE = do_PUT  # noqa: N815

    def _read_request(self) -> ReceivedRequest:
        headers = {name.lower(): value for name, value in self.headers.items()}
        if headers.get("expect"):
            self.send_response_only(100)
            self.end_headers()
        target = self.path
        request = ReceivedRequest(self.command, target, headers, self.rfile.read(int(headers.get("content-length", 0))))
        self.server.requests.append(request)
        return request

    def _check_request(self, request: ReceivedRequest) -> tuple[int, str]:
        behavior, bucket = self.server.behavior, self._is_bucket_request(request)
        if "authorization" not in request.headers and "X-Amz-Signature" not in request.target:
            return 403, "AccessDenied"
        if _region(request) != behavior.region:
            return 400, "AuthorizationHeaderMalformed"
        if error := _signature_error(request):
            self.server.signature_errors.append(error)
            return 403, "SignatureDoesNotMatch"
        if bucket and _required_right(request) in behavior.denied:
            return 403, "AccessDenied"
        if _creates_object(request) and any(
            request.headers.get(name) != value for name, value in behavior.required_headers.items()
        ):
            self.server.rejected_writes.append(request)
            return 403, "AccessDenied"
        return self._odd_refusal(request, bucket)

    def _odd_refusal(self, request: ReceivedRequest, bucket: bool) -> tuple[int, str]:
        behavior = self.server.behavior
        if abs(behavior.ahead_s) > 900:
            return 403, "RequestTimeTooSkewed"
        if behavior.lacks_conditions and "if-none-match" in request.headers:
            return 501, "NotImplemented"
        if bucket and not behavior.lists_uploads and _required_right(request) == UPLOADS:
            return 501, "NotImplemented"
        if "x-amz-copy-source" in request.headers and behavior.copy_status != 200:
            return behavior.copy_status, "NotImplemented"
        return 200, ""

    def _is_bucket_request(self, request: ReceivedRequest) -> bool:
        return urlsplit(self._path(request)).path.strip("/") == self.server.bucket

    def _path(self, request: ReceivedRequest) -> str:
        """The target in path style."""
        virtual = request.headers["host"].startswith(f"{self.server.bucket}.")
        return f"/{self.server.bucket}{request.target}" if virtual else request.target

    def _forward(self, request: ReceivedRequest) -> None:
        connection = http.client.HTTPConnection(self.server.backend, timeout=PATIENCE_S)
        headers = {
            name: value for name, value in request.headers.items() if name not in ("host", "connection", "expect")
        }
        if self.server.behavior.ignores_conditions:
            headers.pop("if-none-match", None)
        connection.request(request.method, self._path(request), request.body, headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        if response.status == 404 and self.server.behavior.missing_status != 404:
            return self._respond(self.server.behavior.missing_status, "InvalidRequest")
        if response.status == 404 and LIST in self.server.behavior.denied:
            return self._respond(403, "AccessDenied")
        if self.server.behavior.body is not None and request.method == "GET" and not self._is_bucket_request(request):
            body = self.server.behavior.body
        return self._relay(response, body)

    def _relay(self, response: http.client.HTTPResponse, body: bytes) -> None:
        self.send_response_only(response.status)
        self._send_date()
        for name, value in response.getheaders():
            if name.lower() not in ("date", "connection", "transfer-encoding", "content-length", "x-amz-bucket-region"):
                self._send_store_header(name, value)
        length = response.getheader("content-length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    def _send_date(self) -> None:
        self.send_header("Date", formatdate(time.time() + self.server.behavior.ahead_s, usegmt=True))

    def _send_store_header(self, name: str, value: str) -> None:
        behavior, is_metadata = self.server.behavior, name.lower().startswith("x-amz-meta-")
        if is_metadata and behavior.drops_metadata:
            return
        self.send_header(name.title() if is_metadata and behavior.capitalizes_metadata else name, value)

    def _respond(self, status: int, code: str) -> None:
        body_with_region = ERROR.format(code).replace(
            "</Error>", f"<Region>{self.server.behavior.region}</Region></Error>"
        )
        body = (
            b""
            if self.command == "HEAD"
            else (body_with_region if self.server.behavior.names_region else ERROR.format(code)).encode()
        )
        self.send_response_only(status)
        self._send_date()
        self.send_header("x-amz-bucket-region", self.server.behavior.region)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _creates_object(request: ReceivedRequest) -> bool:
    query = dict(parse_qsl(urlsplit(request.target).query, keep_blank_values=True))
    return (request.method == "PUT" and "partNumber" not in query) or (request.method == "POST" and "uploads" in query)


def _required_right(request: ReceivedRequest) -> str:
    return UPLOADS if re.search(r"[?&]uploads\b", request.target) else LIST


def _region(request: ReceivedRequest) -> str:
    if "authorization" in request.headers:
        return request.headers["authorization"].partition("Credential=")[2].split("/")[2]
    return dict(parse_qsl(urlsplit(request.target).query))["X-Amz-Credential"].split("/")[2]


def _signature_error(request: ReceivedRequest) -> str | None:
    if "authorization" in request.headers:
        return signature_error(request)
    query = dict(parse_qsl(urlsplit(request.target).query, keep_blank_values=True))
    signature = signature_of_link(request, query)
    return None if hmac.compare_digest(signature, query["X-Amz-Signature"]) else "the link's signature does not match"
