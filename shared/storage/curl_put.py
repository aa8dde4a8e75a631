"""PutObject and UploadPart by libcurl: a third of boto's CPU for a small object, half for a large.

What it says is either clear or None; at None the caller takes boto's way, which tries again, follows a bucket to its
region and knows why something was refused. Credentials are botocore's own, and libcurl signs. The signature covers the
body's sha256, over https too, so that S3 holds it against what arrives: no other checksum is sent.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_network
from types import MappingProxyType
from typing import Any, cast
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

from botocore.exceptions import BotoCoreError, ClientError

from rushes.shared.domain.http_messages import Request, Response
from rushes.shared.http import AnswerLost, AwsSigV4, HttpClient, NotSent

# Larger bodies are boto's.
MOST_BYTES = 8 << 20
DEADLINE_S = 30.0
# What a slow line is given beyond that: a part of 5 MiB may take 50 s.
SLOW_BYTES_PER_S = 1 << 18
# After an answer that was not clear, boto is asked alone for this long.
REST_S = 60.0
# The user's own bucket may stand anywhere, also inside.
ANYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))
PLACE = "rushes-place"
ONCE, SHA256 = {"If-None-Match": "*"}, "x-amz-meta-sha256"
WRITTEN = {200: True, 412: False}
UPLOADED = frozenset({200})
# libcurl signs these paths as it shortens them, and S3 as they are.
DOTTED = re.compile(r"(^|/)\.{1,2}(/|$)")

Put = tuple[str, bytes, dict[str, str]]
"""A key, what is to stand there, and the headers."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where objects go, by the client of boto's that says so."""

    client: Any
    root: str
    region: str
    is_direct: bool
    """False where something is on the way that only boto knows of."""


class CurlPut:
    """Puts small objects once, with `If-None-Match: *`, and the parts of large ones. Safe to share between threads."""

    def __init__(
        self, client: Callable[[], Any], credentials: Any, bucket: str, authorities: str | None = None
    ) -> None:
        """`client` gives boto's client for the region of the bucket, as far as that is known by now."""
        self._client, self._credentials, self._bucket = client, credentials, bucket
        self._http = HttpClient(ANYWHERE, authorities=authorities)
        self._rests_until = 0.0
        self._target: Target | None = None

    @property
    def target(self) -> Target:
        """Address and region as boto would have them."""
        client, target = self._client(), self._target
        if target is None or target.client is not client:
            link: str = client.generate_presigned_url("put_object", Params={"Bucket": self._bucket, "Key": PLACE})
            root = link.partition("?")[0].removesuffix(PLACE)
            target = self._target = Target(client, root, client.meta.region_name or "us-east-1", not _proxied(root))
        return target

    def put(self, key: str, body: bytes | memoryview, headers: dict[str, str]) -> bool | None:
        """Whether it was written: False where something stands there, None where boto is to find out."""
        response = self._response(key, "", body, headers | ONCE, WRITTEN)
        return WRITTEN[response.status] if response else None

    def put_all(self, puts: Sequence[Put]) -> list[bool | None]:
        """The same for some small objects together, in this thread."""
        written: list[bool | None] = [None] * len(puts)
        with suppress(BotoCoreError, ClientError):
            target = self.target
            numbers = [number for number, (key, _, _) in enumerate(puts) if self._takes(target, key)]
            chosen = [puts[number] for number in numbers]
            requests = [self._request(target, key, "", body, headers | ONCE) for key, body, headers in chosen]
            for group in self._http.send_all(requests, deadline_s=DEADLINE_S, sign=self._signature(target)):
                for at, outcome in group:
                    number = numbers[at]
                    written[number] = self._judged(outcome) if outcome else self.put(*puts[number])
        return written

    def put_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        body: bytes | memoryview,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> str | None:
        """The ETag of this part of a multipart upload; None where boto is to send it."""
        query = f"?partNumber={number}&uploadId={quote(upload_id, safe='')}"
        response = self._response(key, query, body, headers, UPLOADED)
        return response.headers.get("etag") if response else None

    def _takes(self, target: Target, key: str) -> bool:
        return target.is_direct and time.monotonic() >= self._rests_until and not DOTTED.search(key)

    def _response(
        self, key: str, query: str, body: bytes | memoryview, headers: Mapping[str, str], clear: Container[int]
    ) -> Response | None:
        """What S3 says, if that is clear; after an answer that is not, nothing is asked for a while."""
        with suppress(NotSent, AnswerLost, BotoCoreError, ClientError):
            target = self.target
            if len(body) > MOST_BYTES or not self._takes(target, key):
                return None
            deadline_s = DEADLINE_S + len(body) / SLOW_BYTES_PER_S
            request = self._request(target, key, query, body, headers)
            response: Response = self._http.send(request, deadline_s=deadline_s, sign=self._signature(target))
            if response.status in clear:
                return response
        self._rest()
        return None

    def _judged(self, outcome: Response | AnswerLost) -> bool | None:
        if isinstance(outcome, AnswerLost) or outcome.status not in WRITTEN:
            self._rest()
            return None
        return WRITTEN[outcome.status]

    def _rest(self) -> None:
        self._rests_until = time.monotonic() + REST_S

    @staticmethod
    def _request(target: Target, key: str, query: str, body: bytes | memoryview, headers: Mapping[str, str]) -> Request:
        sha256 = headers.get(SHA256) or hashlib.sha256(body).hexdigest()
        signed = {**headers, "x-amz-content-sha256": sha256}
        # A part is sent from where it lies: any buffer will do.
        return Request("PUT", f"{target.root}{quote(key, safe='/~')}{query}", signed, raw=cast("bytes", body))

    def _signature(self, target: Target) -> AwsSigV4:
        """Credentials are asked for at each call: they may be temporary, and botocore renews them."""
        frozen = self._credentials.get_frozen_credentials()
        return AwsSigV4(target.region, frozen.access_key, frozen.secret_key, frozen.token)


def _proxied(url: str) -> bool:
    """Whether boto would go through a proxy of the environment."""
    parts = urlsplit(url)
    return parts.scheme in getproxies() and not proxy_bypass(parts.hostname or "")
