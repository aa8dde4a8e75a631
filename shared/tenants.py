"""What the file of RUSHES_TENANTS_FILE says of each tenant: its share, its budgets, what it may use, who is told."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rushes.shared.providers import PROVIDERS

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# A share beyond these would leave the other tenants, or this one, with nothing.
MIN_SHARE, MAX_SHARE = Decimal("0.001"), Decimal(1000)
MAX_USD = Decimal(10) ** 9


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant; None where nothing is limited. Money is US dollars."""

    share: Decimal = Decimal(1)
    """Of each gateway for which several tenants wait, against the shares of the others."""
    daily_budget_usd: Decimal | None = None
    """Most that it may reserve and spend in a UTC day."""
    monthly_budget_usd: Decimal | None = None
    """The same of a month of UTC days."""
    gateways: frozenset[str] | None = None
    """The only ones that may have its jobs."""
    max_in_flight: int | None = None
    """Most of its jobs that gateways may have at one time."""
    alert_urls: tuple[str, ...] = ()
    """Where it is told of alerts that concern it."""

    def why_not(self, gateway: str) -> str | None:
        """Why a gateway may not have its jobs; None if it may."""
        return None if self.gateways is None or gateway in self.gateways else "not among the gateways of this tenant"


@dataclass(frozen=True, slots=True)
class Tenants:
    """Every tenant by its name; one that the file does not name has the defaults."""

    by_name: Mapping[str, Tenant]
    default: Tenant = Tenant()

    @classmethod
    def load(cls, path: str | None, daily_budget_usd: Decimal | None) -> Tenants:
        """Read the file; a tenant without a daily budget has this one. Raises ValueError with one line, or OSError."""
        default = Tenant(daily_budget_usd=daily_budget_usd)
        return cls(_read(Path(path).read_bytes().decode(), default) if path else {}, default)

    def __getitem__(self, name: str) -> Tenant:
        return self.by_name.get(name, self.default)

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_name)

    def terms(self) -> dict[str, str]:
        """What the claim has to know of them (tenant_terms.py); who has the defaults is left out."""
        terms = {name: _terms(tenant) for name, tenant in self.by_name.items()}
        return {name: text for name, text in terms.items() if text != _terms(Tenant())}

    def alert_urls(self, name: str) -> tuple[str, ...]:
        """Where a tenant is told of alerts; empty where it is told nowhere."""
        return self[name].alert_urls


def _terms(tenant: Tenant) -> str:
    return f"{round(tenant.share * 1000)}:{tenant.max_in_flight or ''}"


def _read(text: str, default: Tenant) -> dict[str, Tenant]:
    try:
        table = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"not TOML: {error}") from None
    entries = table.pop("tenant", {})
    if table:
        raise ValueError(f"{next(iter(table))}: no field of this file; give [tenant.NAME] tables")
    if not isinstance(entries, Mapping):
        raise ValueError("tenant: give [tenant.NAME] tables")
    return {name: _tenant(name, entry, default) for name, entry in entries.items()}


def _tenant(name: str, entry: Any, default: Tenant) -> Tenant:
    if not NAME.fullmatch(name):
        raise ValueError(f"tenant.{name!r}: a name has 1 to 64 letters, digits, _ . -")
    if not isinstance(entry, Mapping):
        raise ValueError(f"tenant.{name}: not a table")
    values = {field: _value(f"tenant.{name}.{field}", field, value) for field, value in entry.items()}
    return replace(default, **values)


def _value(place: str, field: str, value: Any) -> Any:
    if field not in READERS:
        raise ValueError(f"{place}: no field of a tenant; give {', '.join(READERS)}")
    try:
        return READERS[field](value)
    except ValueError as problem:
        raise ValueError(f"{place}: {problem}") from None


def _share(value: Any) -> Decimal:
    share = _decimal(value)
    if share is None or not MIN_SHARE <= share <= MAX_SHARE:
        raise ValueError(f"{value!r} is not a number from {MIN_SHARE} to {MAX_SHARE}")
    return share


def _dollars(value: Any) -> Decimal:
    usd = _decimal(value)
    if usd is None or not 0 < usd <= MAX_USD:
        raise ValueError(f'{value!r} is not a positive amount, such as "50.00"')
    return usd


def _decimal(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (int, str, Decimal)):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _gateways(value: Any) -> frozenset[str]:
    if (
        not isinstance(value, list)
        or not value
        or not all(isinstance(name, str) and name in PROVIDERS for name in value)
    ):
        raise ValueError(f"{value!r} is not a list of gateways; there are {', '.join(PROVIDERS)}")
    return frozenset(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{value!r} is not a whole number of 1 or more")
    return value


def _addresses(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(url, str) and _is_address(url) for url in value):
        raise ValueError("give a list of addresses that begin with https:// or http://")  # not the value: it is secret
    return tuple(value)


def _is_address(url: str) -> bool:
    try:
        return urlsplit(url).scheme in ("https", "http") and bool(urlsplit(url).hostname) and urlsplit(url).port != 0
    except ValueError:
        return False


READERS: Mapping[str, Callable[[Any], Any]] = {
    "share": _share,
    "daily_budget_usd": _dollars,
    "monthly_budget_usd": _dollars,
    "gateways": _gateways,
    "max_in_flight": _count,
    "alert_urls": _addresses,
}
