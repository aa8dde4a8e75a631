"""The request as the client sent it: from its own address, by its own scheme, and without the prefix of the site."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

from rushes.shared.trusted_proxies import TrustedProxies

App = Callable[[dict[str, Any], Any], Iterable[bytes]]


class ProxiedRequests:
    """WSGI middleware that undoes what reverse proxies do to a request.

    werkzeug's ProxyFix counts proxies and cannot judge them by address, and it believes the host and prefix too.
    """

    def __init__(self, app: App, proxies: TrustedProxies, path_prefix: str) -> None:
        """`path_prefix` is the path of the public URL, percent-encoded and without a slash at its end."""
        self._app, self._proxies = app, proxies
        self._prefix = unquote_to_bytes(path_prefix).decode("latin-1")  # as WSGI holds paths

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if self._proxies:
            self._restore_client(environ)
        if self._prefix:
            self._move_prefix(environ)
        return self._app(environ, start_response)

    def _restore_client(self, environ: dict[str, Any]) -> None:
        # Several lines of one header arrive here joined by commas, in their order.
        headers = (environ.get(f"HTTP_X_FORWARDED_{name}", "") for name in ("FOR", "PROTO"))
        client = self._proxies.client(environ.get("REMOTE_ADDR", ""), *headers)
        environ["REMOTE_ADDR"] = client.address
        if client.scheme:
            environ["wsgi.url_scheme"] = client.scheme

    def _move_prefix(self, environ: dict[str, Any]) -> None:
        """Move the prefix from the path to SCRIPT_NAME, which every address that is made here begins with.

        A proxy may pass the prefix on or strip it, and a caller inside may never have had it: all three are served.
        """
        path = environ.get("PATH_INFO", "")
        if path == self._prefix or path.startswith(f"{self._prefix}/"):
            environ["PATH_INFO"] = path[len(self._prefix) :] or "/"
        environ["SCRIPT_NAME"] = self._prefix
