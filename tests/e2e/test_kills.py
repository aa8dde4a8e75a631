"""kill -9 of any one process at any moment: the job still completes, billed once."""

from __future__ import annotations

import os
import signal
from collections import Counter
from contextlib import suppress

import pytest
from whole_stack import Site


def kill(site: Site, name: str) -> None:
    """kill -9 of the process and, for a server with children, of those too."""
    pid = site.stack.processes()[name]
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL) if name == "web" else os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("state", ["queued", "running", "archiving"])
@pytest.mark.parametrize("victim", ["worker", "scheduler", "web", "redis", "gateways"])
def test_a_killed_process_loses_no_job_and_pays_for_none_twice(site: Site, victim: str, state: str) -> None:
    jobs = [] if victim in ("gateways", "worker") else [site.text(f"{victim}-{state}-text")]
    # A gateway or a worker that dies with a submit in its hands may or may not have taken or sent it. Where no
    # idempotency key is honoured, that is held for an operator, and rightly: of these two other moments are tried.
    if victim == "worker" and state != "queued":
        jobs.append(site.text(f"{victim}-{state}-text"))
        site.wait_for(jobs[0], "running", "archiving")
    jobs.append(site.motion(f"{victim}-{state}-motion"))

    site.wait_for(jobs[-1], state)
    kill(site, victim)

    ended = [site.wait(job) for job in jobs]
    assert [job["status"] for job in ended] == ["completed"] * len(jobs)
    tasks = {attempt["task_id"] for job in ended for attempt in job["attempts"] if attempt["task_id"]}
    billed = Counter(bill["task_id"] for bill in site.books("bills") if bill["task_id"] in tasks)
    assert billed == dict.fromkeys(tasks, 1)
    assert len(tasks) == len(jobs)


def test_the_gateways_saw_nothing_that_their_documents_do_not_allow(site: Site) -> None:
    job = site.wait(site.text("rules"))

    assert job["status"] == "completed"
    assert site.books("violations") == []


def test_a_thumbnail_that_only_the_callback_told_of_lies_beside_the_clip(site: Site) -> None:
    job = site.wait(site.text("thumbnail"))

    assert job["result"]["thumbnail_key"] == job["result"]["key"].replace("video.mp4", "thumbnail.jpg")


def test_an_estimate_measures_the_reference_and_spends_nothing(site: Site) -> None:
    urls = {"image_url": f"{site.stack.inputs_url}/sample.jpg", "video_url": f"{site.stack.inputs_url}/sample.mp4"}
    before = len(site.books("bills"))

    quotes = site.client.estimates({"model": "kling-v3-motion-control", "character_orientation": "image", **urls})

    # 3.5 s of reference; EvoLink bills whole seconds.
    priced = {quote["provider"]: quote["estimated_cost_usd"] for quote in quotes if quote["able"]}
    apimart, others = {"apimart": "0.36008"}, {"apimodels": "0.42", "kling": "0.441", "evolink": "0.4536"}
    assert priced == {**apimart, "apimaster": "0.36008", **others}
    assert next(iter(priced)) == "apimart"
    assert len(site.books("bills")) == before
