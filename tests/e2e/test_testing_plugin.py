"""The fixtures for users' own tests, in a pytest of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

USERS_TESTS = """
import time

import pytest

@pytest.fixture(scope="session")
def rushes_settings():
    return {"RUSHES_UNCONFIRMED": "hold"}

JOB = {"model": "kling-v2-6", "prompt": "a red kite"}

def test_a_job_in_doubt_is_waited_for(rushes_sandbox):
    rushes_sandbox.fault("apimodels", "answer_lost")
    rushes_sandbox.fault("apimodels", "no_callback")
    job = rushes_sandbox.client.submit({**JOB, "provider": "apimodels"})
    assert rushes_sandbox.wait(job["id"], "unconfirmed")["attempts"][0]["task_id"] is None
    assert [bill["gateway"] for bill in rushes_sandbox.bills()] == ["apimodels"]
    with pytest.raises(TimeoutError, match="unconfirmed"):
        rushes_sandbox.wait(job["id"], timeout_s=0)

def test_the_next_test_begins_anew(rushes_sandbox):
    rushes_sandbox.fault("apimart", "http_500", times=-1)
    rushes_sandbox.reset()
    assert rushes_sandbox.bills() == []
    assert rushes_sandbox.run(**JOB, provider="apimart")["status"] == "completed"
    assert (len(rushes_sandbox.bills("apimart")), rushes_sandbox.violations()) == (1, [])

def test_an_empty_account_is_told(rushes_sandbox):
    rushes_sandbox.set_balance("apimart", "0")
    job = rushes_sandbox.client.submit({**JOB, "provider": "apimart"})
    while not next(row for row in rushes_sandbox.client.gateways() if row["name"] == "apimart")["paused_until"]:
        time.sleep(0.05)
    assert rushes_sandbox.client.get(job["id"])["status"] == "queued"
    rushes_sandbox.reset()
    assert rushes_sandbox.wait(job["id"])["status"] == "completed"
    with pytest.raises(ValueError, match="fault is one of"):
        rushes_sandbox.fault("apimart", "no_such_fault")
"""


def run_pytest(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "rushes.testing", "-p", "no:cacheprovider", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_users_tests_switch_faults_on_and_read_the_books(tmp_path: Path) -> None:
    file = tmp_path / "test_users_service.py"
    file.write_text(USERS_TESTS)

    ran = run_pytest(str(file), str(ROOT / "deploy" / "examples" / "test_with_the_sandbox.py"), f"--rootdir={tmp_path}")

    assert ran.returncode == 0, ran.stdout
    assert "6 passed" in ran.stdout


def test_the_plugin_costs_nothing_where_nobody_asks_for_it() -> None:
    code = "import rushes.testing, sys; print({'boto3', 'celery', 'flask', 'honcho', 'requests'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout == "set()\n"
