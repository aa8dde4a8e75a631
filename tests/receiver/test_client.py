"""The client from Python: typed, patient, and deaf to no event however its connections end."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from factories import job_in
from real_server import Server
from receiver_steps import KEYS, TEXT

from rushes.shared.client import ApiError, Client, Unreachable
from rushes.shared.client import client as calls
from rushes.shared.domain import events
from rushes.shared.domain.job import Job, State
from rushes.shared.intake.job_document import document
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.shared_clock import wall_clock


@pytest.fixture
def client(server: Server) -> Client:
    return Client.connect(server.url, KEYS["other"])


def standing(ledger: Ledger, state: State) -> Job:
    now = wall_clock()
    made = job_in(state, {"submitted_at": now}, created_at=now, tenant="other")
    ledger.create(made)
    return made


# --- against the receiver as it is served


def test_jobs_are_listed_page_by_page(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [client.submit(TEXT)["id"] for _ in range(5)]
    whole = Client.page
    monkeypatch.setattr(Client, "page", lambda self, **query: whole(self, **{**query, "limit": 2}))

    assert [job["id"] for job in client.list()] == made[::-1]
    assert [job["id"] for job in client.list(status="failed")] == []


def test_an_unconfirmed_submit_is_resolved(client: Client, ledger: Ledger) -> None:
    found, lost = standing(ledger, State.UNCONFIRMED), standing(ledger, State.UNCONFIRMED)

    assert client.resolve(found.id, "adopt", "task-7")["status"] == "running"
    assert client.resolve(lost.id, "fail")["status"] == "failed"
    with pytest.raises(ApiError) as told:
        client.resolve(lost.id, "fail")
    assert told.value.code == "not_unconfirmed"


def test_who_waits_too_long_is_told(client: Client, ledger: Ledger) -> None:
    job = standing(ledger, State.RUNNING)

    with pytest.raises(TimeoutError, match="is still running"):
        client.wait(job.id, timeout_s=0)
    ledger.apply(job.id, events.Failed(events.Reason.INPUT, "no"), wall_clock())
    assert client.wait(job.id, timeout_s=0)["status"] == "failed"


def test_events_are_told_as_they_happen_until_the_end(client: Client, ledger: Ledger) -> None:
    job = standing(ledger, State.RUNNING)
    told = client.events(job.id)

    assert next(told).job["status"] == "running"
    ledger.apply(job.id, events.Progressed(60), wall_clock())
    half = next(told)
    assert (half.kind, half.job["progress"]) == ("progress", 60)
    ledger.apply(job.id, events.Failed(events.Reason.INPUT, "no"), wall_clock())
    assert next(told).job["status"] == "failed"
    assert list(told) == []


def test_a_stream_that_falls_silent_is_taken_up_where_it_was(
    client: Client, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "SILENCE_S", 1)  # the server is silent for longer
    job = standing(ledger, State.RUNNING)
    stream, streamed = client.events(job.id, pause_s=0.01), Client._streamed
    first = next(stream)

    def again(self: Client, job_id: str, last_id: str) -> Any:
        ledger.apply(job.id, events.Progressed(60), wall_clock())
        taken_up.append(last_id)
        return streamed(self, job_id, last_id)

    taken_up: list[str] = []
    monkeypatch.setattr(Client, "_streamed", again)
    assert (first.job["progress"], next(stream).job["progress"]) == (0, 60)
    assert taken_up == [first.id]


def test_a_job_that_is_not_there_has_no_events(client: Client) -> None:
    with pytest.raises(ApiError) as told:
        next(client.events("job_1"))
    assert told.value.status == 404


# --- against a service whose connections break


class Broken(ThreadingHTTPServer):
    """Answers each call with the next of these texts, and hangs up; notes what it was told to go on from."""

    daemon_threads = True

    def __init__(self, *texts: str) -> None:
        super().__init__(("127.0.0.1", 0), _Stream)
        self.texts, self.last_ids = list(texts), list[str]()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Stream(BaseHTTPRequestHandler):
    server: Broken

    def do_GET(self) -> None:
        self.server.last_ids.append(self.headers["Last-Event-ID"])
        text = self.server.texts.pop(0)
        self.send_response(200 if text else 503)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def broken(*texts: str) -> Iterator[Broken]:
    with Broken(*texts) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def event(version: int, state: State) -> str:
    told = json.dumps(document(job_in(state)))
    return f"id: {version}-{state}-0\nevent: status\ndata: {told}\n\n"


HERE = "retry: 1000\n: here\n\n"


@pytest.mark.parametrize("cut", [0, 1, 20, 200, -2, -1])
def test_an_event_that_was_cut_is_heard_once_and_whole(cut: int) -> None:
    first, last = event(1, State.RUNNING), event(2, State.FAILED)
    with broken(HERE + first + last[:cut], "", HERE, HERE + last) as server:
        told = [one.id for one in Client.connect(server.url, "k").events("job_1", pause_s=0.01)]

    assert told == ["1-running-0", "2-failed-0"]
    assert server.last_ids == ["", "1-running-0", "1-running-0", "1-running-0"]


def test_a_service_that_stays_away_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    with broken(HERE + event(1, State.RUNNING)) as server:
        told = Client.connect(server.url, "k").events("job_1", pause_s=0.01, patience_s=0.1)
        assert next(told).job["status"] == "running"
        server.shutdown()
        server.server_close()
        with pytest.raises(Unreachable):
            next(told)
