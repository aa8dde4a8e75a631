"""PutObject and UploadPart without boto's long way to them: a third of the CPU for a small object, half for a large.

What it says is either clear or None; at None the caller takes boto's way, which tries again, follows a bucket to its
region and knows why something was refused. Credentials are botocore's own. The signature covers the body's sha256, over
https too, so that S3 holds it against what arrives: no other checksum is sent.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import ip_network
from typing import Any, cast
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import BotoCoreError, ClientError

from shared.domain import wire
from shared.http import AnswerLost as Lost
from shared.http import NotSent, Outside

# Larger bodies are boto's.
MOST_BYTES = 8 << 20
DEADLINE_S = 30.0
# What a slow line is given beyond that: a part of 5 MiB may take 50 s.
SLOW_BYTES_PER_S = 1 << 18
# After an answer that was not clear, boto is asked alone for this long.
REST_S = 60.0
# The user's own bucket may stand anywhere, also inside.
ANYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))
# Authorities that boto reads from the environment and this does not.
AUTHORITIES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
PLACE = "rushes-place"
ONCE, SHA256 = {"If-None-Match": "*"}, "x-amz-meta-sha256"
WRITTEN = {200: True, 412: False}
UPLOADED = {200}


Put = tuple[str, bytes, dict[str, str]]
"""A key, what is to stand there, and the headers."""


class DirectPut:
    """Puts small objects once, with `If-None-Match: *`, and the parts of large ones. Safe to share between threads."""

    def __init__(self, client: Callable[[], Any], credentials: Any, bucket: str) -> None:
        """`client` gives boto's client for the region of the bucket, as far as that is known by now."""
        self._client, self._credentials, self._bucket = client, credentials, bucket
        self._outside = Outside(ANYWHERE)
        self._rests_until = 0.0
        self._target: tuple[Any, str, str, bool] | None = None

    def target(self) -> tuple[str, str]:
        """Where objects go, and the region that is signed for: as boto would have it."""
        client = self._client()
        if self._target is None or self._target[0] is not client:
            link: str = client.generate_presigned_url("put_object", Params={"Bucket": self._bucket, "Key": PLACE})
            root = link.partition("?")[0].removesuffix(PLACE)
            self._target = (client, root, client.meta.region_name or "us-east-1", _reachable(root))
        return self._target[1:3]

    def _rests(self) -> bool:
        self.target()
        return time.monotonic() < self._rests_until or not (self._target and self._target[3])

    def put(self, key: str, body: bytes | memoryview, headers: dict[str, str]) -> bool | None:
        """Whether it was written: False where something stands there, None where boto is to find out."""
        answer = self._answer(key, "", body, headers | ONCE, headers.get(SHA256), WRITTEN)
        return WRITTEN[answer.status] if answer else None

    def put_all(self, puts: Sequence[Put]) -> list[bool | None]:
        """The same for some small objects together, in this thread."""
        told: list[bool | None] = [None] * len(puts)
        with suppress(BotoCoreError, ClientError):
            if self._rests():
                return told
            asked = [self._signed(self._url(key), body, said | ONCE, said.get(SHA256)) for key, body, said in puts]
            for group in self._outside.send_all(asked, deadline_s=DEADLINE_S):
                for number, answer in group:
                    told[number] = self._told(answer) if answer else self.put(*puts[number])
        return told

    def _told(self, answer: wire.Response | Lost) -> bool | None:
        if isinstance(answer, Lost) or answer.status not in WRITTEN:
            self._rests_until = time.monotonic() + REST_S
            return None
        return WRITTEN[answer.status]

    def put_part(
        self, key: str, upload_id: str, number: int, body: bytes | memoryview, headers: Mapping[str, str] | None = None
    ) -> str | None:
        """The ETag of this part of a multipart upload; None where boto is to send it."""
        query = f"?partNumber={number}&uploadId={quote(upload_id, safe='')}"
        answer = self._answer(key, query, body, headers or {}, None, UPLOADED)
        return answer.headers.get("etag") if answer else None

    def _url(self, key: str) -> str:
        return self.target()[0] + quote(key, safe="/~")

    def _answer(
        self,
        key: str,
        query: str,
        body: bytes | memoryview,
        headers: Mapping[str, str],
        sha256: str | None,
        clear: Container[int],
    ) -> wire.Response | None:
        """What S3 says, if that is clear; after an answer that is not, nothing is asked for a while."""
        if len(body) > MOST_BYTES:
            return None
        deadline_s = DEADLINE_S + len(body) / SLOW_BYTES_PER_S
        with suppress(NotSent, Lost, BotoCoreError, ClientError):
            if self._rests():
                return None
            url = self._url(key) + query
            answer = self._outside.send(self._signed(url, body, headers, sha256), deadline_s=deadline_s)
            if answer.status in clear:
                return answer
        self._rests_until = time.monotonic() + REST_S
        return None

    def _signed(
        self, url: str, body: bytes | memoryview, headers: Mapping[str, str], sha256: str | None
    ) -> wire.Request:
        sha256 = sha256 or hashlib.sha256(body).hexdigest()
        credentials = self._credentials.get_frozen_credentials()
        headers = signed(url, headers, sha256, credentials, self.target()[1], datetime.now(UTC))
        # A part is sent from where it lies: any buffer will do.
        return wire.Request("PUT", url, headers, raw=cast("bytes", body))


def signed(
    url: str,
    headers: Mapping[str, str],
    sha256: str,
    credentials: ReadOnlyCredentials,
    region: str,
    now: datetime,
) -> dict[str, str]:
    """The headers of a PUT with AWS Signature Version 4; the URL's path and query are quoted and in order already.

    https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
    """
    parts, moment = urlsplit(url), f"{now:%Y%m%dT%H%M%SZ}"
    said = {**headers, "Host": parts.netloc, "X-Amz-Content-Sha256": sha256, "X-Amz-Date": moment}
    if credentials.token:
        said["X-Amz-Security-Token"] = credentials.token
    lines = sorted((name.lower(), " ".join(value.split())) for name, value in said.items())
    names = ";".join(name for name, _ in lines)
    told = "".join(f"{name}:{value}\n" for name, value in lines)
    request = "\n".join(("PUT", parts.path, parts.query, told, names, sha256))
    scope = (moment[:8], region, "s3", "aws4_request")
    text = "\n".join(("AWS4-HMAC-SHA256", moment, "/".join(scope), hashlib.sha256(request.encode()).hexdigest()))
    signature = hmac.digest(_key(credentials.secret_key, scope), text.encode(), "sha256").hex()
    place = f"{credentials.access_key}/{'/'.join(scope)}"
    said["Authorization"] = f"AWS4-HMAC-SHA256 Credential={place}, SignedHeaders={names}, Signature={signature}"
    return said


@lru_cache(maxsize=4)
def _key(secret_key: str, scope: tuple[str, ...]) -> bytes:
    """The key of a day."""
    key = f"AWS4{secret_key}".encode()
    for word in scope:
        key = hmac.digest(key, word.encode(), "sha256")
    return key


def _reachable(url: str) -> bool:
    """Whether there is nothing on the way that only boto would know of: a proxy, authorities of one's own."""
    parts = urlsplit(url)
    if parts.scheme in getproxies() and not proxy_bypass(parts.hostname or ""):
        return False
    return parts.scheme == "http" or not any(os.environ.get(name) for name in AUTHORITIES)
