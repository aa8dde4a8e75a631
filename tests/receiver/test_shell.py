"""The Jobs API from a shell and from Python, against the receiver as it is served."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from factories import job_in, result
from real_server import Server, serving
from receiver_steps import KEYS, MOTION, TEXT, without

from deploy.sandbox.ready import free_ports, wait_until
from shared.cli import main
from shared.client import ApiError, Client, Unreachable
from shared.domain import events
from shared.domain.job import Job, State
from shared.domain.pace import Pace
from shared.ledger.ledger import Ledger
from shared.ledger.redis_store import RedisStore, connect
from shared.wiring import clock

Rushes = Callable[..., Result]


@pytest.fixture(scope="module")
def server(served_redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("web") / "log"
    with serving(log, REDIS_URL=served_redis_url, AWS_ENDPOINT_URL_S3="http://127.0.0.1:1") as server:
        yield server


@pytest.fixture(scope="module")
def ledger(served_redis_url: str) -> Ledger:
    return Ledger(RedisStore(connect(served_redis_url, timeout_s=5)), Pace())


@pytest.fixture
def client(server: Server) -> Client:
    return Client.connect(server.url + "/", KEYS["acme"])


@pytest.fixture
def rushes(server: Server) -> Rushes:
    def run(*words: str, key: str = KEYS["acme"], url: str = "", stdin: str | None = None) -> Result:
        env = {"RUSHES_URL": url or server.url, "RUSHES_API_KEY": key}
        return CliRunner().invoke(main, list(words), env=env, input=stdin)

    return run


def standing(ledger: Ledger, state: State, **changes: Any) -> Job:
    now = clock()
    made = job_in(state, {"submitted_at": now}, created_at=now, **changes)
    ledger.create(made)
    return made


def refused(ran: Result, code: str, *words: str) -> None:
    """Exit 2, one line on standard error that begins with the code, a line for each field, nothing else."""
    assert (ran.exit_code, ran.stdout) == (2, "")
    first, *fields = ran.stderr.splitlines()
    assert first.startswith(f"error: {code}: ")
    assert [word for word in words if word not in ran.stderr] == []
    assert all(line.startswith("  ") for line in fields)


# --- submit


FLAGS = ("--model", "kling-v3", "--prompt", "a red kite", "--duration", "7", "--sound", "--provider", "newapi")


def test_a_job_is_submitted_by_flags_and_its_id_is_all_that_is_said(rushes: Rushes, client: Client) -> None:
    ran = rushes("submit", *FLAGS)

    assert (ran.exit_code, ran.stderr) == (0, "")
    job = client.get(ran.stdout.strip())
    told = {name: job["request"][name] for name in ("model", "prompt", "duration", "sound", "provider")}
    assert told == {"model": "kling-v3", "prompt": "a red kite", "duration": 7, "sound": True, "provider": "newapi"}


def test_a_job_is_submitted_from_a_file_and_flags_go_before_it(rushes: Rushes, client: Client, tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_text(json.dumps({**TEXT, "prompt": "красный змей", "metadata": {"shot": "1"}, "mode": "std"}), "utf-8")

    by_file = client.get(rushes("submit", str(file), "--mode", "pro").stdout.strip())
    by_pipe = client.get(rushes("submit", "-", stdin=file.read_text("utf-8")).stdout.strip())

    assert (by_file["request"]["mode"], by_file["request"]["prompt"]) == ("pro", "красный змей")
    assert (by_pipe["request"]["mode"], by_pipe["metadata"]) == ("std", {"shot": "1"})


def test_a_refusal_is_a_line_for_each_field(rushes: Rushes) -> None:
    refused(rushes("submit", "--model", "kling-v3", "--duration", "99"), "invalid_request", "prompt: ", "duration: ")
    refused(rushes("submit", *FLAGS, "--max-cost-usd", "0.01"), "no_provider", "newapi: its price is unknown")
    refused(rushes("submit", *FLAGS, key="key-of-nobody"), "unauthorized")
    refused(rushes("submit", *FLAGS, key=""), "unauthorized")


def test_the_same_key_gives_the_same_job(rushes: Rushes) -> None:
    first = rushes("submit", *FLAGS, "--idempotency-key", "shell-1").stdout

    assert rushes("submit", *FLAGS, "--idempotency-key", "shell-1").stdout == first
    refused(rushes("submit", *FLAGS, "--mode", "pro", "--idempotency-key", "shell-1"), "idempotency_conflict")


@pytest.mark.parametrize("text", ["", "{", "[]", '"kling-v3"', "{'model': 1}", "[" * 100_000, '{"model": NaN}'])
def test_a_file_that_holds_no_job_is_told_without_a_trace(rushes: Rushes, tmp_path: Path, text: str) -> None:
    file = tmp_path / "job.json"
    file.write_text(text, "utf-8")

    ran = rushes("submit", str(file))

    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "Traceback" not in ran.stderr
    assert "rror: " in ran.stderr
    assert isinstance(ran.exception, SystemExit)


def test_a_file_that_is_not_there_or_not_text_is_told(rushes: Rushes, tmp_path: Path) -> None:
    (tmp_path / "job.json").write_bytes(b'{"prompt": "\xff"}')

    for name in ("job.json", "nothing.json"):
        ran = rushes("submit", str(tmp_path / name))
        assert (ran.exit_code, isinstance(ran.exception, SystemExit)) == (2, True)
        assert name in ran.stderr


# --- show, list, watch, retry, estimate


def test_a_job_is_shown_as_json(rushes: Rushes, client: Client) -> None:
    job = client.submit(TEXT)

    ran = rushes("show", job["id"])

    assert (ran.exit_code, json.loads(ran.stdout)) == (0, job)


@pytest.mark.parametrize("job_id", ["job_01ARZ3NDEKTSV4RRFFQ69G5FAV", "../gateways", "a/b", "?limit=1", "é", "%"])
def test_what_is_no_job_is_told(rushes: Rushes, job_id: str) -> None:
    for command in ("show", "watch", "retry"):
        refused(rushes(command, job_id), "not_found")


def test_jobs_are_listed_with_their_whole_ids(rushes: Rushes, client: Client) -> None:
    made = [client.submit(TEXT)["id"] for _ in range(3)]

    table = rushes("list")
    page = json.loads(rushes("list", "--json", "--limit", "2").stdout)

    assert table.exit_code == 0
    assert [job_id for job_id in made if job_id not in table.stdout] == []
    assert [job["id"] for job in page["data"]] == [made[2], made[1]]
    assert page["next_cursor"] == made[1]


def test_a_list_is_filtered(rushes: Rushes, ledger: Ledger) -> None:
    failed = standing(ledger, State.FAILED)

    page = json.loads(rushes("list", "--json", "--status", "failed", "--provider", "apimart", "--limit", "1").stdout)

    assert [job["id"] for job in page["data"]] == [failed.id]
    refused(rushes("list", "--status", "done"), "invalid_request", "status: ")
    refused(rushes("list", "--provider", "kling"), "invalid_request", "provider: ")
    refused(rushes("list", "--limit", "0"), "invalid_request", "limit: ")


def test_a_watched_jobs_end_is_the_exit_code(rushes: Rushes, ledger: Ledger, client: Client) -> None:
    done, failed = standing(ledger, State.COMPLETED, result=result()), standing(ledger, State.FAILED)

    assert (rushes("watch", done.id).exit_code, rushes("watch", failed.id).exit_code) == (0, 1)
    assert json.loads(rushes("watch", failed.id).stdout) == client.get(failed.id)


def test_a_job_is_waited_for(server: Server, ledger: Ledger) -> None:
    env = {"RUSHES_URL": server.url, "RUSHES_API_KEY": KEYS["other"], "PATH": "/usr/bin:/bin"}
    program = Path(sys.executable).with_name("rushes")
    waiting = subprocess.Popen([program, "submit", *FLAGS, "--wait"], env=env, stdout=subprocess.PIPE)
    wait_until(lambda: bool(ledger.newest("other", 1)), 30, "the job")
    (job,) = ledger.newest("other", 1)
    assert waiting.poll() is None

    ledger.apply(job.id, events.Canceled(), clock())
    told, _ = waiting.communicate(timeout=30)

    assert (waiting.returncode, json.loads(told)["status"]) == (1, "canceled")


def test_a_failed_job_is_tried_again(rushes: Rushes, ledger: Ledger, client: Client) -> None:
    request = {**TEXT, "mode": "std", "duration": 5}
    job = standing(ledger, State.FAILED, attempts=(), request=request, route=("newapi",))

    ran = rushes("retry", job.id)

    assert ran.exit_code == 0
    assert client.get(ran.stdout.strip())["retry_of"] == job.id
    refused(rushes("retry", ran.stdout.strip()), "not_retryable")


def test_an_estimate_is_a_table_or_json(rushes: Rushes, client: Client, tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_text(json.dumps(MOTION), "utf-8")

    table, told = rushes("estimate", str(file)), rushes("estimate", str(file), "--json")

    assert json.loads(told.stdout) == client.estimates(MOTION)
    assert [name for name in ("evolink", "apimaster", "apimart") if name not in table.stdout] == []
    refused(rushes("estimate", "--model", "kling-v3"), "invalid_request", "prompt: ")


def test_a_service_that_does_not_answer_is_exit_3(rushes: Rushes) -> None:
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"

    for words in (("submit", *FLAGS), ("list",), ("show", "job_1"), ("estimate", *FLAGS)):
        ran = rushes(*words, url=url)
        assert (ran.exit_code, ran.stdout) == (3, "")
        assert ran.stderr.startswith(f"error: {url} does not answer: ")
        assert len(ran.stderr.splitlines()) == 1


def test_the_program_itself_ends_with_a_line_and_a_code(server: Server) -> None:
    env = {"RUSHES_URL": server.url, "RUSHES_API_KEY": "key-of-nobody", "PATH": "/usr/bin:/bin"}

    program = Path(sys.executable).with_name("rushes")
    ran = subprocess.run([program, "list"], env=env, capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.splitlines() == ["error: unauthorized: Give a key of this service as a bearer token."]


# --- from Python


def test_the_client_submits_looks_lists_and_cancels(client: Client) -> None:
    job = client.submit(TEXT, "python-1")

    assert client.submit(TEXT, "python-1") == job == client.get(job["id"])
    assert client.page(limit=1)["data"] == [job]
    assert client.page(limit=1, status="queued", provider=None)["data"] == [job]
    assert client.cancel(job["id"])["status"] == "canceled"
    assert client.wait(job["id"])["status"] == "canceled"


def test_the_client_tells_a_refusal_as_the_contract_does(client: Client) -> None:
    with pytest.raises(ApiError) as told:
        client.submit(without(TEXT, "prompt"))

    assert (told.value.status, told.value.code, list(told.value.fields)) == (422, "invalid_request", ["prompt"])
    with pytest.raises(ApiError) as told:
        client.get("job_1")
    assert (told.value.status, told.value.code) == (404, "not_found")


def test_the_client_follows_each_change(client: Client, ledger: Ledger) -> None:
    job = standing(ledger, State.RUNNING)
    told = client.follow(job.id, every_s=0.01)

    assert next(told)["status"] == "running"
    ledger.apply(job.id, events.Progressed(60), clock())
    assert next(told)["progress"] == 60
    ledger.apply(job.id, events.Failed(events.Reason.INPUT, "no"), clock())
    assert next(told)["status"] == "failed"
    assert list(told) == []


def test_the_client_is_patient_only_as_long_as_it_is_told(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with pytest.raises(Unreachable):
        next(Client.connect(f"http://127.0.0.1:{port}", "k").follow("job_1", every_s=0.01, patience_s=0.05))

    with serving(tmp_path / "log") as server:  # its Redis is nowhere
        with pytest.raises(Unreachable):
            Client.connect(server.url, KEYS["acme"]).submit(TEXT)
        assert Client.connect(server.url, KEYS["acme"]).estimates(TEXT)


@pytest.mark.parametrize("url", ["nowhere", "http://", "ftp://x", "http://[", "http://127.0.0.1:99999", "http://a b"])
def test_an_address_that_is_none_is_unreachable(url: str) -> None:
    with pytest.raises(Unreachable):
        Client.connect(url, "k").page()
