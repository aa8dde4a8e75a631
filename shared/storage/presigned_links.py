"""Presigned links: URLs at which anybody can read an object for a limited time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

# SigV4 links live at most seven days; a gateway may take a day before it fetches.
LINK_LIFE_S = 86_400


class PresignedLinks:
    """Signs links, each for the region of its bucket, or S3 would refuse them. Safe to share between threads."""

    def __init__(
        self,
        default_client: Any,
        client_for_region: Callable[[str], Any] | None = None,
        region_of: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        """`default_client` is boto's client as configured, `client_for_region` creates one for another region."""
        self.default_client, self._client_for_region, self._region_of = default_client, client_for_region, region_of
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def fetchable_url(self, url: str) -> str:
        """Turn `s3://bucket/key` into a link that anybody can fetch for a day; other URLs stay unchanged."""
        if not url.startswith("s3://"):
            return url
        bucket = urlsplit(url).netloc
        return self.presign(bucket, url.removeprefix(f"s3://{bucket}/"), LINK_LIFE_S)

    def presign(self, bucket: str, key: str, expires_s: int) -> str:
        """Return a link to one object; raises boto's error if there are no credentials."""
        target = {"Bucket": bucket, "Key": key}
        link: str = self.client(bucket).generate_presigned_url("get_object", Params=target, ExpiresIn=expires_s)
        return link

    def client(self, bucket: str) -> Any:
        """Return a client that signs for the region of this bucket."""
        region = self._region_of(bucket)
        if region is None or self._client_for_region is None or region == self.default_client.meta.region_name:
            return self.default_client
        with self._lock:
            if region not in self._clients:
                self._clients[region] = self._client_for_region(region)
            return self._clients[region]
