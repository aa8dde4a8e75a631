"""Checks of the addresses of alerts when a process starts; each call checks them again, with the name looked up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network

from rushes.shared.http import AddressGuard, Forbidden, NotSent
from rushes.shared.tenants import Tenants

URL_CHARS = 2048
# Without the address: it may hold a secret, as Slack's do.
PROBLEM = "give https addresses that are not internal"


def problems(operators: Iterable[str], tenants: Tenants, allow: Sequence[IPv4Network | IPv6Network]) -> dict[str, str]:
    """What is wrong, by the setting."""
    guard, found = AddressGuard(allow), {}
    if not all(_may_be_called(url, guard) for url in operators):
        found["RUSHES_ALERT_URLS"] = f"{PROBLEM}, comma separated"
    for name in tenants:
        if not all(_may_be_called(url, guard) for url in tenants.alert_urls(name)):
            found["RUSHES_TENANTS_FILE"] = f"tenant.{name}.alert_urls: {PROBLEM}"
    return found


def _may_be_called(url: str, guard: AddressGuard) -> bool:
    try:
        guard.check_url(url)
    except (Forbidden, NotSent):
        return False
    return len(url) <= URL_CHARS
