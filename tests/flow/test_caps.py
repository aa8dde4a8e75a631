"""How much at once: in flight, a minute, a day; and who goes first."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from world import World, why

from rushes.shared.domain.job import State
from rushes.shared.domain.schedule import PLACE_S


def test_no_more_are_in_flight_than_allowed_and_the_oldest_goes_first(open_world: Callable[..., World]) -> None:
    world = open_world(NEWAPI_MAX_IN_FLIGHT="2")
    jobs = [world.submit(world.request_for("newapi")) for _ in range(5)]
    seen = []

    def all_done() -> bool:
        states = [world.job(job_id).state for job_id in jobs]
        seen.append(sum(state in (State.SUBMITTING, State.RUNNING) for state in states))
        return set(states) == {State.COMPLETED}

    world.run_until(all_done)
    sent = sorted(jobs, key=lambda job_id: world.job(job_id).attempts[0].submitted_at)
    assert max(seen) == 2
    assert sent == jobs
    assert len(world.bills()) == 5


def test_no_more_are_submitted_a_minute_than_allowed_and_the_oldest_goes_first(
    open_world: Callable[..., World],
) -> None:
    world = open_world(NEWAPI_SUBMITS_PER_MINUTE="2")
    jobs = [world.submit(world.request_for("newapi")) for _ in range(5)]
    world.run_until(lambda: all(world.job(job_id).state is State.COMPLETED for job_id in jobs))

    at = [world.job(job_id).attempts[0].submitted_at for job_id in jobs]
    assert at == sorted(at)
    assert all(third - first > 60_000 for first, third in zip(at, at[2:], strict=False))
    assert at[4] - at[0] < 180_000


def test_a_job_that_waits_for_a_cap_does_not_hold_up_other_gateways(open_world: Callable[..., World]) -> None:
    world = open_world(NEWAPI_MAX_IN_FLIGHT="1")
    jobs = [world.submit(world.text, provider=name) for name in ("newapi", "newapi", "apimodels")]
    world.exhaust()

    assert [world.job(job_id).state for job_id in jobs] == [State.RUNNING, State.QUEUED, State.RUNNING]


def test_a_submit_in_doubt_holds_its_place_for_as_long_as_the_gateway_may_be_at_it(
    open_world: Callable[..., World],
) -> None:
    world = open_world(NEWAPI_MAX_IN_FLIGHT="1")
    world.fault("newapi", "answer_lost")
    doubted, waits = (world.submit(world.request_for("newapi")) for _ in range(2))
    world.exhaust()
    world.advance(PLACE_S - 60)
    world.exhaust()
    within = world.job(waits).state
    world.advance(120)
    world.exhaust()

    assert (within, world.job(waits).state) == (State.QUEUED, State.RUNNING)
    assert world.job(doubted).state is State.UNCONFIRMED


def test_past_the_budget_of_the_day_nothing_is_sent(open_world: Callable[..., World]) -> None:
    world = open_world(RUSHES_DAILY_BUDGET_USD="0.40").begin_a_day()
    jobs = [world.submit(world.text, provider="apimodels") for _ in range(3)]
    ended = [world.finish(job_id) for job_id in jobs]

    assert [job.state for job in ended] == [State.COMPLETED, State.COMPLETED, State.FAILED]
    assert (why(ended[2]), ended[2].attempts) == ("budget_exceeded", ())
    assert sum(Decimal(bill["usd"]) for bill in world.bills()) == Decimal("0.3798")


def test_what_was_refused_does_not_use_the_budget_up(open_world: Callable[..., World]) -> None:
    world = open_world(RUSHES_DAILY_BUDGET_USD="0.20").begin_a_day()
    world.fault("apimodels", "refuse_503", stage="submit", times=2)
    job = world.finish(world.submit(world.text, provider="apimodels"))

    assert [attempt.status.value for attempt in job.attempts] == ["rejected", "rejected", "completed"]


def test_a_new_day_has_a_new_budget(open_world: Callable[..., World]) -> None:
    world = open_world(RUSHES_DAILY_BUDGET_USD="0.20").begin_a_day()
    first = world.finish(world.submit(world.text, provider="apimodels"))
    world.advance(86_400)
    second = world.finish(world.submit(world.text, provider="apimodels"))

    assert [first.state, second.state] == [State.COMPLETED] * 2


def test_a_cheaper_gateway_goes_first_and_a_dear_one_never_past_the_most(world: World) -> None:
    job = world.finish(world.submit(world.motion, max_cost_usd="0.39"))

    assert [attempt.provider for attempt in job.attempts] == ["apimart"]
    assert job.route == ("apimart", "apimaster")
