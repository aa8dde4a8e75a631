"""What a clip is settled at: by the gateway's own seconds, else by those that were measured, else not at all."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from factories import REQUEST, job_in, result

from rushes.shared.domain.job import State
from rushes.shared.providers.prices import PriceTable
from rushes.worker.archive import settled_cost_usd

MOTION = {"model": "kling-v3-motion-control", "mode": "std"}
REFERENCE = {"video_url": {"duration_s": "7"}}
A_DIME_A_SECOND = 'version = "test"\n' + "".join(
    f'[[price]]\ngateway = "{gateway}"\nmodel = "{model}"\nusd_per_second = "0.1"\n'
    for gateway, model in [("apimodels", "kling-v3"), ("apimaster", MOTION["model"]), ("evolink", MOTION["model"])]
)
A_DIME_A_SECOND += '[[price]]\ngateway = "apimodels"\nmodel = "kling-v2-6"\nusd_per_clip = "0.3"\n'
SERVICES: Any = SimpleNamespace(prices=PriceTable.load(A_DIME_A_SECOND))


def cost(
    provider: str, request: dict[str, Any], inputs: dict[str, Any], made_s: str | None, measured_s: str | None
) -> str | None:
    plan = {"provider": provider, "made_s": Decimal(made_s) if made_s else None}
    clip = job_in(State.ARCHIVING, plan, request=request, inputs=inputs)
    usd = settled_cost_usd(clip, result(duration_s=Decimal(measured_s) if measured_s else None), SERVICES)
    return None if usd is None else f"{usd:.2f}"


@pytest.mark.parametrize(
    ("made_s", "measured_s", "usd"),
    [("10", "5.04", "1.00"), ("5", "10", "0.50"), (None, "5.04", "0.50"), (None, "12", "1.20")],
)
def test_the_seconds_that_the_gateway_tells_go_before_those_that_were_measured(
    made_s: str | None, measured_s: str, usd: str
) -> None:
    assert cost("apimodels", REQUEST, {}, made_s, measured_s) == usd


@pytest.mark.parametrize(("made_s", "measured_s"), [(None, None), ("0", None), (None, "0"), ("0", "0")])
def test_a_clip_of_no_known_length_is_not_settled_and_never_at_nothing(made_s: str, measured_s: str) -> None:
    assert cost("apimodels", REQUEST, {}, made_s, measured_s) is None
    assert cost("evolink", MOTION, REFERENCE, made_s, measured_s) is None
    assert cost("apimodels", {**REQUEST, "model": "kling-v2-6"}, {}, made_s, measured_s) == "0.30"


@pytest.mark.parametrize(("seconds", "usd"), [("0", "0.30"), ("0.0", "0.30"), ("7", "0.70")])
def test_a_reference_of_no_length_is_none(seconds: str, usd: str) -> None:
    assert cost("apimaster", MOTION, {"video_url": {"duration_s": seconds}}, None, "3") == usd


@pytest.mark.parametrize("made_s", ["3", None])
def test_a_gateway_that_bills_the_reference_is_paid_for_that(made_s: str | None) -> None:
    assert cost("apimaster", MOTION, REFERENCE, made_s, "3") == "0.70"


@pytest.mark.parametrize(("made_s", "measured_s", "usd"), [("3", "5.5", "0.30"), (None, "3", "0.30")])
def test_a_gateway_that_bills_what_it_made_is_paid_for_that(made_s: str | None, measured_s: str, usd: str) -> None:
    assert cost("evolink", MOTION, REFERENCE, made_s, measured_s) == usd


def test_without_a_price_nothing_is_made_up() -> None:
    assert cost("newapi", REQUEST, {}, "5", "5") is None
