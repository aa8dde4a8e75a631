"""What the metrics say after a day's work of which everything is known."""

from __future__ import annotations

from collections.abc import Callable

from outsiders import Listener
from world import World

from rushes.shared.domain.job import State


def told(world: World) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in world.api("GET", "/metrics").text.splitlines() if line[0] != "#"]
    return {name: float(value) for name, _, value in lines}


def some(world: World, prefix: str) -> dict[str, float]:
    """The samples of a name that are not 0, by their labels."""
    found = told(world).items()
    return {name.removeprefix(prefix): value for name, value in found if name.startswith(prefix) and value}


def test_a_job_through_each_gateway_is_counted_once_at_each_step(world: World) -> None:
    gateways = list(world.begin_a_day().services.settings.gateways)
    jobs = [world.finish(world.submit(world.request_for(name))) for name in gateways]

    assert {job.state for job in jobs} == {State.COMPLETED}
    by_gateway = {f'{{gateway="{name}"}}': 1 for name in gateways}
    for name in ("task_seconds", "archive_lag_seconds", "archive_link_left_seconds"):
        assert some(world, f"rushes_{name}_count") == by_gateway
    accepted = {f'{{gateway="{name}",reason="",verdict="accepted"}}': 1 for name in gateways}
    assert some(world, "rushes_submits_total") == accepted
    assert some(world, "rushes_jobs_created_total") == {"": len(gateways)}
    assert some(world, "rushes_jobs_ended_total") == {'{code="",state="completed"}': len(gateways)}
    spent = some(world, "rushes_day_actual_usd")
    assert sum(spent.values()) == float(sum(job.current.cost_usd or 0 for job in jobs))
    assert some(world, "rushes_oldest_overdue_seconds") == {}


def test_a_step_that_a_worker_did_twice_is_counted_once(world: World) -> None:
    job_id = world.submit(world.request_for("newapi"))
    with world.after(world.ledger, "apply_all", world.die):
        world.run_until(lambda: world.job(job_id).state is State.RUNNING)
    with world.after(world.services.archive, "put_manifests", world.die):
        world.finish(job_id)

    assert some(world, "rushes_submits_total") == {'{gateway="newapi",reason="",verdict="accepted"}': 1}
    assert some(world, "rushes_archive_lag_seconds_count") == {'{gateway="newapi"}': 1}
    assert some(world, "rushes_task_seconds_count") == {'{gateway="newapi"}': 1}


def test_refusals_and_lost_answers_are_counted_apart(world: World) -> None:
    world.fault("newapi", "refuse_503", stage="submit")
    world.finish(world.submit(world.request_for("newapi")))
    world.fault("newapi", "answer_lost")
    unconfirmed = world.until(world.submit(world.request_for("newapi")), State.UNCONFIRMED)

    at = '{gateway="newapi",reason="'
    assert some(world, "rushes_submits_total") == {
        f'{at}provider_error",verdict="refused"}}': 1,
        f'{at}",verdict="accepted"}}': 1,
        f'{at}",verdict="unconfirmed"}}': 1,
    }
    assert some(world, "rushes_jobs{") == {'state="completed"}': 1, 'state="unconfirmed"}': 1}
    assert unconfirmed.current.task_id is None


def test_who_told_of_the_end_is_counted(open_world: Callable[..., World], porch: Listener) -> None:
    world = open_world(callbacks=True)
    by_call = world.until(world.submit(world.request_for("evolink")), State.RUNNING)
    with world.deliver(world.letter(by_call.id)) as answer:
        assert answer.status_code == 200, answer.text
    world.finish(by_call.id)
    world.finish(world.submit(world.request_for("apimodels")))

    heard = some(world, "rushes_polls_per_task_count")
    assert heard == {
        '{callback="asked",gateway="evolink",heard_by="callback"}': 1,
        '{callback="asked",gateway="apimodels",heard_by="poll"}': 1,
    }
    assert some(world, "rushes_callbacks_total") == {'{gateway="evolink",verdict="noted"}': 1}
