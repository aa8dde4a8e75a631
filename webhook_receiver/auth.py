"""Bearer keys, compared in constant time; the name of a key is its tenant."""

from __future__ import annotations

import time
from dataclasses import dataclass

from flask import current_app, request
from werkzeug.exceptions import Forbidden, TooManyRequests, Unauthorized

from rushes.shared import credentials
from rushes.shared.services import Services
from rushes.shared.settings import ADMIN
from rushes.webhook_receiver.rate_limits import RateLimits


@dataclass(frozen=True, slots=True)
class Caller:
    """The service behind a key."""

    tenant: str

    @property
    def is_admin(self) -> bool:
        return self.tenant == ADMIN

    @property
    def scope(self) -> str | None:
        """The tenant whose jobs the caller may see; None for all."""
        return None if self.is_admin else self.tenant


def services() -> Services:
    """The parts of this app."""
    parts: Services = current_app.extensions["rushes"]
    return parts


def rate_limits() -> RateLimits:
    """The rate limits of this process."""
    limits: RateLimits = current_app.extensions["rate_limits"]
    return limits


def authenticate() -> Caller:
    """Return who sent this request; raises 401, or 429 where the key asks too often."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    tenant = credentials.tenant_of(services().settings.api_keys, key.strip()) if scheme.lower() == "bearer" else None
    if tenant is None:
        raise Unauthorized("Give a key of this service as a bearer token.")
    wait_s = rate_limits().wait_s(tenant, time.monotonic_ns())
    if wait_s:
        raise TooManyRequests("This key asks too often.", retry_after=wait_s)
    return Caller(tenant)


def authenticate_admin() -> Caller:
    """Return the administrator; raises 401, 403 or 429."""
    caller = authenticate()
    if not caller.is_admin:
        raise Forbidden("Only the admin key may do this.")
    return caller
