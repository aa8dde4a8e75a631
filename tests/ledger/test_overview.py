from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

import pytest
from factories import DAY, HOUR, MINUTE, NOW, POLICY, SECOND, link, result
from ledger_steps import LANES, archiving, claim, contents, created, engaged, polls, running, submits
from patience import PATIENCE_S

from rushes.shared.domain import counters, events
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import Job, State
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.store import Store

LATER = NOW + MINUTE


def ids(jobs: list[Job]) -> list[str]:
    return [job.id for job in jobs]


# --- lists


def test_the_newest_come_first(ledger: Ledger) -> None:
    made = created(ledger, 5)
    assert ids(ledger.overview.newest("acme", 3)) == ids(made)[:1:-1]


def test_a_cursor_goes_on_where_the_page_ended(ledger: Ledger) -> None:
    made, cursor = created(ledger, 7), ""
    pages: list[list[str]] = []
    while (page := ids(ledger.overview.newest("acme", 3, before=cursor))) and len(pages) < 9:
        pages.append(page)
        cursor = page[-1]
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [one for page in pages for one in page] == ids(made)[::-1]


def test_pages_stay_as_they_are_while_jobs_arrive(ledger: Ledger) -> None:
    made = created(ledger, 4)
    first = ids(ledger.overview.newest("acme", 2))
    created(ledger, 3, LATER)
    assert ids(ledger.overview.newest("acme", 2, before=first[-1])) == ids(made)[1::-1]


def test_pages_stay_as_they_are_while_jobs_move_on(ledger: Ledger) -> None:
    made = created(ledger, 4)
    first = ids(ledger.overview.newest("acme", 2))
    for each in made:
        ledger.apply(each.id, events.Canceled(), LATER)
    assert ids(ledger.overview.newest("acme", 2, before=first[-1])) == ids(made)[1::-1]


def test_a_page_is_read_in_one_moment(redis_store: RedisStore) -> None:
    ledger = Ledger(redis_store, POLICY)
    running(ledger)
    redis_store._client.config_resetstat()
    ledger.overview.newest("acme", 9)
    calls = {name: told["calls"] for name, told in redis_store._client.info("commandstats").items()}
    assert calls["cmdstat_zrevrangebylex"] > 1
    assert calls["cmdstat_evalsha"] == 1


def test_one_tenants_jobs_are_not_anothers(ledger: Ledger) -> None:
    mine, theirs = created(ledger), created(ledger, tenant="acme2")
    assert ids(ledger.overview.newest("acme", 9)) == ids(mine)
    assert ids(ledger.overview.newest("acme2", 9)) == ids(theirs)
    assert ledger.overview.newest("acm", 9) == []


def test_who_may_see_all_sees_all_in_one_order(ledger: Ledger) -> None:
    made = [created(ledger, at=NOW + place, tenant=tenant)[0] for place, tenant in enumerate(["a", "b:c", "a", "d"])]
    assert ids(ledger.overview.newest(None, 9)) == ids(made)[::-1]
    assert ids(ledger.overview.newest("b:c", 9)) == [made[1].id]


def test_jobs_are_found_by_state_and_by_gateway(ledger: Ledger) -> None:
    waiting = created(ledger, due_at=NOW + DAY)[0]
    here, there = running(ledger), archiving(ledger, NOW + SECOND)
    assert ids(ledger.overview.newest("acme", 9, states=[State.QUEUED])) == [waiting.id]
    assert set(ids(ledger.overview.newest("acme", 9, states=[State.RUNNING, State.ARCHIVING]))) == {here.id, there.id}
    assert set(ids(ledger.overview.newest("acme", 9, provider="apimart"))) == {here.id, there.id}
    assert ids(ledger.overview.newest("acme", 9, states=[State.RUNNING], provider="apimart")) == [here.id]
    assert ledger.overview.newest("acme", 9, provider="evolink") == []


def test_the_index_and_the_counts_follow_the_states(ledger: Ledger, store: Store) -> None:
    subject = running(ledger)
    seen = []
    for event in (events.Progressed(5), events.Succeeded(link()), events.Archived(result())):
        ledger.apply(subject.id, event, LATER)
        seen.append([state.value for state, count in ledger.overview.counts("acme").items() if count])
    assert seen == [["running"], ["archiving"], ["completed"]]
    indexes = [name for name in contents(store) if name.startswith("{rushes}:index:")]
    assert indexes == ["{rushes}:index:acme:completed:apimart"]


def test_counts_are_of_one_tenant_or_of_all(ledger: Ledger) -> None:
    created(ledger, 2)
    created(ledger, 1, tenant="zenith")
    assert (ledger.overview.counts("acme")[State.QUEUED], ledger.overview.counts(None)[State.QUEUED]) == (2, 3)
    assert set(ledger.overview.counts("nobody").values()) == {0}


def test_a_failover_is_found_at_the_gateway_that_has_the_job(ledger: Ledger) -> None:
    subject = running(ledger)
    ledger.apply(subject.id, events.Failed(Reason.PROVIDER, "no luck"), LATER)
    assert ids(ledger.overview.newest("acme", 9, states=[State.QUEUED], provider="apimart")) == [subject.id]


# --- how late we are


def test_nothing_waits_where_nothing_is_due_yet(ledger: Ledger) -> None:
    assert ledger.overview.waiting_since(LANES, NOW) == {}
    created(ledger, due_at=NOW + HOUR)
    assert ledger.overview.waiting_since(LANES, NOW) == {}


def test_the_job_that_waits_longest_says_how_late_a_lane_is(ledger: Ledger) -> None:
    created(ledger, 3)
    created(ledger, route=("evolink",), due_at=NOW + 2 * SECOND)
    since = ledger.overview.waiting_since(LANES, NOW + 9 * SECOND)
    assert since == {"submit:apimart": NOW, "submit:evolink": NOW + 2 * SECOND}


def test_a_clip_that_goes_before_others_waits_only_since_it_was_made(ledger: Ledger) -> None:
    subject = running(ledger)
    ledger.apply(subject.id, events.Succeeded(link(expires_at=LATER + HOUR)), LATER)
    assert ledger.overview.waiting_since(["archive"], LATER + 3 * SECOND) == {"archive": LATER}


def test_a_job_that_a_callback_woke_waits_since_the_call(ledger: Ledger) -> None:
    subject = running(ledger)
    ledger.nudge("apimart", subject.id, 1, None, NOW + 5 * SECOND)
    assert ledger.overview.waiting_since(LANES, NOW + 9 * SECOND) == {"poll:apimart": NOW + 5 * SECOND}


def test_what_a_worker_holds_does_not_wait(ledger: Ledger) -> None:
    created(ledger)
    (ticket,) = claim(ledger, submits(), NOW)
    ledger.open_tickets([ticket], NOW)[0]
    later = NOW + 4 * SECOND
    assert (ledger.overview.waiting_since(LANES, later), ledger.overview.unopened_since(LANES, later)) == ({}, {})


def test_a_job_that_is_handed_out_again_and_again_and_opened_by_nobody_waits(ledger: Ledger) -> None:
    created(ledger)
    for moment in range(NOW, LATER, 11 * SECOND):
        assert len(claim(ledger, submits(), moment)) == 1
    assert ledger.overview.unopened_since(LANES, LATER) == {"submit:apimart": NOW}


def test_a_job_whose_worker_died_waits_once_its_lease_is_over(ledger: Ledger) -> None:
    created(ledger)
    (ticket,) = claim(ledger, submits(), NOW)
    ledger.open_tickets([ticket], NOW)[0]
    assert ledger.overview.unopened_since(LANES, NOW + 14 * SECOND) == {}
    assert ledger.overview.unopened_since(LANES, NOW + 15 * SECOND) == {"submit:apimart": NOW}


def test_the_oldest_of_a_state_come_first(ledger: Ledger) -> None:
    made = created(ledger, 3) + created(ledger, 1, LATER, tenant="zenith")
    ledger.apply(made[0].id, events.Canceled(), LATER)
    assert ids(ledger.overview.oldest(State.QUEUED, 2)) == ids(made[1:3])
    assert ids(ledger.overview.oldest(State.QUEUED, 9)) == ids(made[1:])


# --- gateways


def test_a_gateways_jobs_and_its_last_minute_are_counted(ledger: Ledger) -> None:
    running(ledger, NOW)
    archiving(ledger, NOW + SECOND)
    assert (ledger.gateways.in_flight("apimart"), ledger.gateways.in_flight("evolink")) == (1, 0)
    moments = [NOW + SECOND, NOW + 61 * SECOND, NOW + 62 * SECOND]
    assert [ledger.gateways.submits_last_minute("apimart", now) for now in moments] == [2, 2, 1]
    assert ledger.gateways.submits_last_minute("evolink", NOW) == 0


def test_a_days_usage_is_told_by_tenant_and_gateway(ledger: Ledger) -> None:
    running(ledger)
    running(ledger, NOW + SECOND, tenant="zenith")
    mine = counters.by_gateway(ledger.totals.usage("2026-09-21"), "acme")
    assert {who: counted["estimated"] for who, counted in mine.items()} == {("acme", "apimart"): 42_000_000}
    everybody = counters.by_gateway(ledger.totals.usage("2026-09-21"), None)
    assert set(everybody) == {("acme", "apimart"), ("zenith", "apimart")}
    assert ledger.totals.usage("2026-09-20") == {}


def test_words_that_no_document_knows_are_counted(ledger: Ledger) -> None:
    for word in ("PONDERING", "DREAMING|2", "PONDERING"):
        ledger.gateways.count_unknown_word("apimart", word)
    assert ledger.gateways.unknown_words() == {"apimart|PONDERING": "2", "apimart|DREAMING|2": "1"}


# --- workers


def test_a_worker_counts_while_it_shows_itself(ledger: Ledger) -> None:
    ledger.record_heartbeat("one", NOW)
    ledger.record_heartbeat("two", NOW + 15 * SECOND)
    ledger.record_heartbeat("two", NOW + 16 * SECOND)
    assert [ledger.workers(NOW + later * SECOND) for later in (16, 20, 36)] == [2, 1, 0]


# --- the bell


def slept_s(store: Store, timeout_s: float) -> float:
    began = time.monotonic()
    store.listen(timeout_s)
    return time.monotonic() - began


def woken(store: Store) -> bool:
    """Whether a bell ends a sleep that would last long."""
    return slept_s(store, PATIENCE_S) < PATIENCE_S


def quiet(store: Store) -> None:
    """Hear all that has rung before."""
    store.listen(0.01)
    store.listen(0.01)


def refuses(ledger: Ledger) -> Callable[[], object]:
    created(ledger)
    return partial(ledger.apply, engaged(ledger, NOW)[0].id, events.Refused(Reason.RATE, "429"), NOW)


# What must wake the scheduler, for there is something to do at once.
RINGS: dict[str, Callable[[Ledger], Callable[[], object]]] = {
    "a new job": lambda ledger: partial(created, ledger),
    "a callback": lambda ledger: partial(ledger.nudge, "apimart", running(ledger).id, 1, None, LATER),
    "a place that is free": refuses,
    "a hint by hand": lambda ledger: ledger.wake,
}


@pytest.mark.parametrize("word", RINGS)
def test_the_bell_wakes_who_listens(ledger: Ledger, store: Store, word: str) -> None:
    happens = RINGS[word](ledger)
    quiet(store)
    timer = threading.Timer(0.05, happens)
    timer.start()
    assert woken(store)
    timer.join()


def test_without_a_bell_a_sleep_lasts_as_long_as_it_should(ledger: Ledger, store: Store) -> None:
    subject = running(ledger)
    quiet(store)
    ledger.apply(subject.id, events.Progressed(10), NOW)
    assert slept_s(store, 0.1) >= 0.09


def test_a_bell_that_rang_before_the_sleep_is_still_heard(ledger: Ledger, store: Store) -> None:
    store.listen(0.01)
    created(ledger)
    assert woken(store)


def test_many_rings_wake_once(ledger: Ledger, store: Store) -> None:
    store.listen(0.01)
    created(ledger, 20)
    ledger.check_writes()  # Redis answers who rings before it tells who listens, and both before it answers this
    assert woken(store)
    assert slept_s(store, 0.1) >= 0.09


def test_a_poll_that_is_due_is_claimed_when_the_bell_said_so(ledger: Ledger) -> None:
    subject = running(ledger)
    ledger.nudge("apimart", subject.id, 1, None, LATER)
    assert len(claim(ledger, polls(), LATER)) == 1
