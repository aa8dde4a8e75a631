"""The file of RUSHES_TENANTS_FILE: what it may say, and that a mistake in it is named."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from rushes.shared.tenants import Tenant, Tenants

WHOLE = """
[tenant.acme]
share = 2.5
daily_budget_usd = "50.00"
monthly_budget_usd = 900
gateways = ["evolink", "kling"]
max_in_flight = 10
alert_urls = ["https://hooks.example.com/acme"]

[tenant."small.one"]
share = "0.5"
"""


def load(tmp_path: Path, text: str) -> Tenants:
    path = tmp_path / "tenants.toml"
    path.write_text(text)
    return Tenants.load(str(path), Decimal(7))


def test_each_field_of_a_tenant_is_read(tmp_path: Path) -> None:
    tenants = load(tmp_path, WHOLE)
    assert tenants["acme"] == Tenant(
        share=Decimal("2.5"),
        daily_budget_usd=Decimal("50.00"),
        monthly_budget_usd=Decimal(900),
        gateways=frozenset({"evolink", "kling"}),
        max_in_flight=10,
        alert_urls=("https://hooks.example.com/acme",),
    )
    assert tenants.alert_urls("acme") == ("https://hooks.example.com/acme",)


def test_what_is_not_said_is_the_default(tmp_path: Path) -> None:
    tenants = load(tmp_path, WHOLE)
    assert tenants["small.one"] == Tenant(share=Decimal("0.5"), daily_budget_usd=Decimal(7))
    assert tenants["another"] == Tenant(daily_budget_usd=Decimal(7))
    assert Tenants.load(None, None)["acme"] == Tenant()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[tenant.acme]\nshares = 2", "tenant.acme.shares: no field of a tenant"),
        ("[tenant.acme]\nshare = 0", "tenant.acme.share: "),
        ("[tenant.acme]\nshare = nan", "tenant.acme.share: "),
        ("[tenant.acme]\nshare = true", "tenant.acme.share: "),
        ('[tenant.acme]\ndaily_budget_usd = "-1"', "tenant.acme.daily_budget_usd: "),
        ('[tenant.acme]\nmonthly_budget_usd = "much"', "tenant.acme.monthly_budget_usd: "),
        ('[tenant.acme]\ngateways = ["runway"]', "tenant.acme.gateways: "),
        ("[tenant.acme]\ngateways = []", "tenant.acme.gateways: "),
        ("[tenant.acme]\nmax_in_flight = 0", "tenant.acme.max_in_flight: "),
        ('[tenant.acme]\nalert_urls = ["ftp://a"]', "tenant.acme.alert_urls: "),
        ('[tenant."a b"]\nshare = 1', "tenant.'a b': "),
        ("tenant = 5", "tenant: "),
        ("[tenants.acme]", "tenants: no field of this file"),
        ("[tenant.acme", "not TOML"),
    ],
)
def test_a_mistake_is_named_by_its_place(tmp_path: Path, text: str, place: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        load(tmp_path, text)
    assert str(refused.value).startswith(place)
    assert "\n" not in str(refused.value)
