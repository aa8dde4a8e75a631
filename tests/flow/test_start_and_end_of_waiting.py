"""`not_before` and `start_before`: when a job is submitted at the earliest, and until when it waits."""

from __future__ import annotations

from collections.abc import Callable

from outsiders import Listener
from world import World

from rushes.shared.domain.job import State
from rushes.shared.intake.job_document import moment


def test_a_job_is_not_submitted_before_its_time(world: World) -> None:
    job_id = world.submit(world.text, not_before=moment(world.clock() + 3_600_000))
    world.exhaust()
    assert (world.job(job_id).state, world.bills()) == (State.QUEUED, [])
    world.advance(3601)
    assert world.finish(job_id).state is State.COMPLETED


def test_a_job_behind_a_full_gateway_ends_at_its_deadline_and_its_caller_is_told(
    open_world: Callable[..., World], caller: Listener
) -> None:
    world = open_world(NEWAPI_MAX_IN_FLIGHT="1")
    first = world.submit(world.text, provider="newapi")
    deadline = world.clock() + 60_000
    late = world.submit(
        world.text, provider="newapi", start_before=moment(deadline), callback_url=f"{caller.url}/heard"
    )
    world.exhaust()
    assert (world.job(first).state, world.job(late).state) == (State.RUNNING, State.QUEUED)
    world.advance(61)
    job = world.finish(late)
    assert job.error
    assert (job.state, job.error.code, job.attempts) == (State.CANCELED, "start_deadline_passed", ())
    told = world.manifest(job)
    assert (told["files"], told["job"]["status"]) == ([], "canceled")
    (letter,) = caller.letters
    assert b'"job.canceled"' in letter.body
    assert len(world.bills()) == 1


def test_a_deadline_that_has_passed_when_it_comes_ends_it_at_once(world: World) -> None:
    job = world.finish(world.submit(world.text, start_before=moment(world.clock() - 1000)))
    assert job.error
    assert (job.error.code, world.bills()) == ("start_deadline_passed", [])
