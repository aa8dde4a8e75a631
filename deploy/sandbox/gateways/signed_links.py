"""Signed links that expire, as gateways give them to the finished clip."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Links:
    """Makes and checks links under `origin`; whoever has a link needs no key until it expires."""

    secret: bytes
    origin: str

    def make(self, gateway: str, task_id: str, name: str, expires_at: float) -> str:
        """The address of a task's file (`video.mp4`, `thumbnail.jpg`), good until that moment."""
        path, expires = f"/files/{gateway}/{task_id}/{name}", str(int(expires_at))
        return f"{self.origin}{path}?expires={expires}&sig={self._signature(path, expires)}"

    def are_good(self, path: str, query: Mapping[str, str], now: float) -> bool:
        """Whether a request for a file has a valid signature that has not expired."""
        expires = query.get("expires", "")
        signed = hmac.compare_digest(query.get("sig", "").encode(), self._signature(path, expires).encode())
        return signed and now < int(expires)

    def _signature(self, path: str, expires: str) -> str:
        return hmac.new(self.secret, f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest()[:40]
