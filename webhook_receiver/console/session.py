"""Who looks: signed in with an API key, kept in a signed cookie for a working day."""

from __future__ import annotations

import hmac
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from hashlib import sha256
from urllib.parse import quote

from flask import Flask, Request, Response, abort, redirect, request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from werkzeug.exceptions import Forbidden, TooManyRequests, Unauthorized

from rushes.shared import credentials
from rushes.webhook_receiver.auth import Caller, rates, services
from rushes.webhook_receiver.console.error_pages import for_script

LIFE_S = 12 * 3600
# A form of the console; a page that takes files says more for itself (Request.max_content_length).
FORM_BYTES = 256 << 10
STALL_S = 10.0
WRONG_KEYS_A_MINUTE = 10
READS = frozenset({"GET", "HEAD", "OPTIONS"})


class Cookies(SecureCookieSessionInterface):
    """Flask's signed cookie, which leaves over TLS only wherever the console is reached by it.

    Flask makes a signer for every request and asks about every answer; callers of the API and gateways bring no cookie.
    """

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        return super().open_session(app, request) if "HTTP_COOKIE" in request.environ else self.session_class()

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if session.accessed or session.modified:
            super().save_session(app, session, response)

    def get_cookie_secure(self, app: Flask) -> bool:
        public_url = services().settings.public_url or ""
        return request.is_secure or public_url.startswith("https://")


class Knocks:
    """Wrong keys of this minute, by address, counted in this process alone."""

    def __init__(self) -> None:
        self._minute, self._counts = 0, Counter[str]()

    def wrong(self, address: str) -> None:
        self._counts[address] += 1

    def too_many(self, address: str, now_s: float) -> bool:
        minute = int(now_s // 60)
        if minute != self._minute:
            self._minute, self._counts = minute, Counter()
        return self._counts[address] >= WRONG_KEYS_A_MINUTE


def prepare(app: Flask, secret_keys: Sequence[str]) -> None:
    """Give the app its sessions, signed with keys of their own that follow the rotation of RUSHES_SECRET_KEY."""
    newest, *older = (_derived(key) for key in secret_keys)
    app.session_interface = Cookies()
    app.config.update(
        SECRET_KEY=newest,
        SECRET_KEY_FALLBACKS=older,
        SESSION_COOKIE_NAME="rushes_console",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=timedelta(seconds=LIFE_S),
    )
    app.extensions["knocks"] = Knocks()


def visitor() -> Caller:
    """Who is signed in; sends everybody else to sign in first, and raises 429 where a tenant looks too often."""
    tenant = signed_in()
    if tenant is None:
        _turn_away()
    wait_s = rates().wait_s(f"{tenant} in the console", time.monotonic_ns())
    if wait_s:
        raise TooManyRequests("This key asks too often.", retry_after=wait_s)
    return Caller(str(tenant))


def signed_in() -> str | None:
    """The tenant of the session; None where there is none, it is over, or its key is no longer one."""
    tenant, mark = session.get("tenant"), str(session.get("key", ""))
    fresh = time.time() - float(session.get("at", 0)) < LIFE_S
    right = [hmac.compare_digest(one, mark) for one in _marks(str(tenant))]
    return str(tenant) if tenant and fresh and any(right) else None


def sign_in(key: str) -> str | None:
    """Begin a session and answer its tenant, or None for a key that is none; the key itself is kept nowhere."""
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
    """What every form of this visitor has to bring along."""
    token: str = session.setdefault("csrf", secrets.token_urlsafe(32))
    return token


def checked_form() -> None:
    """Refuse what would change something and does not come from a page of ours; raises 403."""
    if request.method in READS:
        return
    connection = request.environ.get("gunicorn.socket")
    if connection is not None:  # a caller who is gone holds no thread
        connection.settimeout(STALL_S)
    given = request.headers.get("X-CSRF-Token") or _form_token()
    held = str(session.get("csrf", ""))
    if not held or not hmac.compare_digest(held.encode(), given.encode("utf-8", "surrogatepass")):
        raise Forbidden("This page is too old to be sent. Load it again and repeat what you did.")


def _form_token() -> str:
    request.max_content_length = request.max_content_length or FORM_BYTES
    return request.form.get("csrf_token", "")


def _turn_away() -> None:
    if request.method not in READS or for_script():
        raise Unauthorized("You are signed out. Sign in again in another tab, then repeat what you did.")
    here = request.full_path.rstrip("?")
    abort(redirect(f"/sign-in?next={quote(here)}" if here != "/" else "/sign-in"))


def _marks(tenant: str) -> Iterator[str]:
    """What the session of a key of this tenant may hold, under every secret that is still in use."""
    held = services().settings
    for name, key in held.api_keys:
        if name == tenant:
            for secret in held.secret_keys:
                yield _mark(secret, tenant, key if key.startswith(credentials.HASHED) else _hashed(key))


def _mark(secret: str, tenant: str, hashed: str) -> str:
    """A sign of an API key from which nobody gets the key."""
    return hmac.new(secret.encode(), f"console key\n{tenant}\n{hashed}".encode(), sha256).hexdigest()


def _hashed(key: str) -> str:
    return credentials.HASHED + sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _derived(secret: str) -> bytes:
    return hmac.new(secret.encode(), b"console session", sha256).digest()
