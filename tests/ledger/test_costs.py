"""The last bills of each kind of work, and the balances of our accounts, as the ledger keeps them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from factories import MINUTE, NOW, SECOND, job_in, link
from ledger_steps import created

from rushes.shared.domain import bills, events
from rushes.shared.domain.balances import Balance, Reading
from rushes.shared.domain.bills import RecentBills
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import Job, State
from rushes.shared.ledger import keys
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.recent_bills import BillHistory
from rushes.shared.ledger.store import Store

KIND = bills.Kind("kling-v3", "std", "silent")


def billed(ledger: Ledger, usd: str, **request: Any) -> Job:
    """A job whose gateway billed so much where 0.42 was estimated."""
    running = job_in(State.RUNNING)
    running = job_in(State.RUNNING, request={**running.request, **request})
    ledger.create(running)
    moved = ledger.apply(running.id, events.Succeeded(link(), Decimal(usd), attempt=1), NOW + MINUTE)
    assert moved
    return moved


def test_the_mean_of_the_last_bills_is_kept_by_kind(ledger: Ledger) -> None:
    for usd in ("0.42", "0.63", "0.63"):
        billed(ledger, usd)
    billed(ledger, "0.21", mode="pro")
    billed(ledger, "0.84", sound=True)

    assert ledger.bill_history.recent("apimart") == {
        KIND: RecentBills(3, Decimal("1.3333")),
        bills.Kind("kling-v3", "pro", "silent"): RecentBills(1, Decimal("0.5")),
        bills.Kind("kling-v3", "std", "sound"): RecentBills(1, Decimal("2")),
    }
    assert ledger.bill_history.recent("evolink") == {}


def test_of_many_bills_the_older_half_is_forgotten_and_the_mean_stays(ledger: Ledger, store: Store) -> None:
    counts = {"weight": (bills.MOST + 1) * bills.PER_ONE, "ratio": (bills.MOST + 1) * bills.PER_ONE * 3 // 2}
    store.increase(keys.bills("apimart"), {f"kling-v3|std|silent|{what}": count for what, count in counts.items()})
    store.increase(keys.bills("apimart"), {"kling-v3|std|sound|weight": 5, "kling-v3|std|sound|ratio": 5})
    before = ledger.bill_history.recent("apimart")[KIND]
    after = ledger.bill_history.recent("apimart")[KIND]

    assert (before.count, before.mean_ratio) == (bills.MOST + 1, Decimal("1.5"))
    assert (after.count, after.mean_ratio) == (20, Decimal("1.5"))
    assert ledger.bill_history.recent("apimart")[KIND] == after
    assert store.counters(keys.bills("apimart"))["kling-v3|std|sound|weight"] == "5"


def test_a_bill_is_counted_in_the_commit_that_brings_it(ledger: Ledger, store: Store) -> None:
    job = billed(ledger, "0.63")
    ledger.apply(job.id, events.Succeeded(link(), Decimal("0.63"), attempt=1), NOW + 2 * MINUTE)

    tally = {name: count for name, count in ledger.totals.metrics().items() if name.startswith("bills|")}
    assert tally == {"bills|apimart|kling-v3|std|silent|differs": "1"}
    assert ledger.bill_history.recent("apimart")[KIND].count == 1


# --- balances


def test_a_balance_is_kept_until_another_is_read(ledger: Ledger) -> None:
    assert ledger.balances.read("apimart") == Reading()
    ledger.balances.keep("apimart", Balance(Decimal("12.50")), NOW)
    ledger.balances.keep_problem("apimart", "HTTP 500", NOW + SECOND)
    broken = ledger.balances.read("apimart")
    ledger.balances.keep("apimart", Balance(None), NOW + MINUTE)

    assert broken == Reading(Balance(Decimal("12.50")), NOW, NOW + SECOND, "HTTP 500")
    assert ledger.balances.read("apimart") == Reading(Balance(None), NOW + MINUTE, NOW + MINUTE)
    assert ledger.balances.read("newapi") == Reading()


def test_one_asks_on_from_each_reading(ledger: Ledger) -> None:
    first = ledger.balances.read("apimart")
    takes = [ledger.balances.take_lease("apimart", first) for _ in range(2)]
    ledger.balances.keep("apimart", Balance(Decimal(1)), NOW)
    takes.append(ledger.balances.take_lease("apimart", first))  # who read before, and comes late
    second = ledger.balances.read("apimart")
    takes += [ledger.balances.take_lease("apimart", second) for _ in range(2)]

    assert takes == [True, False, False, True, False]
    assert ledger.balances.take_lease("newapi", Reading())


def test_the_balance_that_was_tried_is_kept_and_forgotten(ledger: Ledger) -> None:
    ledger.balances.keep_tried("apimart", Balance(Decimal("0.5")))
    tried = ledger.balances.read("apimart").tried
    ledger.balances.keep_tried("apimart", None)

    assert tried == Balance(Decimal("0.5"))


def test_units_of_packages_are_kept_as_units(ledger):
    ledger.balances.keep("kling", Balance(None, Decimal("742.50")), NOW)
    ledger.balances.keep_tried("kling", Balance(None, Decimal(0)))

    kept = ledger.balances.read("kling")
    assert (kept.balance, kept.tried) == (Balance(None, Decimal("742.50")), Balance(None, Decimal(0)))
    assert ledger.balances.read("apimart").tried is None


def test_a_pause_for_balance_ends_and_its_strikes_stay(ledger: Ledger, store: Store) -> None:
    ledger.gateways.strike("apimart", Reason.BALANCE, None, NOW)
    job_id = created(ledger)[0].id
    store.move(keys.due("submit:apimart:acme:5"), keys.due("parked:apimart"))
    ended = ledger.gateways.end_pause("apimart", Reason.BALANCE, ["apimart"], NOW)

    assert ended
    assert ledger.gateways.paused_until("apimart") == 0
    assert ledger.gateways.health("apimart")["strikes"] == "1"
    assert store.ripe([(keys.due("submit:apimart"), NOW), (keys.due("parked:apimart"), NOW)], 9) == [
        [(job_id, NOW)],
        [],
    ]


@pytest.mark.parametrize("reason", [Reason.KEY, Reason.RATE])
def test_a_pause_for_another_reason_does_not_end_so(ledger: Ledger, reason: Reason) -> None:
    ledger.gateways.strike("apimart", reason, None, NOW)
    until = ledger.gateways.paused_until("apimart")

    assert not ledger.gateways.end_pause("apimart", Reason.BALANCE, ["apimart"], NOW)
    assert ledger.gateways.paused_until("apimart") == until > NOW


def test_a_pause_by_hand_lasts_although_one_for_balance_ends(ledger: Ledger) -> None:
    ledger.gateways.strike("apimart", Reason.BALANCE, None, NOW)
    ledger.gateways.pause("apimart", "operator", NOW + MINUTE)

    assert ledger.gateways.end_pause("apimart", Reason.BALANCE, ["apimart"], NOW)
    assert (ledger.gateways.paused_until("apimart"), ledger.gateways.health("apimart")["why"]) == (
        NOW + MINUTE,
        "operator",
    )


def test_a_pause_that_is_over_is_none_to_end(ledger: Ledger) -> None:
    ledger.gateways.strike("apimart", Reason.BALANCE, None, NOW - 10 * MINUTE)
    assert not ledger.gateways.end_pause("apimart", Reason.BALANCE, ["apimart"], NOW)


class ReadByTwo:
    """A store that two readers have read alike: both ask it to forget."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def halve_counts(self, *arguments: Any) -> None:
        for _ in range(2):
            self._store.halve_counts(*arguments)


def test_what_two_read_alike_is_halved_once(store: Store) -> None:
    counts = {"weight": (bills.MOST + 2) * bills.PER_ONE, "ratio": (bills.MOST + 2) * bills.PER_ONE}
    store.increase(keys.bills("apimart"), {f"kling-v3|std|silent|{what}": count for what, count in counts.items()})
    BillHistory(ReadByTwo(store)).recent("apimart")

    assert BillHistory(store).recent("apimart")[KIND].count == (bills.MOST + 2) // 2
