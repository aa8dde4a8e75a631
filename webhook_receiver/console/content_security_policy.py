"""What a page of the console may load, and from where: nothing but what it shows."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from flask import Response, g

# Of an address that a caller gave, nothing else gets into the header.
HOST = re.compile(r"[A-Za-z0-9.-]{1,253}|\[[0-9a-fA-F:.]{2,45}\]")


def show_from(url: str | None) -> str | None:
    """Let this page show a picture or a clip from there; answers the address, or None where it is none for a page."""
    origin = origin_of(url or "")
    if origin is None:
        return None
    origins: set[str] = g.setdefault("csp_shows", set())
    origins.add(origin)
    return url


def origin_of(url: str) -> str | None:
    """Scheme, host and port of an http(s) address."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or ""
    return f"{parts.scheme}://{host}{port}" if parts.scheme in ("https", "http") and HOST.fullmatch(host) else None


def tell(answer: Response) -> Response:
    """Put the policy on an answer."""
    shows = " ".join(sorted(g.get("csp_shows", ())))
    answer.headers["Content-Security-Policy"] = (
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        f"img-src 'self' data: blob: {shows}; media-src 'self' data: blob: {shows}; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ).replace(" ;", ";")
    answer.headers["X-Frame-Options"] = "DENY"
    return answer
