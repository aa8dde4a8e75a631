"""Several accounts of a gateway: the settings that name them, and the order in which a submit tries them."""

from __future__ import annotations

from collections import Counter

import pytest
from factories import NOW, SECOND, attempt, job

from rushes.shared import settings
from rushes.shared.domain import accounts, counters
from rushes.shared.domain.accounts import AccountStanding
from rushes.shared.domain.job import AttemptStatus
from rushes.shared.gateway_settings import Account, AccountMissing
from rushes.worker.account_choice import bound_account

LEAST = {
    "REDIS_URL": "redis://localhost",
    "RUSHES_S3_BUCKET": "clips",
    "RUSHES_SECRET_KEY": "s",
    "RUSHES_API_KEYS": "acme:k",
}


def loaded(value: str, **others: str) -> tuple[Account, ...]:
    return settings.load({**LEAST, "EVOLINK_API_KEYS": value, **others}).gateways["evolink"].accounts


def problem(value: str, **others: str) -> str:
    with pytest.raises(settings.SettingsError) as raised:
        loaded(value, **others)
    return str(raised.value)


# --- settings


def test_accounts_are_named_and_one_may_be_on_its_way_out() -> None:
    assert loaded("main:sk-1, old:sk-2:drain") == (Account("main", "sk-1"), Account("old", "sk-2", drain=True))


def test_a_key_may_have_colons_and_only_a_last_drain_is_no_part_of_it() -> None:
    assert loaded("a:x:y,b:drain:z,c:x:drain:drain") == (
        Account("a", "x:y"),
        Account("b", "drain:z"),
        Account("c", "x:drain", drain=True),
    )


def test_a_single_key_is_the_default_account() -> None:
    gateway = settings.load({**LEAST, "EVOLINK_API_KEY": "k"}).gateways["evolink"]
    assert (gateway.accounts, gateway.key_name) == ((Account("default", "k"),), "EVOLINK_API_KEY")


def test_one_key_and_several_exclude_each_other() -> None:
    told = problem("a:k", EVOLINK_API_KEY="k2")
    assert told == "settings: EVOLINK_API_KEYS: give this or EVOLINK_API_KEY, not both"


@pytest.mark.parametrize("value", ["a", "a:", ":k", "a:k,", " , ", "a b:k", "a:k ey", "a::drain", "a:drain", "a/b:k"])
def test_a_malformed_list_is_one_line_that_names_the_setting(value: str) -> None:
    if value == "a:k,":
        assert loaded(value) == (Account("a", "k"),)
    else:
        told = problem(value)
        assert told.startswith("settings: EVOLINK_API_KEYS: ")
        assert "\n" not in told


@pytest.mark.parametrize("value", ["a:secret-1,a:secret-2", "a:secret-1,b:secret-1", "a:secret-1,b:sec ret"])
def test_names_and_keys_are_told_apart_and_no_error_shows_a_key(value: str) -> None:
    assert "sec" not in problem(value).removeprefix("settings: ")


def test_no_account_shows_its_key() -> None:
    assert "sk-1" not in repr(settings.load({**LEAST, "EVOLINK_API_KEYS": "main:sk-1"}))


def test_an_account_that_is_not_named_is_missing() -> None:
    gateway = settings.load({**LEAST, "EVOLINK_API_KEYS": "a:k"}).gateways["evolink"]
    with pytest.raises(AccountMissing, match="account b of evolink"):
        gateway.account("b")


# --- which is tried first


def order(*standings: AccountStanding) -> list[str]:
    return [standing.name for standing in accounts.ranked(standings, 10, 60, NOW)]


def test_the_least_used_share_goes_first_and_the_settings_break_ties() -> None:
    a, b, c = (AccountStanding(name, in_flight=n) for name, n in (("a", 2), ("b", 1), ("c", 1)))
    assert order(a, b, c) == ["b", "c", "a"]


def test_the_share_is_of_the_cap_that_is_nearest() -> None:
    """Five of ten jobs are more than six of sixty submits."""
    assert order(AccountStanding("a", in_flight=5), AccountStanding("b", submits=6)) == ["b", "a"]
    assert order(AccountStanding("a", in_flight=5), AccountStanding("b", submits=36)) == ["a", "b"]


@pytest.mark.parametrize(
    "full",
    [
        {"in_flight": 10},
        {"submits": 60},
        {"paused_until": NOW + SECOND},
        {"strikes": 1, "trial_until": NOW + SECOND},
    ],
)
def test_one_without_room_comes_last(full: dict[str, int]) -> None:
    assert order(AccountStanding("a", **full), AccountStanding("b", in_flight=9)) == ["b", "a"]  # type: ignore[arg-type]


def test_a_gateway_is_paused_while_all_its_accounts_are() -> None:
    rate, empty = AccountStanding("a", NOW + 5, "rate_limited"), AccountStanding("b", NOW + 9, "insufficient_balance")
    pause = accounts.gateway_pause([empty, rate], 0, None)
    assert (pause.until, pause.why) == (NOW + 5, "rate_limited")
    assert accounts.gateway_pause([empty, AccountStanding("c")], 0, None).until == 0
    assert accounts.gateway_pause([empty, AccountStanding("c")], NOW + 1, "operator").why == "operator"


# --- what stays with its account


def test_only_a_submit_in_doubt_binds_its_job_to_its_account() -> None:
    bound = {
        status: bound_account(job(attempts=(attempt(account="b", status=status),)), "apimart")
        for status in AttemptStatus
    }
    assert {status for status, account in bound.items() if account} == {AttemptStatus.UNCONFIRMED}
    assert bound[AttemptStatus.UNCONFIRMED] == "b"
    assert bound_account(job(attempts=(attempt(status=AttemptStatus.UNCONFIRMED),)), "evolink") is None


def test_what_an_account_spends_is_counted_beside_the_gateways_total() -> None:
    counts = {"actual": 70, "spent:b": 30, "jobs": 2}
    assert counters.spent_by_account("apimart", counts) == {"apimart": 40, "apimart/b": 30}
    assert Counter(accounts.of_label(accounts.label("apimart", name)) for name in ("default", "b")) == {
        ("apimart", "default"): 1,
        ("apimart", "b"): 1,
    }
