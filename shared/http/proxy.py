"""The operator's proxy. All calls go through it if it is set; proxy variables of the environment are ignored."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Proxy:
    """An http or https proxy that takes CONNECT."""

    url: str
    """Without user and password."""
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, value: str) -> Proxy:
        """Parse `http://host:port` or `https://user:password@host:port`.

        Raises ValueError, whose text never repeats the value: it may hold a password.
        """
        try:
            parts = urlsplit(value)
            host, port, user, password = parts.hostname, parts.port, parts.username, parts.password
        except ValueError:
            raise ValueError("not an address") from None
        if parts.scheme not in ("http", "https") or not host or not port:
            raise ValueError("give http://host:port or https://user:password@host:port")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError("give no path; in a user or password write / ? # @ and : percent-encoded")
        url_host = f"[{host}]" if ":" in host else host
        return cls(
            f"{parts.scheme}://{url_host}:{port}", *(unquote(part) if part else None for part in (user, password))
        )
