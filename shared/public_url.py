"""The path in RUSHES_PUBLIC_URL, under which a reverse proxy serves Rushes."""

from __future__ import annotations

from urllib.parse import urlsplit

# The first part of each path of the receiver. A proxy may pass a prefix on or strip it. Were it one of these, a
# path could be read in both ways.
RECEIVER_PATHS = frozenset(
    [
        *("v1", "callbacks", "healthz", "readyz", "metrics", "docs", "openapi.json", "assets"),
        *("jobs", "batches", "bulk", "new", "gateways", "spend", "alerts", "quarantine"),
        *("sign-in", "sign-out", "console"),
    ]
)


def check_path(url: str) -> None:
    """Raise ValueError if the path of the address begins as paths of the receiver do."""
    first = urlsplit(url).path.strip("/").partition("/")[0]
    if first in RECEIVER_PATHS:
        raise ValueError(f"its path begins with /{first}, as paths of Rushes itself do; choose another, or none")


def path_prefix(url: str | None) -> str:
    """The path of the address without a slash at its end; empty at the root, and without an address."""
    return urlsplit(url or "").path.rstrip("/")
