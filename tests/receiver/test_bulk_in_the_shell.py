"""Filters and bulk actions from a shell, against the receiver as it is served. No worker runs here."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result
from real_server import Server
from receiver_steps import KEYS, TEXT

from rushes.shared.cli.main import main
from rushes.shared.client import Client

Rushes = Callable[..., Result]


@pytest.fixture
def client(server: Server) -> Client:
    return Client.connect(server.url, KEYS["acme"])


@pytest.fixture
def rushes(server: Server) -> Rushes:
    env = {"RUSHES_URL": server.url, "RUSHES_API_KEY": KEYS["acme"]}
    return lambda *words, stdin=None: CliRunner().invoke(main, list(words), env=env, input=stdin)


@pytest.fixture
def batch(client: Client) -> str:
    """Three jobs under one word."""
    word = uuid.uuid4().hex
    for order in ("17", "18", "19"):
        client.submit({**TEXT, "batch": word, "metadata": {"order": order}})
    return word


def test_jobs_are_listed_by_every_filter(rushes: Rushes, client: Client, batch: str) -> None:
    flags = (
        "--batch",
        batch,
        "--metadata",
        "order=18",
        "--model",
        "kling-v3",
        "--status",
        "queued",
        "--from",
        "2026-01-01",
    )
    listed = json.loads(rushes("list", *flags, "--json").stdout)["data"]

    assert [job["metadata"]["order"] for job in listed] == ["18"]
    assert [job["id"] for job in client.list(batch=batch, **{"metadata.order": "18"})] == [listed[0]["id"]]
    assert rushes("list", "--metadata", "order").exit_code == 2
    assert rushes("list", "--from", "yesterday").exit_code == 2


def test_a_bulk_action_is_counted_and_confirmed_first(rushes: Rushes, client: Client, batch: str) -> None:
    counted = rushes("bulk", "cancel", "--batch", batch, "--dry-run")
    refused = rushes("bulk", "cancel", "--batch", batch, stdin="n\n")
    none = [each for each in client.list_bulk() if each["filter"].get("batch") == batch]
    begun = rushes("bulk", "cancel", "--batch", batch, "--yes", "--no-wait", "--json")

    assert counted.stdout == "3 jobs fit. It costs nothing.\n"
    assert (refused.exit_code, none) == (1, [])
    shown = client.get_bulk(json.loads(begun.stdout)["id"])
    assert (shown["status"], shown["matched"], shown["filter"]) == ("running", 3, {"batch": batch})
    assert f"{shown['id']} is aborted after 0 jobs" in rushes("bulk", "abort", shown["id"]).stdout
    assert json.loads(rushes("bulk", "show", shown["id"]).stdout)["status"] == "aborted"
    assert shown["id"] in json.dumps(json.loads(rushes("bulk", "list", "--json").stdout))
    assert rushes("bulk", "retry").exit_code == 2


def test_a_job_is_erased_once_it_has_ended(rushes: Rushes, client: Client, batch: str) -> None:
    job = next(client.list(batch=batch))
    early = rushes("erase", job["id"], "--yes")
    client.cancel(job["id"])
    gone = rushes("erase", job["id"], "--yes")

    assert (early.exit_code, gone.stdout) == (2, f"{job['id']} is being erased\n")
    assert "prompt" not in client.get(job["id"])["request"]


def test_every_bulk_command_speaks_json() -> None:
    commands = main.commands["bulk"].commands  # type: ignore[attr-defined]
    assert [name for name, command in commands.items() if not any("--json" in o.opts for o in command.params)] == []
