"""Who is asking: bearer keys, compared in constant time; the name of the key is the tenant."""

from __future__ import annotations

import time
from dataclasses import dataclass

from flask import current_app, request
from werkzeug.exceptions import Forbidden, TooManyRequests, Unauthorized

from rushes.shared import credentials
from rushes.shared.services import Services
from rushes.shared.settings import ADMIN
from rushes.webhook_receiver.rate_limits import Rates


@dataclass(frozen=True, slots=True)
class Caller:
    """The service behind a key."""

    tenant: str

    @property
    def is_admin(self) -> bool:
        return self.tenant == ADMIN

    @property
    def scope(self) -> str | None:
        """The tenant whose jobs it may see; None for all."""
        return None if self.is_admin else self.tenant


def services() -> Services:
    """The parts of this app."""
    held: Services = current_app.extensions["rushes"]
    return held


def rates() -> Rates:
    """How often each tenant has asked this process."""
    held: Rates = current_app.extensions["rates"]
    return held


def caller() -> Caller:
    """Who sent this request; raises 401, or 429 where they ask too often."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    tenant = credentials.tenant_of(services().settings.api_keys, key.strip()) if scheme.lower() == "bearer" else None
    if tenant is None:
        raise Unauthorized("Give a key of this service as a bearer token.")
    wait_s = rates().wait_s(tenant, time.monotonic_ns())
    if wait_s:
        raise TooManyRequests("This key asks too often.", retry_after=wait_s)
    return Caller(tenant)


def admin() -> Caller:
    """The administrator; raises 401 or 403."""
    asking = caller()
    if not asking.is_admin:
        raise Forbidden("Only the admin key may do this.")
    return asking
