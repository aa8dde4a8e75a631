"""The page of the callbacks that named another task."""

from __future__ import annotations

import json

from console_steps import Visitor
from receiver_steps import KEYS, Web, callback_path

from rushes.shared.domain.job import Job

NAMED = {"id": "task-<b>7", "status": "completed", "results": ["https://files.example/clip.mp4?sig=hidden"]}


def stray_at(web: Web) -> Job:
    job = web.running("evolink")
    assert web.nobody.post(callback_path(job), data=json.dumps(NAMED).encode()).status_code == 200
    return job


def address(page: str, act: str) -> str:
    return page.split('action="/quarantine/')[1 if act == "replay" else 2].split('"')[0]


def test_a_callback_that_was_set_aside_is_shown_without_what_is_secret(web: Web) -> None:
    job = stray_at(web)
    page = Visitor(web.app, KEYS["acme"]).page("/quarantine")
    assert job.id in page
    assert "task-&lt;b&gt;7" in page
    assert "sig=hidden" not in page


def test_a_followed_callback_makes_its_job_due_and_leaves_the_page(web: Web) -> None:
    job, visitor = stray_at(web), Visitor(web.app, KEYS["acme"])
    answer = visitor.send("/quarantine/" + address(visitor.page("/quarantine"), "replay"))
    assert (answer.status_code, answer.location) == (303, f"/jobs/{job.id}?done=callback_replayed")
    assert web.now(job.id).nudge is not None
    assert job.id not in visitor.page("/quarantine")


def test_a_forgotten_callback_is_gone(web: Web) -> None:
    job, visitor = stray_at(web), Visitor(web.app, KEYS["acme"])
    answer = visitor.send("/quarantine/" + address(visitor.page("/quarantine"), "forget"))
    assert (answer.status_code, answer.location) == (303, "/quarantine?done=callback_deleted")
    assert job.id not in visitor.page("/quarantine")


def test_nobody_sees_what_is_anothers(web: Web) -> None:
    job = stray_at(web)
    assert job.id not in Visitor(web.app, KEYS["other"]).page("/quarantine")
