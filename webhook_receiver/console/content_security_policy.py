"""The Content-Security-Policy of the console: a page loads only its own files and the media that it shows."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from flask import Response, g

# Addresses come from callers: nothing but a host of this form gets into the header.
HOST = re.compile(r"[A-Za-z0-9.-]{1,253}|\[[0-9a-fA-F:.]{2,45}\]")


def allow_media(url: str | None) -> str | None:
    """Let this page load media from the origin of `url`; returns the url, or None where a page cannot load it."""
    origin = origin_of(url or "")
    if origin is None:
        return None
    origins: set[str] = g.setdefault("csp_media_origins", set())
    origins.add(origin)
    return url


def origin_of(url: str) -> str | None:
    """Scheme, host and port of an http(s) address; None for any other address."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or ""
    return f"{parts.scheme}://{host}{port}" if parts.scheme in ("https", "http") and HOST.fullmatch(host) else None


def add_headers(response: Response) -> Response:
    """Add the policy to a response."""
    media = " ".join(sorted(g.get("csp_media_origins", ())))
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        f"img-src 'self' data: blob: {media}; media-src 'self' data: blob: {media}; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ).replace(" ;", ";")
    response.headers["X-Frame-Options"] = "DENY"
    return response
