"""The Jobs API from a shell and from Python, against the receiver as it is served."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from factories import NOW, job_in, result
from patience import PATIENCE_S, wait_until
from real_server import Server, head, serving
from receiver_steps import KEYS, MOTION, TEXT, without

from rushes.deploy.sandbox.ports import free_ports
from rushes.shared.cli.job_options import WORDS
from rushes.shared.cli.main import main
from rushes.shared.client import ApiError, Client, Unreachable
from rushes.shared.domain import events, ids
from rushes.shared.domain.balances import Balance
from rushes.shared.domain.job import Job, State
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.shared_clock import wall_clock
from rushes.webhook_receiver import jobs_api

Rushes = Callable[..., Result]
PROGRAM = Path(sys.executable).with_name("rushes")


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
    now = wall_clock()
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


def test_jobs_are_listed_and_their_short_ids_are_taken_everywhere(
    rushes: Rushes, client: Client, server: Server
) -> None:
    made = [client.submit(TEXT)["id"] for _ in range(3)]

    shown = [line.split()[0] for line in rushes("list").stdout.splitlines()[1:4]]
    page = json.loads(rushes("list", "--json", "--limit", "2").stdout)

    assert shown == [ids.short(job_id) for job_id in reversed(made)]
    assert told(rushes("show", shown[2].lower(), "--json"))["id"] == made[0]
    assert rushes("cancel", shown[0]).stdout == f"{made[2]} is canceled\n"
    assert server.call("GET", f"/v1/jobs/{shown[1]}").json["id"] == made[1]
    refused(rushes("show", shown[0], key=KEYS["other"]), "not_found")
    assert [job_id for job_id in made if job_id not in rushes("list", "--wide").stdout] == []
    assert [job["id"] for job in page["data"]] == [made[2], made[1]]
    assert page["next_cursor"] == made[1]


def test_a_list_is_filtered(rushes: Rushes, ledger: Ledger) -> None:
    failed = standing(ledger, State.FAILED)

    page = json.loads(rushes("list", "--json", "--status", "failed", "--provider", "apimart", "--limit", "1").stdout)

    assert [job["id"] for job in page["data"]] == [failed.id]
    refused(rushes("list", "--status", "done"), "invalid_request", "status: ")
    refused(rushes("list", "--provider", "runway"), "invalid_request", "provider: ")
    refused(rushes("list", "--limit", "0"), "invalid_request", "limit: ")


def test_a_watched_jobs_end_is_the_exit_code(rushes: Rushes, ledger: Ledger, client: Client) -> None:
    done, failed = standing(ledger, State.COMPLETED, result=result()), standing(ledger, State.FAILED)

    assert (rushes("watch", done.id).exit_code, rushes("watch", failed.id).exit_code) == (0, 1)
    assert told(rushes("watch", failed.id, "--json")) == client.get(failed.id)
    ended_well, ended_badly = rushes("watch", done.id).stdout, rushes("watch", failed.id).stdout
    clip = client.get(done.id)["result"]
    assert clip
    assert [line for line in ended_well.splitlines() if line.endswith(f"  s3://{clip['bucket']}/{clip['key']}")]
    assert [line for line in ended_well.splitlines() if "  link   http" in line]
    assert len(ended_well.splitlines()) <= 4
    assert "  why    " in ended_badly


def test_a_job_is_waited_for(server: Server, ledger: Ledger) -> None:
    env = {"RUSHES_URL": server.url, "RUSHES_API_KEY": KEYS["other"], "PATH": "/usr/bin:/bin"}
    waiting = subprocess.Popen([PROGRAM, "submit", *FLAGS, "--wait", "--json"], env=env, stdout=subprocess.PIPE)
    wait_until(lambda: bool(ledger.overview.newest("other", 1)), "the job")
    (job,) = ledger.overview.newest("other", 1)
    assert waiting.poll() is None

    ledger.apply(job.id, events.Canceled(), wall_clock())
    told, _ = waiting.communicate(timeout=PATIENCE_S)

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

    ran = subprocess.run([PROGRAM, "list"], env=env, capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.splitlines() == ["error: unauthorized: Give a key of this service as a bearer token."]


# --- for programs


def told(ran: Result) -> Any:
    """What was printed: one line of JSON and nothing else."""
    (line,) = ran.stdout.splitlines()
    return json.loads(line)


def test_with_json_the_job_itself_is_printed(rushes: Rushes, client: Client) -> None:
    ran = rushes("submit", *FLAGS, "--json")

    assert (ran.exit_code, ran.stderr) == (0, "")
    job = told(ran)
    assert job == client.get(job["id"]) == told(rushes("show", job["id"], "--json"))
    assert told(rushes("cancel", job["id"], "--json"))["status"] == "canceled"
    assert told(rushes("watch", job["id"], "--json"))["status"] == "canceled"


def test_with_json_a_refusal_is_the_envelope(rushes: Rushes) -> None:
    ran = rushes("submit", "--model", "kling-v3", "--duration", "99", "--json")

    assert (ran.exit_code, ran.stdout) == (2, "")
    error = json.loads(ran.stderr)["error"]
    assert (error["code"], set(error["fields"])) == ("invalid_request", {"prompt", "duration"})
    assert "\n" not in error["message"]
    assert json.loads(rushes("show", "job_1", "--json").stderr)["error"]["code"] == "not_found"


def test_with_json_a_service_that_is_away_is_an_error_too(rushes: Rushes) -> None:
    (port,) = free_ports(1)

    ran = rushes("list", "--json", url=f"http://127.0.0.1:{port}")

    assert (ran.exit_code, ran.stdout, json.loads(ran.stderr)["error"]["code"]) == (3, "", "unreachable")


def test_every_command_that_asks_the_service_speaks_json() -> None:
    lacking = [
        name
        for name, command in main.commands.items()
        if name not in ("bulk", "completion", "lifecycle", "logs", "mcp")
        and not any("--json" in option.opts for option in command.params)
    ]
    assert lacking == []


def test_the_help_tells_the_exit_codes(rushes: Rushes) -> None:
    text = rushes("--help").stdout
    lines = text.partition("Commands:")[2].splitlines()  # each command is told in one whole line
    assert [line for line in lines if line.endswith("...") or len(line) > 80] == []
    assert [code for code in ("0  ", "1  ", "2  ", "3  ", "4  ", "130  ") if f"    {code}" not in text] == []


def test_nothing_is_coloured_where_nobody_looks(server: Server, client: Client) -> None:
    job = client.cancel(client.submit(TEXT)["id"])
    env = {"RUSHES_URL": server.url, "RUSHES_API_KEY": KEYS["acme"], "PATH": "/usr/bin:/bin", "TERM": "xterm-256color"}

    for words in (["list"], ["watch", job["id"]], ["gateways"], ["--help"]):
        ran = subprocess.run([PROGRAM, *words], env=env, capture_output=True, check=False)
        assert b"\x1b" not in ran.stdout + ran.stderr


# --- how long is waited


def test_a_wait_that_takes_too_long_is_exit_4_and_the_job_goes_on(rushes: Rushes, client: Client) -> None:
    ran = rushes("submit", *FLAGS, "--wait", "--timeout", "0.6", "--json")

    assert (ran.exit_code, ran.stdout) == (4, "")
    error = json.loads(ran.stderr)["error"]
    assert error["code"] == "still_waiting"
    job_id = error["message"].split()[0]
    assert client.get(job_id)["status"] == "queued"
    assert rushes("watch", job_id, "--timeout", "0").exit_code == 4
    assert rushes("events", job_id, "--timeout", "0").exit_code == 4


@contextmanager
def heeding_ctrl_c() -> Iterator[None]:
    """What is started here heeds it, also where these tests run in a shell's background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_leaves_the_job_alone_and_says_how_to_watch_it(server: Server, ledger: Ledger, client: Client) -> None:
    env = {"RUSHES_URL": server.url, "RUSHES_API_KEY": KEYS["acme"], "PATH": "/usr/bin:/bin"}
    job = standing(ledger, State.RUNNING)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with heeding_ctrl_c():
        looking = subprocess.Popen([PROGRAM, "events", job.id], env=env, **pipes)
    assert looking.stdout
    assert " running " in looking.stdout.readline()

    looking.send_signal(signal.SIGINT)
    _, said = looking.communicate(timeout=PATIENCE_S)

    assert (looking.returncode, said) == (130, f"The job goes on. To watch it again: rushes watch {job.id}\n")
    assert client.get(job.id)["status"] == "running"


def test_each_change_is_a_line(server: Server, ledger: Ledger) -> None:
    env = {"RUSHES_URL": server.url, "RUSHES_API_KEY": KEYS["acme"], "PATH": "/usr/bin:/bin"}
    job = standing(ledger, State.RUNNING)
    looking = subprocess.Popen([PROGRAM, "events", job.id, "--json"], env=env, stdout=subprocess.PIPE, text=True)
    assert looking.stdout
    assert json.loads(looking.stdout.readline())["progress"] == 0

    ledger.apply(job.id, events.Progressed(60), wall_clock())
    assert json.loads(looking.stdout.readline())["progress"] == 60
    ledger.apply(job.id, events.Failed(events.Reason.INPUT, "no"), wall_clock())
    rest, _ = looking.communicate(timeout=PATIENCE_S)

    assert (looking.returncode, json.loads(rest)["status"]) == (0, "failed")


def test_where_no_stream_is_to_be_had_the_job_is_looked_after(server: Server, rushes: Rushes, ledger: Ledger) -> None:
    waiting, job = standing(ledger, State.RUNNING), standing(ledger, State.COMPLETED, result=result())
    taken = [server.connected() for _ in range(jobs_api.STREAMS_MAX)]
    try:
        for stream in taken:  # some may be held still by those who stopped looking
            stream.sendall(head("GET", f"/v1/jobs/{waiting.id}/events"))
            assert stream.recv(12) in (b"HTTP/1.1 200", b"HTTP/1.1 429")
        assert server.call("GET", f"/v1/jobs/{waiting.id}/events").status == 429
        ran = rushes("watch", job.id, "--json")
    finally:
        for stream in taken:
            stream.close()

    assert (ran.exit_code, told(ran)["status"]) == (0, "completed")


# --- decide, and look at the service


def test_an_operator_decides_about_a_submit_in_doubt(rushes: Rushes, ledger: Ledger) -> None:
    adopted, failed = standing(ledger, State.UNCONFIRMED), standing(ledger, State.UNCONFIRMED)

    assert told(rushes("resolve", adopted.id, "adopt", "task-9", "--json"))["attempts"][0]["task_id"] == "task-9"
    assert rushes("resolve", failed.id, "fail").stdout == f"{failed.id} is failed\n"
    refused(rushes("resolve", failed.id, "fail"), "not_unconfirmed")
    refused(rushes("resolve", adopted.id, "adopt"), "invalid_request")
    assert rushes("resolve", adopted.id, "burn").exit_code == 2


def test_gateways_are_shown_paused_and_resumed(rushes: Rushes) -> None:
    refused(rushes("pause", "evolink"), "forbidden")

    assert rushes("pause", "evolink", key=KEYS["admin"]).stdout == "evolink is paused\n"
    found = {held["name"]: held for held in told(rushes("gateways", "--json"))}
    assert (found["evolink"]["why"], found["apimart"]["why"]) == ("operator", None)
    assert "evolink" in rushes("gateways").stdout
    assert told(rushes("resume", "evolink", "--json", key=KEYS["admin"]))["paused_until"] is None


def test_gateways_show_what_is_left_of_their_balances(
    rushes: Rushes, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    ledger.balances.keep("apimart", Balance(Decimal("12.5")), NOW)
    ledger.balances.keep("kling", Balance(None, Decimal(742)), NOW)
    ledger.balances.keep("newapi", Balance(None), NOW)
    table = rushes("gateways").stdout

    for cell in ("balance", "12.5 USD", "742 units", "unlimited"):
        assert cell in table


def test_models_are_a_table_of_prices_or_json(rushes: Rushes) -> None:
    told_models = told(rushes("models", "--json"))
    table = rushes("models", "--wide")

    assert [model["id"] for model in told_models][-1] == "kling-v2-6"
    assert table.exit_code == 0
    for cell in ("model", "gateway", "checked", "kling-v3", "evolink", "documented", "unknown", "2026-11-30"):
        assert cell in table.stdout


def test_usage_is_a_table_or_json(rushes: Rushes, ledger: Ledger) -> None:
    standing(ledger, State.RUNNING)

    lines = told(rushes("usage", "--json"))
    table = rushes("usage")

    assert {line["provider"] for line in lines} == {"apimart"}
    assert (table.exit_code, lines[0]["day"] in table.stdout) == (0, True)
    assert told(rushes("usage", "--json", "--from", "2020-01-01", "--to", "2020-01-02")) == []
    refused(rushes("usage", "--from", "soon"), "invalid_request", "from: ")


def test_usage_is_csv_too(rushes: Rushes, ledger: Ledger) -> None:
    header = rushes("usage", "--csv", "--to", "2020-01-01").stdout
    standing(ledger, State.RUNNING)
    header_again, *lines = rushes("usage", "--csv").stdout.splitlines()

    assert header == f"{header_again}\n"
    assert header.startswith("day,tenant,provider,jobs,")
    assert ",acme,apimart," in lines[0]
    refused(rushes("usage", "--csv", "--from", "soon"), "invalid_request", "from: ")


# --- completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_a_shell_needs_to_complete_is_printed(rushes: Rushes, shell: str) -> None:
    ran = rushes("completion", shell)
    assert (ran.exit_code, f"_RUSHES_COMPLETE={shell}_complete" in ran.stdout) == (0, True)


def completed(server: Server, *words: str) -> list[str]:
    """What bash would be offered for the last word."""
    typed = {"COMP_WORDS": " ".join(["rushes", *words]), "COMP_CWORD": str(len(words)), "PATH": "/usr/bin:/bin"}
    env = {"RUSHES_URL": server.url, "RUSHES_API_KEY": KEYS["acme"], "_RUSHES_COMPLETE": "bash_complete", **typed}
    ran = subprocess.run([PROGRAM], env=env, capture_output=True, text=True, check=False)
    return [line.partition(",")[2] for line in ran.stdout.splitlines()]


def test_commands_gateways_and_jobs_are_completed(server: Server, client: Client) -> None:
    job_id = client.submit(TEXT)["id"]

    assert completed(server, "re") == ["recover", "resolve", "resume", "retry"]
    assert completed(server, "pause", "apim") == ["apimart", "apimaster", "apimodels"]
    assert completed(server, "list", "--status", "un") == ["unconfirmed"]
    assert completed(server, "show", job_id[:-1]) == [job_id]


@pytest.mark.parametrize(
    ("name", "word"), [(name, word) for name in ("model", "mode", "aspect-ratio", "provider") for word in WORDS[name]]
)
def test_no_word_is_offered_that_the_service_refuses(rushes: Rushes, name: str, word: str) -> None:
    ran = rushes("estimate", "--model", "kling-v3", f"--{name}", word)
    fields = [line.partition(":")[0].strip() for line in ran.stderr.splitlines()[1:]]
    assert ran.exit_code == 0 or name.replace("-", "_") not in fields


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
    ledger.apply(job.id, events.Progressed(60), wall_clock())
    assert next(told)["progress"] == 60
    ledger.apply(job.id, events.Failed(events.Reason.INPUT, "no"), wall_clock())
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
