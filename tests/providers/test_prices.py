from __future__ import annotations

import tomllib
from datetime import date
from decimal import Decimal

import pytest
from canonical_requests import CASES, IMAGE, MOTION, MOTION_26, TEXT, TEXT_26

from rushes.shared.providers import PROVIDERS
from rushes.shared.providers.prices import BUILT_IN, CONFIDENCES, PriceTable

BUILT_IN_TABLE = PriceTable.load(None)
V26_VOICE = {"mode": "pro", "sound": True, "voice_ids": ["v1"]}


def estimate(gateway, request, seconds=None, table=BUILT_IN_TABLE):
    return table.estimate(PROVIDERS[gateway], request, None if seconds is None else Decimal(seconds))


def laid_over(text):
    return PriceTable.load(f'version = "acme-1"\n{text}')


def entry(*lines):
    return "\n".join(["[[price]]", *lines, ""])


NEWAPI = ('gateway = "newapi"', 'model = "kling-v3"')


@pytest.mark.parametrize(
    ("gateway", "request_", "per_second"),
    [
        ("apimaster", MOTION, "0.10288"),
        ("apimaster", {**MOTION, "mode": "pro"}, "0.13712"),
        ("apimart", MOTION, "0.10288"),
        ("apimart", {**MOTION, "mode": "pro"}, "0.13712"),
        ("apimart", MOTION_26, "0.05712"),
        ("apimart", {**MOTION_26, "mode": "pro"}, "0.09144"),
        ("apimart", TEXT, "0.0672"),
        ("apimart", {**TEXT, "sound": True}, "0.1008"),
        ("apimart", {**IMAGE, "mode": "pro"}, "0.0896"),
        ("apimart", TEXT_26, "0.0368"),
        ("apimart", {**TEXT_26, "mode": "pro"}, "0.0625"),
        ("apimart", {**TEXT_26, "mode": "pro", "sound": True}, "0.125"),
        ("apimart", {**TEXT_26, **V26_VOICE}, "0.15"),
        ("evolink", TEXT, "0.075"),
        ("evolink", {**TEXT, "sound": True}, "0.113"),
        ("evolink", {**IMAGE, "mode": "pro"}, "0.100"),
        ("evolink", {**IMAGE, "mode": "pro", "sound": True}, "0.150"),
        ("evolink", MOTION, "0.1134"),
        ("evolink", {**MOTION, "mode": "pro"}, "0.1512"),
        ("apimodels", MOTION, "0.12"),
        ("apimodels", {**MOTION, "mode": "pro"}, "0.15"),
        ("apimodels", MOTION_26, "0.06"),
        ("apimodels", {**MOTION_26, "mode": "pro"}, "0.10"),
        ("apimodels", TEXT, "0.0633"),
        ("apimodels", {**TEXT, "sound": True}, "0.0956"),
        ("apimodels", {**TEXT, "mode": "pro"}, "0.0853"),
        ("apimodels", {**TEXT, "mode": "pro", "sound": True}, "0.1280"),
        ("apimodels", IMAGE, "0.0633"),
    ],
)
def test_a_price_per_second_is_the_documented_one(gateway, request_, per_second):
    assert estimate(gateway, request_, 8) == Decimal(per_second) * 8


@pytest.mark.parametrize(
    ("changes", "usd_5_s", "usd_10_s"),
    [
        ({}, "0.0159", "0.0320"),
        ({"mode": "pro"}, "0.0267", "0.0531"),
        ({"mode": "pro", "sound": True}, "0.0531", "0.1064"),
        (V26_VOICE, "0.0639", "0.1275"),
    ],
)
def test_a_clip_of_kling_2_6_has_a_fixed_price(changes, usd_5_s, usd_10_s):
    for duration, usd in ((5, usd_5_s), (10, usd_10_s)):
        request = {**TEXT_26, **changes, "duration": duration}
        assert estimate("apimodels", request) == Decimal(usd)
        assert estimate("apimodels", request, "4.9") == Decimal(usd)


def test_the_example_of_the_document_comes_out():
    assert estimate("apimaster", MOTION, 8) == Decimal("0.82304")


def test_seconds_count_as_the_gateway_bills_them():
    assert estimate("evolink", MOTION, "8.2") == Decimal("0.1134") * 9
    assert estimate("apimaster", MOTION, "8.2") == Decimal("0.10288") * Decimal("8.2")


def test_a_clip_from_text_is_as_long_as_asked_for_until_it_is_made():
    assert estimate("apimodels", {**TEXT, "duration": 12}) == Decimal("0.0633") * 12
    assert estimate("apimodels", {**TEXT, "duration": 12}, "11.9") == Decimal("0.0633") * Decimal("11.9")


def test_a_motion_clip_that_was_not_measured_has_no_estimate():
    assert estimate("evolink", MOTION) is None


@pytest.mark.parametrize(
    ("gateway", "request_"),
    [
        ("newapi", TEXT),
        ("newapi", IMAGE),
        ("apimart", {**TEXT, "mode": "4k"}),
        ("apimart", {**TEXT, "mode": "pro", "sound": True}),
    ],
)
def test_a_price_that_nobody_documents_is_unknown_and_not_zero(gateway, request_):
    assert PROVIDERS[gateway].why_not(request_) is None
    assert estimate(gateway, request_, 8) is None


def test_every_built_in_price_says_where_it_is_from():
    entries = tomllib.loads(BUILT_IN.read_text("utf-8"))["price"]
    assert entries
    for entry in entries:
        assert entry["source"]
        assert date(2026, 11, 1) <= entry["checked"] <= date(2026, 11, 30)
        assert entry["confidence"] in CONFIDENCES


def test_a_price_tells_its_origin():
    price = BUILT_IN_TABLE.price(PROVIDERS["apimart"], TEXT)
    assert (price.checked, price.confidence, price.note) == (date(2026, 11, 30), "third_party", None)
    assert "price page" in price.source
    doubtful = BUILT_IN_TABLE.price(PROVIDERS["apimodels"], TEXT)
    assert (doubtful.confidence, doubtful.note[:8]) == ("documented", "in doubt")


@pytest.mark.parametrize("checked", ["checked = 2026-12-01", 'checked = "2026-12-01"'])
def test_a_laid_over_price_may_tell_its_origin_or_not(checked):
    origin = (checked, 'source = "our bill"', 'confidence = "inferred"', 'note = "one bill"')
    told, untold = (
        laid_over(entry(*NEWAPI, 'usd_per_second = "0.1"', *more)).price(PROVIDERS["newapi"], TEXT)
        for more in (origin, ())
    )
    assert (told.source, told.checked, told.confidence, told.note) == (
        *("our bill", date(2026, 12, 1)),
        *("inferred", "one bill"),
    )
    assert (untold.source, untold.checked, untold.confidence, untold.note) == (None, None, None, None)


def test_a_price_of_4k_may_be_laid_over():
    model = ('gateway = "apimart"', 'model = "kling-v3"', 'mode = "4k"')
    assert estimate("apimart", {**TEXT, "mode": "4k"}, table=laid_over(entry(*model, 'usd_per_second = "0.4"'))) == 2


def test_what_a_gateway_does_not_offer_has_no_price():
    assert estimate("apimaster", TEXT) is None
    assert estimate("apimodels", {**TEXT_26, "sound": True}) is None


def test_every_gateway_with_prices_has_one_for_each_request_it_can_do():
    for gateway in ("apimaster", "apimodels", "evolink"):
        for case, request in CASES.items():
            if "4k" not in case and PROVIDERS[gateway].why_not(request) is None:
                assert estimate(gateway, request, 8), (gateway, case)


# --- laying another table over it


def test_the_version_names_both_tables():
    assert BUILT_IN_TABLE.version == "2026-11-30"
    assert laid_over("").version == "acme-1 over 2026-11-30"


def test_a_laid_over_price_makes_an_unknown_one_known_and_leaves_the_others():
    table = laid_over(entry(*NEWAPI, 'usd_per_second = "0.05"'))
    assert estimate("newapi", {**TEXT, "duration": 6}, table=table) == Decimal("0.30")
    assert estimate("apimaster", MOTION, 8, table) == Decimal("0.82304")


def test_a_laid_over_price_wins_over_a_more_exact_built_in_one():
    table = laid_over(entry('gateway = "apimodels"', 'model = "kling-v3"', 'usd_per_second = "0.01"'))
    assert estimate("apimodels", {**TEXT, "sound": True}, table=table) == Decimal("0.05")


def test_the_most_exact_of_the_laid_over_prices_wins_whatever_their_order():
    entries = [
        entry(*NEWAPI, 'mode = "pro"', "sound = true", 'usd_per_second = "0.3"'),
        entry(*NEWAPI, 'usd_per_second = "0.1"'),
        entry(*NEWAPI, 'mode = "pro"', 'usd_per_second = "0.2"'),
        entry(*NEWAPI, "duration = 10", 'mode = "pro"', "sound = true", 'usd_per_clip = "7"'),
    ]
    for text in ("".join(entries), "".join(reversed(entries))):
        table = laid_over(text)
        pro = {**TEXT, "mode": "pro"}
        said = [TEXT, {**TEXT, "sound": True}, pro, {**pro, "sound": True}, {**pro, "sound": True, "duration": 10}]
        prices = [estimate("newapi", request, table=table) for request in said]
        assert prices == [Decimal(usd) for usd in ("0.5", "0.5", "1.0", "1.5", "7")]


def test_the_later_of_two_equals_wins():
    table = laid_over(entry(*NEWAPI, 'usd_per_second = "0.1"') + entry(*NEWAPI, 'usd_per_second = "0.2"'))
    assert estimate("newapi", TEXT, table=table) == Decimal("1.0")


def test_voices_are_a_condition_too():
    model = ('gateway = "apimodels"', 'model = "kling-v2-6"')
    table = laid_over(entry(*model, 'usd_per_clip = "0.1"') + entry(*model, "voices = true", 'usd_per_clip = "0.2"'))
    assert estimate("apimodels", TEXT_26, table=table) == Decimal("0.1")
    assert estimate("apimodels", {**TEXT_26, **V26_VOICE}, table=table) == Decimal("0.2")


GOOD = entry('gateway = "apimart"', 'model = "kling-v3-motion-control"', 'usd_per_second = "0.1"')
AT_SECOND = "prices: entry 2 (newapi kling-v3): "


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (GOOD + entry(*NEWAPI, "usd_per_second = 0.1"), AT_SECOND + "usd_per_second: 0.1 is not USD, as in"),
        (GOOD + entry(*NEWAPI, 'usd_per_second = "-1"'), AT_SECOND + "usd_per_second: '-1' is not"),
        (GOOD + entry(*NEWAPI, 'usd_per_clip = "NaN"'), AT_SECOND + "usd_per_clip: 'NaN' is not"),
        (GOOD + entry(*NEWAPI, 'usd_per_clip = "1e9"'), AT_SECOND + "usd_per_clip: '1e9' is not"),
        (GOOD + entry(*NEWAPI), AT_SECOND + "usd_per_second, usd_per_clip: give one"),
        (
            GOOD + entry(*NEWAPI, 'usd_per_clip = "1"', 'usd_per_second = "1"'),
            AT_SECOND + "usd_per_second, usd_per_clip",
        ),
        (GOOD + entry(*NEWAPI, 'mode = "8k"', 'usd_per_clip = "1"'), AT_SECOND + "mode: '8k' is not std, pro or 4k"),
        (GOOD + entry(*NEWAPI, 'checked = "soon"', 'usd_per_clip = "1"'), AT_SECOND + "checked: 'soon' is not a day"),
        (GOOD + entry(*NEWAPI, "checked = 2026", 'usd_per_clip = "1"'), AT_SECOND + "checked: 2026 is not a day"),
        (GOOD + entry(*NEWAPI, "checked = 2026-11-30T10:00:00", 'usd_per_clip = "1"'), AT_SECOND + "checked: datetime"),
        (GOOD + entry(*NEWAPI, 'source = " "', 'usd_per_clip = "1"'), AT_SECOND + "source: ' ' is not a text"),
        (GOOD + entry(*NEWAPI, "note = 1", 'usd_per_clip = "1"'), AT_SECOND + "note: 1 is not a text"),
        (
            GOOD + entry(*NEWAPI, 'confidence = "sure"', 'usd_per_clip = "1"'),
            AT_SECOND + "confidence: 'sure' is not one of documented, third_party, inferred",
        ),
        (GOOD + entry(*NEWAPI, 'sound = "on"', 'usd_per_clip = "1"'), AT_SECOND + "sound: 'on' is not true or false"),
        (GOOD + entry(*NEWAPI, "voices = 1", 'usd_per_clip = "1"'), AT_SECOND + "voices: 1 is not true or false"),
        (GOOD + entry(*NEWAPI, 'duration = "5"', 'usd_per_clip = "1"'), AT_SECOND + "duration: '5' is not"),
        (GOOD + entry(*NEWAPI, "duration = true", 'usd_per_clip = "1"'), AT_SECOND + "duration: True is not"),
        (GOOD + entry(*NEWAPI, 'usd = "1"'), AT_SECOND + "usd: no field of a price"),
        (entry('model = "kling-v3"', 'usd_per_clip = "1"'), "prices: entry 1 (kling-v3): gateway: missing"),
        (entry('gateway = "newapi"', 'usd_per_clip = "1"'), "prices: entry 1 (newapi): model: missing"),
        (entry('gateway = "nwapi"'), "prices: entry 1 (nwapi): gateway: 'nwapi' is not one of apimart, "),
        (entry('gateway = "newapi"', "model = 3"), "prices: entry 1 (newapi 3): model: 3 is not a model's name"),
        (
            entry('gateway = "newapi"', 'model = "kling-v3-std-silent"', 'usd_per_clip = "1"'),
            "prices: entry 1 (newapi kling-v3-std-silent): model: newapi does not offer 'kling-v3-std-silent'",
        ),
        ("price = [3]", "prices: entry 1: not a table"),
        ("price = 3", "prices: price: not a field"),
        ("prices = []", "prices: prices: not a field"),
        ("version = 3", "prices: version: not a text"),
        ("[[price", "prices: not TOML: "),
    ],
)
def test_a_malformed_table_is_refused_in_one_line_that_names_entry_and_field(text, complaint):
    with pytest.raises(ValueError, match=r"^prices: ") as refused:
        PriceTable.load(text)
    assert str(refused.value).startswith(complaint)
    assert "\n" not in str(refused.value)


def test_the_built_in_table_may_be_laid_over_itself():
    table = PriceTable.load(BUILT_IN.read_text(encoding="utf-8"))
    assert estimate("apimaster", MOTION, 8, table) == Decimal("0.82304")
