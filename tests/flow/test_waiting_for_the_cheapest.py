"""With `auto` or a list a job waits for a gateway that is over its rate or full, but not for long; pinned it waits."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate

import pytest
from world import World

from rushes.shared.domain.job import Job, State

ROUTE = ["evolink", "apimodels"]
WAIT_S = 30


def ends(job: Job) -> list[tuple[str, str]]:
    """What became of each attempt of a job."""
    return [(attempt.provider, attempt.status.value) for attempt in job.attempts]


def waited_s(job: Job) -> float:
    """From its creation to the call that was taken."""
    return (job.current.submitted_at - job.created_at) / 1000


def details(job: Job, what: str) -> list[str]:
    return [note.detail or "" for note in job.history if note.what == what]


def full(world: World, gateway: str, jobs: int = 1) -> list[str]:
    """Jobs that have all places of a gateway, and keep them."""
    world.fault(gateway, "unknown_status", times=-1)
    filling = [world.submit(world.request_for(gateway)) for _ in range(jobs)]
    world.exhaust()
    assert [world.job(job_id).state for job_id in filling] == [State.RUNNING] * jobs
    return filling


def pass_by(world: World, seconds: float) -> None:
    """Time passes, a second at a time."""
    for _ in range(round(seconds)):
        world.advance(1)
        world.exhaust()


# --- over its rate


@pytest.mark.parametrize("retry_after", [31, 300, formatdate(4_102_444_800, usegmt=True)])
def test_a_gateway_that_asks_for_longer_than_is_waited_is_passed_by_at_once(world: World, retry_after: object) -> None:
    world.fault("evolink", "rate_limited", stage="submit", retry_after=retry_after)
    job_id = world.submit(world.motion, provider=ROUTE)
    world.exhaust()
    job = world.job(job_id)

    assert ends(job) == [("evolink", "rejected"), ("apimodels", "running")]
    assert world.clock.skipped_ms == 0
    assert details(job, "rerouted") == ["evolink is over its rate limit for longer than the job waits"]
    assert [bill["gateway"] for bill in world.bills()] == ["apimodels"]


def test_auto_waits_for_the_cheapest_and_then_takes_the_next(open_world: Callable[..., World]) -> None:
    world = open_world(RUSHES_WAIT_FOR_CHEAPEST_S="300")
    world.fault("apimart", "rate_limited", stage="submit", retry_after=100, times=-1)
    job = world.until(world.submit(world.motion), State.RUNNING)

    assert [provider for provider, _ in ends(job)] == ["apimart"] * 3 + ["apimaster"]
    assert 200 < waited_s(job) < 300
    assert len(details(job, "waits")) == 2


def test_a_gateway_that_is_soon_well_again_is_waited_for(open_world: Callable[..., World]) -> None:
    world = open_world(RUSHES_WAIT_FOR_CHEAPEST_S="600")
    world.fault("evolink", "rate_limited", stage="submit", retry_after=20)
    job = world.until(world.submit(world.motion, provider=ROUTE), State.RUNNING)

    assert ends(job) == [("evolink", "rejected"), ("evolink", "running")]
    assert details(job, "waits")
    assert details(job, "rerouted") == []


def test_a_throttle_without_a_word_of_when_is_waited_for_no_longer_in_all(world: World) -> None:
    world.fault("evolink", "throttled", times=-1)
    job = world.until(world.submit(world.motion, provider=ROUTE), State.RUNNING)

    assert ends(job)[-1] == ("apimodels", "running")
    assert {provider for provider, status in ends(job) if status == "rejected"} == {"evolink"}
    assert WAIT_S / 2 < waited_s(job) < 2 * WAIT_S


def test_who_comes_while_a_gateway_is_over_its_rate_waits_no_longer_than_who_was_told(world: World) -> None:
    world.fault("evolink", "rate_limited", stage="submit", retry_after=300)
    world.submit(world.motion, provider=ROUTE)
    world.exhaust()
    second = world.submit(world.motion, provider=ROUTE)
    world.exhaust()

    assert ends(world.job(second)) == [("apimodels", "running")]
    assert details(world.job(second), "rerouted") == ["evolink is over its rate"]


def test_a_pinned_job_waits_for_as_long_as_it_is_told_to(world: World) -> None:
    world.fault("evolink", "rate_limited", stage="submit", retry_after=300)
    job_id = world.submit(world.request_for("evolink"))
    world.exhaust()
    pass_by(world, 60)
    asked = world.posts()
    job = world.until(job_id, State.RUNNING)

    assert asked == 1
    assert waited_s(job) >= 300
    assert ends(job) == [("evolink", "rejected"), ("evolink", "running")]


def test_where_all_are_over_their_rate_the_job_waits_for_whichever_is_well_first(world: World) -> None:
    world.fault("evolink", "rate_limited", stage="submit", retry_after=300)
    world.fault("apimodels", "rate_limited", stage="submit", retry_after=100)
    job = world.until(world.submit(world.motion, provider=ROUTE), State.RUNNING)

    assert ends(job) == [("evolink", "rejected"), ("apimodels", "rejected"), ("apimodels", "running")]
    assert 100 <= waited_s(job) < 130
    assert len(world.bills()) == 1


# --- full


@pytest.mark.parametrize("caps", [{"EVOLINK_MAX_IN_FLIGHT": "1"}, {"EVOLINK_SUBMITS_PER_MINUTE": "1"}])
def test_a_full_gateway_is_waited_for_and_then_the_next_one_takes_the_job(
    open_world: Callable[..., World], caps: dict[str, str]
) -> None:
    world = open_world(**caps)
    full(world, "evolink")
    job_id = world.submit(world.motion, provider=ROUTE)
    pinned = world.submit(world.request_for("evolink"))
    pass_by(world, WAIT_S + 2)
    job = world.job(job_id)

    assert ends(job) == [("apimodels", "running")]
    assert waited_s(job) >= WAIT_S
    assert details(job, "rerouted") == ["evolink was full or over its rate for 30 s"]
    assert world.job(pinned).attempts == ()


def test_who_finds_a_place_in_time_stays_with_the_cheapest(open_world: Callable[..., World]) -> None:
    world = open_world(EVOLINK_MAX_IN_FLIGHT="1", RUSHES_WAIT_FOR_CHEAPEST_S="600")
    full(world, "evolink")
    job_id = world.submit(world.motion, provider=ROUTE)
    pass_by(world, 5)
    world.mend()
    job = world.until(job_id, State.RUNNING)

    assert ends(job) == [("evolink", "running")]


def test_of_several_that_have_room_the_next_of_the_route_takes_it(open_world: Callable[..., World]) -> None:
    world = open_world(EVOLINK_MAX_IN_FLIGHT="1")
    full(world, "evolink")
    job_id = world.submit(world.motion, provider=["evolink", "apimodels", "apimaster"])
    pass_by(world, WAIT_S + 3)

    assert ends(world.job(job_id)) == [("apimodels", "running")]


def test_a_full_next_one_is_passed_by_too(open_world: Callable[..., World]) -> None:
    world = open_world(EVOLINK_MAX_IN_FLIGHT="1", APIMODELS_MAX_IN_FLIGHT="1")
    full(world, "evolink")
    full(world, "apimodels")
    job_id = world.submit(world.motion, provider=["evolink", "apimodels", "apimaster"])
    pass_by(world, WAIT_S + 3)

    assert ends(world.job(job_id)) == [("apimaster", "running")]


def test_where_all_are_full_whichever_has_a_place_first_takes_it(open_world: Callable[..., World]) -> None:
    world = open_world(EVOLINK_MAX_IN_FLIGHT="1", APIMODELS_MAX_IN_FLIGHT="1")
    full(world, "evolink")
    full(world, "apimodels")
    job_id = world.submit(world.motion, provider=ROUTE)
    pass_by(world, WAIT_S + 10)
    waits = world.job(job_id)
    world.control("DELETE", "/faults?gateway=apimodels")
    job = world.until(job_id, State.RUNNING)

    assert (waits.state, waits.attempts) == (State.QUEUED, ())
    assert ends(job) == [("apimodels", "running")]


def test_nobody_goes_where_it_would_be_too_dear(open_world: Callable[..., World]) -> None:
    world = open_world(APIMART_MAX_IN_FLIGHT="1", APIMASTER_MAX_IN_FLIGHT="1")
    for gateway in ("apimart", "apimaster"):
        full(world, gateway)
    job_id = world.submit(world.motion, max_cost_usd="0.39")
    pass_by(world, WAIT_S + 3)

    assert (world.job(job_id).state, world.job(job_id).attempts) == (State.QUEUED, ())


def test_without_any_wait_the_next_one_takes_it_at_once_and_a_free_first_one_keeps_it(
    open_world: Callable[..., World],
) -> None:
    world = open_world(EVOLINK_MAX_IN_FLIGHT="1", RUSHES_WAIT_FOR_CHEAPEST_S="0")
    full(world, "evolink")
    world.mend()
    waits = world.submit(world.motion, provider=ROUTE)
    stays = world.submit(world.motion, provider=["apimodels", "apimaster"])
    world.exhaust()

    assert ends(world.job(waits)) == [("apimodels", "running")]
    assert ends(world.job(stays)) == [("apimodels", "running")]


def test_a_restart_begins_no_new_wait(open_world: Callable[..., World]) -> None:
    before = open_world(EVOLINK_MAX_IN_FLIGHT="1")
    full(before, "evolink")
    job_id = before.submit(before.motion, provider=ROUTE)
    pass_by(before, WAIT_S / 2)
    before.fault("evolink", "unknown_status", times=-1)
    after = open_world(EVOLINK_MAX_IN_FLIGHT="1", EVOLINK_API_KEY=before.key)
    after.fault("evolink", "unknown_status", times=-1)
    after.clock.skipped_ms = before.clock.skipped_ms
    pass_by(after, WAIT_S / 2 + 2)

    assert ends(after.job(job_id)) == [("apimodels", "running")]


def test_a_worker_that_dies_with_a_job_on_its_way_to_the_next_one_loses_nothing(
    open_world: Callable[..., World],
) -> None:
    world = open_world(EVOLINK_MAX_IN_FLIGHT="1")
    full(world, "evolink")
    job_id = world.submit(world.motion, provider=ROUTE)
    world.exhaust()  # its inputs are looked at when it is first handed out
    world.advance(WAIT_S + 1)
    tickets = world.claim()
    while job_id not in {ticket.job_id for ticket in tickets}:
        world.perform(tickets)
        tickets = world.claim()
    job = world.until(job_id, State.RUNNING)

    assert ends(job) == [("apimodels", "running")]
    assert len(world.tasks("apimodels")) == 1


def test_a_job_that_waits_for_the_end_of_a_pause_leaves_too_when_its_time_is_over(world: World) -> None:
    world.fault("evolink", "rate_limited", stage="submit", retry_after=20)
    job_id = world.submit(world.motion, provider=ROUTE)
    world.exhaust()
    world.submit(world.motion, provider=ROUTE)
    world.exhaust()
    world.api("POST", "/v1/gateways/evolink/pause", key="admin-key")
    pass_by(world, WAIT_S + 3)

    assert ends(world.job(job_id))[-1] == ("apimodels", "running")
    paid = [attempt for job in world.ledger.overview.newest(None, 9) for attempt in job.attempts if attempt.paid]
    assert {attempt.provider for attempt in paid} == {"apimodels"}


def test_what_was_waited_before_a_failed_task_is_not_waited_again(open_world: Callable[..., World]) -> None:
    world = open_world(EVOLINK_MAX_IN_FLIGHT="1", RUSHES_WAIT_FOR_CHEAPEST_S="600")
    world.fault("apimart", "rate_limited", stage="submit", retry_after=400)
    world.fault("apimart", "fail_task")
    full(world, "evolink")
    job_id = world.submit(world.motion, provider=["apimart", "evolink", "apimaster"])
    world.run_until(lambda: ("apimart", "failed") in ends(world.job(job_id)))
    failed_at = world.clock()
    job = world.until(job_id, State.RUNNING)

    assert ends(job)[-1] == ("apimaster", "running")
    assert 100_000 < job.current.submitted_at - failed_at < 210_000
