"""The client by itself: what it sends, what it sends again, and whose settings it follows."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from certificates import self_signed

import rushes.client
from rushes.shared.client import (
    ApiError,
    Client,
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    RateLimited,
    Unauthorized,
    Unavailable,
    Unreachable,
    transport,
)

JOB = {"id": "job_1", "status": "queued", "progress": 0, "provider": None}
Answer = tuple[int, dict[str, str], bytes]
HANG_UP: Answer = (0, {}, b"")


def answer(status: int = 200, body: Any = JOB, **headers: str) -> Answer:
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(body).encode()


class Scripted(ThreadingHTTPServer):
    """Gives one answer after the other, the last for ever, and notes what it was asked."""

    daemon_threads = True
    answers: list[Answer]
    calls: list[tuple[str, str, dict[str, str], bytes]]

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class _Handler(BaseHTTPRequestHandler):
    server: Scripted

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.calls.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        status, headers, content = self.server.answers.pop(0) if self.server.answers[1:] else self.server.answers[0]
        if not status:
            return
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


Script = Callable[..., Scripted]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    running: list[Scripted] = []

    def start(*answers: Answer) -> Scripted:
        server = Scripted(("127.0.0.1", 0), _Handler)
        server.answers, server.calls = list(answers), []
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client would have waited between its tries; one that another test left in a thread really waits."""
    found: list[float] = []
    here = threading.current_thread()

    def sleep(seconds: float) -> None:
        found.append(seconds) if threading.current_thread() is here else time.sleep(seconds)

    monkeypatch.setattr(transport, "time", SimpleNamespace(sleep=sleep))
    return found


# --- what stands on it


def test_it_imports_nothing_of_the_server() -> None:
    """Of all that is installed only requests, and what requests needs itself, may be imported."""
    code = """
import sys, sysconfig
from pathlib import Path
import requests
known = set(sys.modules)
import rushes.shared.client
site = [Path(path) for path in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}]
new = {name.partition(".")[0] for name in set(sys.modules) - known} - {"rushes"}
foreign = {n for n in new if any((path / n).exists() or (path / f"{n}.py").exists() for path in site)}
print(sorted(foreign), sorted(name for name in sys.modules if name.startswith("rushes.shared.")))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = [
        f"rushes.shared.client{name}" for name in ("", ".client", ".documents", ".errors", ".events", ".transport")
    ]
    assert ran.stdout.strip() == f"[] {modules}"


SERVER = ("celery", "kombu", "redis", "hiredis", "flask", "flask_smorest", "marshmallow", "boto3", "botocore", "pycurl")
SERVERS = (*SERVER, "gunicorn", "structlog", "prometheus_client", "orjson", "rich", "click")


def test_it_works_where_nothing_of_the_server_can_be_imported(scripted: Script) -> None:
    server = scripted(answer(202))
    code = f"""
import sys
sys.modules.update(dict.fromkeys({SERVERS!r}))
from rushes.shared.client import Client
with Client({server.url!r}, "key") as client:
    print(client.submit({{"model": "kling-v3"}}, "order-17")["id"])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "job_1\n"


def test_the_type_only_file_shows_every_public_name() -> None:
    text = (Path(__file__).parents[1] / "typing" / "client.py").read_text("utf-8")
    calls = [name for name in vars(Client) if not name.startswith("_")]
    assert [name for name in (*rushes.client.__all__, *calls) if name not in text] == []


# --- what it sends


def test_a_call_says_who_asks_and_what(scripted: Script) -> None:
    server = scripted(answer(202))
    with Client(server.url + "/", "ключ") as client:
        assert client.submit({"prompt": "красный змей"}, "заказ-17") == JOB

    ((method, path, headers, body),) = server.calls
    assert (method, path, json.loads(body)) == ("POST", "/v1/jobs", {"prompt": "красный змей"})
    assert headers["authorization"].encode("latin-1").decode() == "Bearer ключ"
    assert headers["idempotency-key"].encode("latin-1").decode() == "заказ-17"
    assert headers["user-agent"].startswith("rushes-client/")
    assert headers["content-type"] == "application/json"


def test_filters_are_passed_on_page_by_page(scripted: Script) -> None:
    server = scripted(
        answer(body={"data": [JOB], "next_cursor": "a b"}), answer(body={"data": [], "next_cursor": None})
    )

    assert list(Client(server.url, "k").list(status="failed", provider=None, **{"metadata.shot": "1"})) == [JOB]
    assert [path for _, path, _, _ in server.calls] == [
        "/v1/jobs?limit=100&status=failed&metadata.shot=1",
        "/v1/jobs?limit=100&status=failed&metadata.shot=1&cursor=a+b",
    ]


def test_an_id_is_no_way_to_another_call(scripted: Script) -> None:
    server = scripted(answer())
    Client(server.url, "k").get("../gateways?x=/")
    assert server.calls[0][1] == "/v1/jobs/..%2Fgateways%3Fx%3D%2F"


# --- what it raises


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *[(status, InvalidRequest) for status in (400, 413, 415, 422)],
        *[(401, Unauthorized), (403, Forbidden), (404, NotFound), (409, Conflict), (429, RateLimited)],
        *[(status, Unavailable) for status in (502, 503, 504)],
        *[(410, NotFound), (500, ApiError)],
    ],
)
def test_each_refusal_has_a_type(scripted: Script, status: int, kind: type[Exception]) -> None:
    envelope = {"error": {"code": "a_code", "message": "A message.", "fields": {"prompt": ["Too long."]}}}
    server = scripted(answer(status, envelope))

    with pytest.raises(kind) as told:
        Client(server.url, "k", retries=0).get("job_1")

    assert type(told.value) is kind
    if isinstance(told.value, ApiError):
        assert (told.value.status, told.value.code, told.value.message) == (status, "a_code", "A message.")
        assert "prompt: Too long." in str(told.value)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"job"', b"\xff", b'{"error": "text"}', b'{"error": null}'])
@pytest.mark.parametrize("status", [400, 404, 500])
def test_a_refusal_in_anothers_words_is_a_refusal_all_the_same(scripted: Script, status: int, body: bytes) -> None:
    with pytest.raises(ApiError) as told:
        Client(scripted((status, {}, body)).url, "k").get("job_1")
    assert told.value.status == status


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"\xff"])
def test_what_is_not_the_services_answer_is_no_job(scripted: Script, body: bytes) -> None:
    with pytest.raises(ApiError, match="does not answer as Rushes does"):
        Client(scripted((200, {}, body)).url, "k").get("job_1")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_post_that_is_sent_on_is_not_made_a_get(scripted: Script, status: int) -> None:
    server = scripted(answer(status, {}, Location="https://rushes.example/v1/jobs"))
    with pytest.raises(ApiError, match=r"https://rushes\.example/v1/jobs: use that address"):
        Client(server.url, "k").submit({})
    assert len(server.calls) == 1


def test_the_clips_address_is_read_and_not_followed(scripted: Script) -> None:
    server = scripted(answer(302, {}, Location="https://bucket.example/clip?signature=x"))
    assert Client(server.url, "k").content_url("job_1") == "https://bucket.example/clip?signature=x"


def test_no_password_of_an_address_is_in_an_error(scripted: Script) -> None:
    with pytest.raises(Unreachable) as told:
        Client("http://us:s3cr3t@127.0.0.1:1", "k", retries=0).get("job_1")
    assert "s3cr3t" not in str(told.value)


# --- what it sends again


def test_what_may_be_sent_twice_is_sent_again(scripted: Script, pauses: list[float]) -> None:
    for call in (lambda client: client.get("job_1"), lambda client: client.submit({}, "order-17")):
        server = scripted(HANG_UP, answer(503, {}), answer())
        assert call(Client(server.url, "k")) == JOB
        assert len(server.calls) == 3
    assert len(pauses) == 4


@pytest.mark.parametrize("first", [HANG_UP, answer(503, {}), answer(503, {}, Retry_After="1"), answer(504, {})])
def test_a_post_without_a_key_is_sent_once(scripted: Script, pauses: list[float], first: Answer) -> None:
    server = scripted(first, answer())
    with pytest.raises(Unreachable):
        Client(server.url, "k").submit({})
    assert (len(server.calls), pauses) == (1, [])


@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_that_the_service_names_is_kept(scripted: Script, pauses: list[float], status: int) -> None:
    server = scripted(answer(status, {}, Retry_After="7"), answer())
    assert Client(server.url, "k").get("job_1") == JOB
    assert pauses == [7]


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (503, Unavailable)])
def test_a_pause_that_is_too_long_is_left_to_the_caller(
    scripted: Script, pauses: list[float], status: int, kind: type[RateLimited | Unavailable]
) -> None:
    server = scripted(answer(status, {}, Retry_After="3600"), answer())
    with pytest.raises(kind) as told:
        Client(server.url, "k").get("job_1")
    assert (told.value.retry_after_s, pauses) == (3600, [])


def test_a_429_that_names_no_pause_and_a_refusal_are_final(scripted: Script, pauses: list[float]) -> None:
    for status, headers in ((429, {}), (429, {"Retry_After": "soon"}), (404, {}), (500, {})):
        server = scripted(answer(status, {}, **headers), answer())
        with pytest.raises(ApiError):
            Client(server.url, "k").get("job_1")
        assert len(server.calls) == 1
    assert pauses == []


def test_after_as_many_tries_as_it_was_given_it_gives_up(scripted: Script, pauses: list[float]) -> None:
    server = scripted(HANG_UP)
    with pytest.raises(Unreachable):
        Client(server.url, "k", retries=4).get("job_1")
    assert len(server.calls) == 5


# --- whose settings it follows


def test_a_session_of_the_callers_is_used_and_left_open(scripted: Script) -> None:
    class Noting(requests.Session):
        closed = False

        def close(self) -> None:
            self.closed = True

    session, server = Noting(), scripted(answer())
    session.headers["X-Team"] = "films"
    with Client(server.url, "k", session=session) as client:
        client.get("job_1")
    assert server.calls[0][2]["x-team"] == "films"
    assert not session.closed


def test_netrc_does_not_take_the_keys_place(scripted: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password word\n", "utf-8")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    server = scripted(answer())
    Client(server.url, "k").get("job_1")
    assert server.calls[0][2]["authorization"] == "Bearer k"


def test_the_environments_proxy_is_asked(scripted: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = scripted(answer())
    monkeypatch.setenv("http_proxy", proxy.url)
    assert Client("http://rushes.example", "k").get("job_1") == JOB
    assert proxy.calls[0][1] == "http://rushes.example/v1/jobs/job_1"


def test_no_proxy_is_asked_for_this_machine_itself(scripted: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    server = scripted(answer())
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for host in ("127.0.0.1", "localhost"):
        assert Client(f"http://{host}:{server.port}", "k", retries=0).get("job_1") == JOB


def test_the_authorities_of_the_environment_are_believed(
    scripted: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authorities, context = self_signed("localhost", tmp_path)
    server = scripted(answer())
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = f"https://localhost:{server.port}"
    with pytest.raises(Unreachable):
        Client(url, "k", retries=0).get("job_1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", authorities)
    assert Client(url, "k", retries=0).get("job_1") == JOB


def test_a_service_that_says_nothing_is_waited_for_as_long_as_was_said() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as silent:  # takes calls and never looks
        url = f"http://127.0.0.1:{silent.server_address[1]}"
        with pytest.raises(Unreachable, match="ReadTimeout"):
            Client(url, "k", timeout=(5, 0.05), retries=0).get("job_1")


# --- streams of events


def stream(*jobs: dict[str, Any]) -> Answer:
    lines = "".join(
        f"id: {n}\nevent: status\ndata: {json.dumps(job, ensure_ascii=False)}\n\n" for n, job in enumerate(jobs)
    )
    return 200, {"Content-Type": "text/event-stream"}, lines.encode()


def test_an_event_holds_whatever_json_may_hold(scripted: Script) -> None:
    job = {**JOB, "status": "failed", "metadata": {"a": "one\u2028two\u0085three\u000bfour: five"}}
    (event,) = Client(scripted(stream(job)).url, "k").events("job_1")
    assert event.job == job


def test_where_no_stream_is_left_the_client_waits_for_one(scripted: Script) -> None:
    server = scripted(answer(429, {}), answer(429, {}), stream({**JOB, "status": "failed"}))
    (event,) = Client(server.url, "k").events("job_1", pause_s=0.01)
    assert event.job["status"] == "failed"

    with pytest.raises(Unreachable, match="no stream left"):
        next(Client(scripted(answer(429, {})).url, "k").events("job_1", pause_s=0.01, patience_s=0.05))
