"""PutObject and UploadPart by libcurl: a third of boto's CPU for a small object, half for a large one.

A result is either certain or None. At None the caller uses boto, which retries, follows a bucket to its region and
explains refusals. Credentials come from botocore, and libcurl signs. The signature covers the body's sha256, over https
too, so S3 verifies what arrives; no other checksum is sent.
"""

from __future__ import annotations

import hashlib
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

# Larger bodies go by boto.
MAX_BYTES = 8 << 20
DEADLINE_S = 30.0
# The deadline grows with the body for slow connections: a part of 5 MiB may take 50 s.
SLOW_BYTES_PER_S = 1 << 18
# After an uncertain result only boto is used for this long.
PAUSE_S = 60.0
# The user's own bucket may be anywhere, on private addresses too.
ANY_ADDRESS = (ip_network("0.0.0.0/0"), ip_network("::/0"))
PLACEHOLDER_KEY = "rushes-place"
IF_NONE_MATCH, SHA256 = {"If-None-Match": "*"}, "x-amz-meta-sha256"
WAS_WRITTEN = {200: True, 412: False}
UPLOADED = frozenset({200})
# libcurl removes these segments before it signs, S3 does not: the signatures would differ.
DOT_SEGMENTS = frozenset({".", ".."})

Put = tuple[str, bytes, dict[str, str]]
"""Key, body and headers of an object."""


@dataclass(frozen=True, slots=True)
class Target:
    """Address and region of the bucket, as this client of boto has them."""

    client: Any
    root: str
    region: str
    is_direct: bool
    """False if a proxy of the environment is used, which only boto does."""


class CurlPut:
    """Puts small objects once, with `If-None-Match: *`, and the parts of large ones. Safe to share between threads."""

    def __init__(
        self, client: Callable[[], Any], credentials: Any, bucket: str, authorities: str | None = None
    ) -> None:
        """`client` returns boto's client for the bucket's region, or for the configured one while that is unknown."""
        self._client, self._credentials, self._bucket = client, credentials, bucket
        self._http = HttpClient(ANY_ADDRESS, authorities=authorities)
        self._paused_until = 0.0
        self._target: Target | None = None

    @property
    def target(self) -> Target:
        """Address and region as boto has them."""
        client, target = self._client(), self._target
        if target is None or target.client is not client:
            link: str = client.generate_presigned_url(
                "put_object", Params={"Bucket": self._bucket, "Key": PLACEHOLDER_KEY}
            )
            root = link.partition("?")[0].removesuffix(PLACEHOLDER_KEY)
            target = self._target = Target(client, root, client.meta.region_name or "us-east-1", not _has_proxy(root))
        return target

    def put(self, key: str, body: bytes | memoryview, headers: dict[str, str]) -> bool | None:
        """Put one object. True if it was written, False if there is one already, None if uncertain: use boto then."""
        response = self._send(key, "", body, headers | IF_NONE_MATCH, WAS_WRITTEN)
        return WAS_WRITTEN[response.status] if response else None

    def put_all(self, puts: Sequence[Put]) -> list[bool | None]:
        """Put small objects together, in this thread; the result of each is as `put` returns it."""
        if len(puts) == 1:  # as is usual, and a multi handle costs more than an easy one
            return [self.put(*puts[0])]
        written: list[bool | None] = [None] * len(puts)
        with suppress(BotoCoreError, ClientError):
            target = self.target
            indexes = [index for index, (key, _, _) in enumerate(puts) if self._can_put(target, key)]
            chosen = [puts[index] for index in indexes]
            requests = [self._request(target, key, "", body, headers | IF_NONE_MATCH) for key, body, headers in chosen]
            for group in self._http.send_all(requests, deadline_s=DEADLINE_S, sign=self._signature(target)):
                for position, outcome in group:
                    index = indexes[position]
                    written[index] = self._was_written(outcome) if outcome else self.put(*puts[index])
        return written

    def put_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        body: bytes | memoryview,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> str | None:
        """Send one part of a multipart upload; returns its ETag, or None if uncertain: use boto then."""
        query = f"?partNumber={number}&uploadId={quote(upload_id, safe='')}"
        response = self._send(key, query, body, headers, UPLOADED)
        return response.headers.get("etag") if response else None

    def _can_put(self, target: Target, key: str) -> bool:
        return target.is_direct and time.monotonic() >= self._paused_until and DOT_SEGMENTS.isdisjoint(key.split("/"))

    def _send(
        self, key: str, query: str, body: bytes | memoryview, headers: Mapping[str, str], accepted: Container[int]
    ) -> Response | None:
        """Send a request; returns the response if its status is in `accepted`, else None after starting a pause."""
        with suppress(NotSent, AnswerLost, BotoCoreError, ClientError):
            target = self.target
            if len(body) > MAX_BYTES or not self._can_put(target, key):
                return None
            deadline_s = DEADLINE_S + len(body) / SLOW_BYTES_PER_S
            request = self._request(target, key, query, body, headers)
            response: Response = self._http.send(request, deadline_s=deadline_s, sign=self._signature(target))
            if response.status in accepted:
                return response
        self._pause()
        return None

    def _was_written(self, outcome: Response | AnswerLost) -> bool | None:
        if isinstance(outcome, AnswerLost) or outcome.status not in WAS_WRITTEN:
            self._pause()
            return None
        return WAS_WRITTEN[outcome.status]

    def _pause(self) -> None:
        self._paused_until = time.monotonic() + PAUSE_S

    @staticmethod
    def _request(target: Target, key: str, query: str, body: bytes | memoryview, headers: Mapping[str, str]) -> Request:
        sha256 = headers.get(SHA256) or hashlib.sha256(body).hexdigest()
        signed = {**headers, "x-amz-content-sha256": sha256}
        # `raw` may be any buffer: a part is sent without copying it.
        return Request("PUT", f"{target.root}{quote(key, safe='/~')}{query}", signed, raw=cast("bytes", body))

    def _signature(self, target: Target) -> AwsSigV4:
        """The credentials, read anew for each call: they may be temporary, and botocore renews them."""
        credentials = self._credentials.get_frozen_credentials()
        return AwsSigV4(target.region, credentials.access_key, credentials.secret_key, credentials.token)


def _has_proxy(url: str) -> bool:
    """Whether boto uses a proxy of the environment for this URL."""
    parts = urlsplit(url)
    return parts.scheme in getproxies() and not proxy_bypass(parts.hostname or "")
