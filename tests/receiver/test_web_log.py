"""However talkative gunicorn is made, no key, no token and no body of a caller is in what `web` writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from factories import job_in
from real_server import Server, head, serving
from receiver_steps import KEYS, TEXT, callback_path, secret_in

from rushes.shared.domain.job import State
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.shared_clock import wall_clock

PROMPT, STRANGERS_KEY = "a prompt of acme's own", "key-of-somebody-new"


@pytest.fixture(scope="module")
def server(served_redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log: Path = tmp_path_factory.mktemp("web") / "log"
    talkative = "--log-level debug --access-logfile - --capture-output"
    away = {"REDIS_URL": served_redis_url, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}
    with serving(log, GUNICORN_CMD_ARGS=talkative, **away) as server:
        yield server


def test_nothing_secret_is_in_the_log_of_requests(server: Server, ledger: Ledger) -> None:
    job = job_in(State.RUNNING, {"provider": "evolink", "callback": True}, created_at=wall_clock(), route=("evolink",))
    ledger.create(job)
    path = callback_path(job)
    stranger = {"Authorization": f"Bearer {STRANGERS_KEY}"}

    statuses = [
        server.call("POST", "/v1/jobs", {**TEXT, "prompt": PROMPT}).status,
        server.call("POST", "/v1/jobs", {**TEXT, "prompt": PROMPT, "colour": PROMPT}).status,
        server.call("GET", f"/v1/jobs?api_key={STRANGERS_KEY}&token={STRANGERS_KEY}", tenant=None, **stranger).status,
        server.call("POST", path, {"status": "completed", "id": "task-1"}, None).status,
        server.call("POST", path + "/elsewhere", b"{", None).status,
        server.exchange([head("POST", path, None, {"Content-Length": "-5"})]).status,
        server.exchange([b"POST " + path.encode() + b" nothing\r\n\r\n"]).status,
    ]

    assert statuses == [202, 422, 401, 200, 404, 400, 400]
    written = server.log.read_text("utf-8")
    assert f"/callbacks/evolink/{job.id}/…" in written  # requests are told of
    assert [word for word in (PROMPT, STRANGERS_KEY, secret_in(path), *KEYS.values()) if word in written] == []
