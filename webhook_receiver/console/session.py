"""Sessions of the console: signed in with an API key, held in a signed cookie for twelve hours."""

from __future__ import annotations

import hmac
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from hashlib import sha256
from urllib.parse import quote, unquote

import structlog
from flask import Flask, Request, Response, abort, redirect, request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from werkzeug.exceptions import Forbidden, TooManyRequests, Unauthorized

from rushes.shared import credentials
from rushes.shared.trusted_proxies import client_network
from rushes.webhook_receiver.auth import Caller, rate_limits, services
from rushes.webhook_receiver.console.error_pages import is_from_script

log = structlog.get_logger()

LIFE_S = 12 * 3600
# The largest form of the console; a page that takes more sets Request.max_content_length itself.
FORM_BYTES = 256 << 10
STALL_S = 10.0
WRONG_KEYS_A_MINUTE = 10
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class SessionCookies(SecureCookieSessionInterface):
    """The signed cookie of Flask, sent over TLS only where the console is reached over TLS.

    Flask opens and saves a session for every request; this saves the work where no cookie came, as from gateways and
    callers of the API.
    """

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        return super().open_session(app, request) if "HTTP_COOKIE" in request.environ else self.session_class()

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if session.accessed or session.modified:
            super().save_session(app, session, response)

    def get_cookie_secure(self, app: Flask) -> bool:
        public_url = services().settings.public_url or ""
        return request.is_secure or public_url.startswith("https://")


class WrongKeyLimit:
    """Counts wrong keys of this minute by the client's address, in this process alone."""

    def __init__(self) -> None:
        self._minute, self._counts = 0, Counter[str]()

    def is_exceeded(self, address: str, now_s: float) -> bool:
        """Count a wrong key; True if it is one too many."""
        minute = int(now_s // 60)
        if minute != self._minute:
            self._minute, self._counts = minute, Counter()
        client = client_network(address)
        self._counts[client] += 1
        if self._counts[client] == WRONG_KEYS_A_MINUTE + 1:  # once a minute
            log.warning("many wrong keys at the console", client=client)
        return self._counts[client] > WRONG_KEYS_A_MINUTE


def set_up(app: Flask, secret_keys: Sequence[str], path_prefix: str = "") -> None:
    """Give the app its sessions. Their signing keys are derived from RUSHES_SECRET_KEY and follow its rotation."""
    newest, *older = (_derived(key) for key in secret_keys)
    app.session_interface = SessionCookies()
    app.config.update(
        SECRET_KEY=newest,
        SECRET_KEY_FALLBACKS=older,
        SESSION_COOKIE_NAME="rushes_console",
        SESSION_COOKIE_PATH=unquote(path_prefix) or "/",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=timedelta(seconds=LIFE_S),
    )
    app.extensions["wrong_keys"] = WrongKeyLimit()


def require_sign_in() -> Caller:
    """Return who is signed in; redirects everybody else to the sign-in page, and raises 429 past the rate limit."""
    tenant = signed_in()
    if tenant is None:
        _redirect_to_sign_in()
    wait_s = rate_limits().wait_s(f"{tenant} in the console", time.monotonic_ns())
    if wait_s:
        raise TooManyRequests("This key asks too often.", retry_after=wait_s)
    return Caller(str(tenant))


def signed_in() -> str | None:
    """The tenant of the session; None without a session, after its end, or where its key was removed."""
    tenant, mark = session.get("tenant"), str(session.get("key", ""))
    is_fresh = time.time() - float(session.get("at", 0)) < LIFE_S
    matches = [hmac.compare_digest(valid, mark) for valid in _marks(str(tenant))]
    return str(tenant) if tenant and is_fresh and any(matches) else None


def sign_in(key: str) -> str | None:
    """Begin a session and return its tenant, or None for a wrong key; the key itself is stored nowhere."""
    tenant = credentials.tenant_of(services().settings.api_keys, key)
    if tenant is None:
        return None
    session.clear()
    session.permanent = True
    session.update(tenant=tenant, key=_mark(services().settings.secret_keys[0], tenant, _hashed(key)), at=time.time())
    return tenant


def sign_out() -> None:
    session.clear()


def csrf_token() -> str:
    """The token that every form of this visitor must send."""
    token: str = session.setdefault("csrf", secrets.token_urlsafe(32))
    return token


def check_csrf_token() -> None:
    """Refuse a change that does not come from a page of the console; raises 403."""
    if request.method in SAFE_METHODS:
        return
    connection = request.environ.get("gunicorn.socket")
    if connection is not None:  # a client that is gone must not hold a thread
        connection.settimeout(STALL_S)
    token = request.headers.get("X-CSRF-Token") or _form_token()
    expected = str(session.get("csrf", ""))
    if not expected or not hmac.compare_digest(expected.encode(), token.encode("utf-8", "surrogatepass")):
        raise Forbidden("This page is too old to be sent. Load it again and repeat what you did.")


def _form_token() -> str:
    request.max_content_length = request.max_content_length or FORM_BYTES
    return request.form.get("csrf_token", "")


def _redirect_to_sign_in() -> None:
    if request.method not in SAFE_METHODS or is_from_script():
        raise Unauthorized("You are signed out. Sign in again in another tab, then repeat what you did.")
    path = request.full_path.rstrip("?")
    sign_in_page = f"{request.script_root}/sign-in"
    abort(redirect(f"{sign_in_page}?next={quote(path)}" if path != "/" else sign_in_page))


def _marks(tenant: str) -> Iterator[str]:
    """The valid marks of this tenant: of each of its keys, under each secret in use."""
    settings = services().settings
    for name, key in settings.api_keys:
        if name == tenant:
            for secret in settings.secret_keys:
                yield _mark(secret, tenant, key if key.startswith(credentials.HASHED) else _hashed(key))


def _mark(secret: str, tenant: str, hashed: str) -> str:
    """A digest of an API key, from which the key cannot be found."""
    return hmac.new(secret.encode(), f"console key\n{tenant}\n{hashed}".encode(), sha256).hexdigest()


def _hashed(key: str) -> str:
    return credentials.HASHED + sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _derived(secret: str) -> bytes:
    return hmac.new(secret.encode(), b"console session", sha256).digest()
