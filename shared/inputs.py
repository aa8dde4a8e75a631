"""Inputs that lie in S3, made fetchable for a gateway."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

# SigV4 links live at most seven days; a gateway may take a day before it fetches.
LIFE_S = 86_400


class InputLinks:
    """Turns `s3://bucket/key` into a link that anybody can fetch for a day; other addresses stay as they are.

    A link must be signed for the region of its bucket, or S3 refuses it; the region is asked for once a bucket.
    """

    def __init__(self, home: Any, elsewhere: Callable[[str], Any], region_of: Callable[[str], str | None]) -> None:
        self._home, self._elsewhere, self._region_of = home, elsewhere, region_of
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def __call__(self, url: str) -> str:
        """The address under which the input can be fetched."""
        if not url.startswith("s3://"):
            return url
        bucket = urlsplit(url).netloc
        target = {"Bucket": bucket, "Key": url.removeprefix(f"s3://{bucket}/")}
        link: str = self._client(bucket).generate_presigned_url("get_object", Params=target, ExpiresIn=LIFE_S)
        return link

    def _client(self, bucket: str) -> Any:
        with self._lock:
            if bucket not in self._clients:
                region = self._region_of(bucket)
                same = region is None or region == self._home.meta.region_name
                self._clients[bucket] = self._home if same else self._elsewhere(region or "")
            return self._clients[bucket]
