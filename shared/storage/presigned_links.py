"""Links under which anybody can read an object for a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

# SigV4 links live at most seven days; a gateway may take a day before it fetches.
LIFE_S = 86_400


class Links:
    """Signs links for the region of each bucket, or S3 refuses them. Safe to share between threads."""

    def __init__(
        self,
        home: Any,
        elsewhere: Callable[[str], Any] | None = None,
        region_of: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        """`home` is boto's client as the user configured it, `elsewhere` makes one for another region."""
        self.home, self._elsewhere, self._region_of = home, elsewhere, region_of
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def fetchable(self, url: str) -> str:
        """`s3://bucket/key` as a link that anybody can fetch for a day; another address as it is."""
        if not url.startswith("s3://"):
            return url
        bucket = urlsplit(url).netloc
        return self.link(bucket, url.removeprefix(f"s3://{bucket}/"), LIFE_S)

    def link(self, bucket: str, key: str, expires_s: int) -> str:
        """A link to one object; raises what boto raises where there are no credentials."""
        target = {"Bucket": bucket, "Key": key}
        link: str = self.client(bucket).generate_presigned_url("get_object", Params=target, ExpiresIn=expires_s)
        return link

    def client(self, bucket: str) -> Any:
        """A client that signs for the region of this bucket."""
        region = self._region_of(bucket)
        if region is None or self._elsewhere is None or region == self.home.meta.region_name:
            return self.home
        with self._lock:
            if region not in self._clients:
                self._clients[region] = self._elsewhere(region)
            return self._clients[region]
