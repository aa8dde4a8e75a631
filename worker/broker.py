"""Where Celery's messages go."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import urlsplit

from kombu import Connection  # type: ignore[attr-defined]

from shared.settings import Settings, SettingsError


def options(settings: Settings) -> dict[str, Any]:
    """Where Celery's messages go; the ledger's form of a Sentinel address is turned into Celery's."""
    url, transport = settings.broker_url, dict[str, Any](TRANSPORT)
    parts = urlsplit(url)
    if parts.scheme == "sentinel":
        service, _, db = parts.path.strip("/").partition("/")
        transport["master_name"] = service or "mymaster"
        credentials, _, hosts = parts.netloc.rpartition("@")
        login = f"{credentials}@" if credentials else ""
        url = ";".join(f"sentinel://{login}{host}/{db or 0}" for host in hosts.split(","))
    if not parts.scheme.startswith(("redis", "sentinel", "unix")):
        transport = {}
    if parts.scheme == "rediss" and "ssl_cert_reqs" not in parts.query:
        url += ("&" if parts.query else "?") + "ssl_cert_reqs=required"
    # Only `rushes.enqueue` has a result: its caller reads it where its own Celery looks.
    backend = url if parts.scheme in ("redis", "rediss", "unix") else "rpc://"
    return {"broker_url": url, "broker_transport_options": transport, "result_backend": backend}


# Timeouts measured 2026-11: with the defaults a publish to a frozen broker still blocked after 100 s.
TRANSPORT = {
    "visibility_timeout": 3600,
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 25,
}


def check(settings: Settings) -> None:
    """Raise SettingsError where the broker's driver is not installed."""
    told = options(settings)
    try:
        cast(Any, Connection)(told["broker_url"], transport_options=told["broker_transport_options"]).transport  # noqa: B018
    except ImportError as error:
        raise SettingsError(f"settings: RUSHES_BROKER_URL: {error}") from None
