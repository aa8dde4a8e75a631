"""`rushes batch` and its like, and the client's methods, against the receiver as it is served."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from real_server import Server
from receiver_steps import KEYS, TEXT

from rushes.shared.cli.main import main
from rushes.shared.client import ApiError, Client
from rushes.shared.domain import events
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.shared_clock import wall_clock

Rushes = Callable[..., Result]


@pytest.fixture
def client(server: Server) -> Client:
    return Client.connect(server.url, KEYS["acme"])


@pytest.fixture
def rushes(server: Server) -> Rushes:
    def run(*words: str) -> Result:
        env = {"RUSHES_URL": server.url, "RUSHES_API_KEY": KEYS["acme"]}
        return CliRunner().invoke(main, list(words), env=env)

    return run


def lines(path: Path, *jobs: Any) -> str:
    path.write_text("\n\n".join(map(json.dumps, jobs)) + "\n", "utf-8")
    return str(path)


@pytest.fixture
def file(tmp_path: Path) -> str:
    return lines(tmp_path / "jobs.jsonl", TEXT, {**TEXT, "prompt": "красный змей"})


def ended(client: Client, ledger: Ledger, batch_id: str) -> None:
    for job_id in client.get_batch(batch_id)["job_ids"]:
        ledger.apply(job_id, events.Canceled(), wall_clock())


def test_a_file_is_submitted_whole_and_the_id_is_all_that_is_said(rushes: Rushes, client: Client, file: str) -> None:
    ran = rushes("batch", file, "--max-cost-usd", "2.50")

    assert (ran.exit_code, ran.stderr) == (0, "")
    batch = client.get_batch(ran.stdout.strip())
    assert (batch["jobs"], batch["max_cost_usd"]) == (2, "2.50")
    assert client.get(batch["job_ids"][1])["request"]["prompt"] == "красный змей"


def test_the_same_key_gives_the_same_batch(rushes: Rushes, file: str) -> None:
    first = rushes("batch", file, "--idempotency-key", "batch-1").stdout
    assert rushes("batch", file, "--idempotency-key", "batch-1").stdout == first
    assert rushes("batch", file).stdout != rushes("batch", file).stdout


def test_a_refusal_names_each_job_by_its_index(rushes: Rushes, tmp_path: Path) -> None:
    ran = rushes("batch", lines(tmp_path / "jobs.jsonl", TEXT, {**TEXT, "duration": 99}))
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "jobs.1.duration" in ran.stderr


def test_a_line_that_is_no_object_is_named(rushes: Rushes, tmp_path: Path) -> None:
    path = tmp_path / "jobs.jsonl"
    path.write_text('{"model": "kling-v3"}\n\n[]\n', "utf-8")
    ran = rushes("batch", str(path))
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "line 3: not a JSON object" in ran.stderr


def test_a_batch_is_watched_to_its_receipt(rushes: Rushes, client: Client, ledger: Ledger, file: str) -> None:
    batch_id = rushes("batch", file).stdout.strip()
    still = rushes("watch", batch_id, "--timeout", "0")
    ended(client, ledger, batch_id)
    ran = rushes("watch", batch_id, "--json")

    assert (still.exit_code, ran.exit_code) == (4, 1)
    batch = json.loads(ran.stdout)
    assert [line["status"] for line in batch["receipt"]] == ["canceled", "canceled"]
    assert "2/2" in rushes("watch", batch_id).stderr


def test_a_batch_is_shown_and_canceled_as_a_job_is(rushes: Rushes, client: Client, file: str) -> None:
    batch_id = rushes("batch", file).stdout.strip()
    assert json.loads(rushes("show", batch_id).stdout)["counts"]["queued"] == 2
    assert rushes("cancel", batch_id).stdout == f"{batch_id}: 2 canceled\n"
    page = json.loads(rushes("batches", "--limit", "1", "--json").stdout)
    assert [each["id"] for each in page["data"]] == [batch_id]
    assert client.batch_page(limit=1, cursor=page["next_cursor"])["data"][0]["id"] < batch_id


def test_from_python_a_batch_is_taken_once_per_key(client: Client) -> None:
    first = client.submit_batch([TEXT, TEXT], "order-7", metadata={"order": "7"})
    assert client.submit_batch([TEXT, TEXT], "order-7", metadata={"order": "7"})["id"] == first["id"]
    assert first["metadata"] == {"order": "7"}
    with pytest.raises(ApiError) as refused:
        client.submit_batch([TEXT], "order-7")
    assert refused.value.code == "idempotency_conflict"


def test_a_thousand_jobs_are_taken_in_one_request(client: Client, ledger: Ledger) -> None:
    made = client.submit_batch([{**TEXT, "prompt": f"take {number}"} for number in range(1000)], "thousand")
    assert made["counts"]["queued"] == 1000
    assert len({*made["job_ids"]}) == 1000
    assert client.cancel_batch(made["id"])["counts"]["canceled"] == 1000
