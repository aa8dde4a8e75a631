"""PutObject and UploadPart without boto's long way to them: a third of the CPU for a small object, half for a large.

What it says is either clear or None; at None the caller takes boto's way, which tries again, follows a bucket to its
region and knows why something was refused. Signing and credentials are botocore's own.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Container, Mapping
from contextlib import suppress
from ipaddress import ip_network
from typing import Any, cast
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
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
WRITTEN = {200: True, 412: False}
UPLOADED = {200}


class _Signature(S3SigV4Auth):
    """Signs the body's sha256, over https too: S3 holds it against what arrives."""

    def __init__(self, credentials: Any, region: str, sha256: str) -> None:
        super().__init__(credentials, "s3", region)
        self._sha256 = sha256

    def payload(self, request: AWSRequest) -> str:
        return self._sha256


class DirectPut:
    """Puts small objects once, with `If-None-Match: *`, and the parts of large ones. Safe to share between threads."""

    def __init__(self, s3: Any, credentials: Any, bucket: str) -> None:
        self._credentials = credentials
        self._region = s3.meta.region_name or "us-east-1"
        url: str = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": PLACE})
        self._root = url.partition("?")[0].removesuffix(PLACE)
        self._outside = Outside(ANYWHERE)
        self._rests_until = 0.0 if _reachable(self._root) else float("inf")

    def put(self, key: str, body: bytes | memoryview, headers: Mapping[str, str]) -> bool | None:
        """Whether it was written: False where something stands there, None where boto is to find out."""
        known = headers.get("x-amz-meta-sha256")
        answer = self._answer(self._url(key), body, {**headers, "If-None-Match": "*"}, known, WRITTEN)
        return WRITTEN[answer.status] if answer else None

    def put_part(self, key: str, upload_id: str, number: int, body: bytes | memoryview) -> str | None:
        """The ETag of this part of a multipart upload; None where boto is to send it."""
        url = f"{self._url(key)}?partNumber={number}&uploadId={quote(upload_id, safe='')}"
        answer = self._answer(url, body, {}, None, UPLOADED)
        return answer.headers.get("etag") if answer else None

    def _url(self, key: str) -> str:
        return self._root + quote(key, safe="/~")

    def _answer(
        self, url: str, body: bytes | memoryview, headers: Mapping[str, str], sha256: str | None, clear: Container[int]
    ) -> wire.Response | None:
        """What S3 says, if that is clear; after an answer that is not, nothing is asked for a while."""
        if len(body) > MOST_BYTES or time.monotonic() < self._rests_until:
            return None
        deadline_s = DEADLINE_S + len(body) / SLOW_BYTES_PER_S
        with suppress(NotSent, Lost, BotoCoreError, ClientError):
            answer = self._outside.send(self._signed(url, body, headers, sha256), deadline_s=deadline_s)
            if answer.status in clear:
                return answer
        self._rests_until = time.monotonic() + REST_S
        return None

    def _signed(
        self, url: str, body: bytes | memoryview, headers: Mapping[str, str], sha256: str | None
    ) -> wire.Request:
        request = AWSRequest("PUT", url, dict(headers))
        sha256 = sha256 or hashlib.sha256(body).hexdigest()
        _Signature(self._credentials.get_frozen_credentials(), self._region, sha256).add_auth(request)
        # A part is sent from where it lies: any buffer does for urllib3.
        return wire.Request("PUT", url, dict(request.headers.items()), raw=cast("bytes", body))


def _reachable(url: str) -> bool:
    """Whether there is nothing on the way that only boto would know of: a proxy, authorities of one's own."""
    parts = urlsplit(url)
    if parts.scheme in getproxies() and not proxy_bypass(parts.hostname or ""):
        return False
    return parts.scheme == "http" or not any(os.environ.get(name) for name in AUTHORITIES)
