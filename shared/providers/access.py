"""Where a gateway is, and our key for it: the key goes to that gateway's own origin only."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Access:
    """The address of a gateway, and our key for it."""

    base_url: str
    key: str
    quota_per_usd: Decimal = Decimal(500_000)
    """What a New-API site counts for a dollar (NEWAPI_QUOTA_PER_USD)."""

    def url(self, path: str) -> str:
        """The URL of a call. The base URL may already end with the first steps of its path (`/v1`, `/api/v1`)."""
        scheme, _, rest = self.base_url.rstrip("/").partition("://")
        host, slash, below = rest.partition("/")
        steps, below = path.split("/"), slash + below
        for first in ("/".join(steps[:3]), "/".join(steps[:2])):
            below = below.removesuffix(first)
        return f"{scheme}://{host}{below}{path}"

    def url_beside(self, known_path: str, path: str) -> str:
        """The URL of a path of the same server as a call's, whatever first steps of the call the base URL ends with."""
        return self.url(known_path).removesuffix(known_path) + path

    def owns(self, url: str) -> bool:
        """Whether a URL is of the gateway's own origin. The key is sent nowhere else."""
        origin = _origin(url)
        return origin is not None and origin == _origin(self.base_url)

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


def _origin(url: str) -> tuple[str, str | None, int | None] | None:
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        return None
    # URL parsers disagree on the host where one of these is in it.
    return None if {"@", "\\"} & set(parts.netloc) else (parts.scheme, parts.hostname, port)
