"""An erased job: nothing that was asked for or made is left anywhere, and what it cost stays."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from outsiders import Listener
from world import BUCKET, World

from rushes.shared.domain.job import Chore, Job, State
from rushes.shared.intake.job_document import moment
from rushes.shared.ledger.quarantine import QuarantinedCallback
from rushes.shared.operations import recovery
from rushes.shared.storage.archive import ArchiveUnavailable

PROMPT = "a secret of violet kites"
DAY_S = 86_400
SECRETS = ("violet", "order-of-violets", "sample.jpg", "callback-of-violets")


def everything(world: World) -> dict[str, str]:
    """All that stands in the bucket and in the ledger, as text."""
    found = world.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    texts = {entry["Key"]: world._stored(entry["Key"]).body.decode(errors="replace") for entry in found}
    store: Any = world.ledger.store
    for job in world.ledger.overview.newest(None, 100):
        texts[f"ledger {job.id}"] = store.records([job.id])[0] or ""
    texts["quarantine"] = json.dumps(dict(store.counters("{rushes}:quarantine")))
    return texts


def places_of(world: World, job_id: str, *secrets: str) -> list[str]:
    texts = {name: text for name, text in everything(world).items() if job_id in name + text}
    return [name for name, text in texts.items() if any(secret in text for secret in secrets)]


def ended(world: World, **fields: Any) -> Job:
    told = {"prompt": PROMPT, "metadata": {"order": "order-of-violets"}, **fields}
    job_id = world.submit(world.text, **told)
    world.finish(job_id)
    world.services.journal.flush()
    return world.job(job_id)


def erase(world: World, job: Job) -> Any:
    return world.api("DELETE", f"/v1/jobs/{job.id}")


def asked_to_erase(world: World, job: Job) -> Any:
    answer = erase(world, job)
    assert answer.status_code == 202, answer.text
    return answer


def erased(world: World, job: Job) -> Job:
    world.run_until(lambda: world.job(job.id).erased_at is not None)
    return world.job(job.id)


def test_an_erased_job_leaves_ids_times_gateway_and_money(world: World) -> None:
    job = ended(world)
    stranger = QuarantinedCallback(world.clock(), "newapi", job.id, "acme", 1, "t", None, None, "of violet kites")
    world.ledger.quarantine.keep(stranger)
    other = ended(world, prompt="another violet")
    before = places_of(world, job.id, "violet")
    answer = erase(world, job)
    after = erased(world, job)

    folder = world.services.archive.folder(job.id, job.created_at)
    assert {name.partition("/")[0] for name in before} == {"jobs", "journal", f"ledger {job.id}", "quarantine"}
    assert places_of(world, job.id, *SECRETS) == []
    assert world.bucket(job).keys() == {"manifest.json"}
    assert world.manifest(job) == {
        "schema": "rushes.manifest/1",
        "job": {"id": job.id, "status": "completed", "erased_at": moment(after.erased_at)},
        "files": [],
    }
    assert (answer.status_code, answer.json["erased_at"], answer.json["result"]) == (202, None, None)
    told = world.api("GET", f"/v1/jobs/{job.id}").json
    assert told["erased_at"] == moment(after.erased_at)
    assert (told["cost_usd"], told["provider"], told["metadata"]) == (answer.json["cost_usd"], job.provider, {})
    assert [a["task_id"] for a in told["attempts"]] == [job.current.task_id]
    assert "prompt" not in told["request"]
    assert world.manifest(other)["job"]["request"]["prompt"] == "another violet"
    assert folder in " ".join(everything(world))


def test_what_is_erased_is_not_to_be_had_any_more(world: World) -> None:
    job = ended(world)
    refused_before = erase(world, world.until(world.submit(world.text), State.RUNNING))
    asked_to_erase(world, job)
    codes = {
        path: (answer.status_code, answer.json["error"]["code"])
        for path, answer in {
            "content": world.api("GET", f"/v1/jobs/{job.id}/content"),
            "retry": world.api("POST", f"/v1/jobs/{job.id}/retry"),
            "notify": world.api("POST", f"/v1/jobs/{job.id}/notify"),
        }.items()
    }
    assert codes == {"content": (410, "erased"), "retry": (409, "erased"), "notify": (409, "erased")}
    assert (refused_before.status_code, refused_before.json["error"]["code"]) == (409, "not_ended")
    first = erased(world, job)
    assert erase(world, job).status_code == 202
    world.exhaust()
    assert world.job(job.id) == first
    assert world.api("DELETE", f"/v1/jobs/{job.id}", key="rival-key").status_code == 404


def test_a_failed_job_is_erased_with_what_its_gateway_said(world: World) -> None:
    world.fault("newapi", "fail_task")
    job = world.finish(world.submit({**world.request_for("newapi"), "prompt": PROMPT}))
    world.services.journal.flush()
    asked_to_erase(world, job)
    after = erased(world, job)

    assert places_of(world, job.id, "violet", "generation failed") == []
    assert after.error
    assert after.error.code == "provider_error"
    assert world.manifest(after)["job"]["status"] == "failed"


def test_nobody_is_notified_of_what_was_erased_meanwhile(world: World, caller: Listener) -> None:
    job_id = world.submit(
        world.text, prompt=PROMPT, callback_url=f"{caller.url}/callback-of-violets".replace("http:", "https:")
    )
    world.run_until(lambda: Chore.NOTICE in world.job(job_id).chores)
    job = world.job(job_id)
    asked_to_erase(world, job)
    erased(world, job)

    assert places_of(world, job.id, *SECRETS) == []


DOORS: dict[str, Callable[[World], tuple[Any, str]]] = {
    "the manifest": lambda world: (world.services.archive, "replace_manifest"),
    "the clip": lambda world: (world.services.archive, "erase"),
    "the journal": lambda world: (world.services.journal, "erase"),
    "the quarantine": lambda world: (world.ledger.quarantine, "drop_all"),
    "the end": lambda world: (world.ledger, "apply"),
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("door", DOORS)
def test_an_erasure_whose_worker_dies_goes_on(world: World, door: str, when: str) -> None:
    job = ended(world)
    asked_to_erase(world, job)
    part, name = DOORS[door](world)
    with getattr(world, when)(part, name, world.die):
        world.step()
    world.advance(60)
    erased(world, job)

    assert places_of(world, job.id, *SECRETS) == []
    assert world.bucket(job).keys() == {"manifest.json"}


def test_an_erasure_waits_for_a_bucket_that_refuses(world: World) -> None:
    job = ended(world)
    asked_to_erase(world, job)

    def refuse() -> None:
        raise ArchiveUnavailable("the bucket says no")

    with world.before(world.services.archive, "erase", refuse):
        world.step()
    waiting = world.job(job.id)
    erased(world, job)

    assert waiting.erased_at is None
    assert [note.detail for note in waiting.history if note.what == "erasure delayed"] == ["the bucket says no"]
    assert places_of(world, job.id, *SECRETS) == []


def test_a_ledger_that_was_lost_brings_nothing_back(world: World) -> None:
    job = ended(world)
    asked_to_erase(world, job)
    erased(world, job)
    folder = world.services.archive.folder(job.id, job.created_at)
    world.s3.delete_object(Bucket=BUCKET, Key=f"{folder}manifest.json")  # even then
    world.redis.flushdb()
    report = recovery.recover(world.services)

    assert job.id not in [found.id for found in report.put_back]
    assert report.ended
    assert world.ledger.get(job.id) is None
    world.redis.flushdb()  # the journal has jobs of other tests too


def test_jobs_are_erased_by_themselves_after_so_many_days(open_world: Callable[..., World]) -> None:
    world = open_world(RUSHES_ERASE_AFTER_DAYS="2", RUSHES_RETENTION_S="259200")
    job = ended(world)
    world.advance(2 * DAY_S - 60)
    world.exhaust()
    kept = world.job(job.id)
    world.advance(120)
    after = erased(world, job)
    world.advance(DAY_S)
    world.exhaust()

    assert (kept.erase_asked_at, "prompt" in kept.request) == (None, True)
    assert places_of(world, job.id, *SECRETS) == []
    assert "erasure requested" in [note.what for note in after.history]
    assert world.ledger.get(job.id) is None


def test_a_job_stays_until_it_is_erased_although_its_retention_is_over(open_world: Callable[..., World]) -> None:
    job = ended(open_world())
    world = open_world(RUSHES_ERASE_AFTER_DAYS="9")  # the job ended before that was set
    world.advance(7 * DAY_S + 60)
    world.exhaust()
    kept = world.ledger.get(job.id)
    world.advance(2 * DAY_S)
    world.exhaust()

    assert kept
    assert kept.erase_asked_at is None
    assert world.ledger.get(job.id) is None
    assert world.bucket(job).keys() == {"manifest.json"}
    assert "erased_at" in world.manifest(job)["job"]


def test_a_clip_that_a_frozen_worker_put_there_afterwards_goes_with_the_job(world: World) -> None:
    job = ended(world)
    asked_to_erase(world, job)
    erased(world, job)
    assert job.result
    world.put(job.result.key, b"late")
    world.advance(7 * DAY_S + 60)
    world.exhaust()

    assert world.bucket(job).keys() == {"manifest.json"}
    assert world.ledger.get(job.id) is None


def test_money_and_counters_stay(world: World) -> None:
    job = ended(world)
    day = moment(job.created_at) or ""
    before = world.api("GET", f"/v1/usage?from={day[:10]}").json
    asked_to_erase(world, job)
    erased(world, job)

    assert world.api("GET", f"/v1/usage?from={day[:10]}").json == before
    assert replace(job.current, body=None, link=None) == world.job(job.id).current
