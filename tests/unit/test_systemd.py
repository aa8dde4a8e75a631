"""The units of deploy/systemd: systemd takes them, and lets the processes do little."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest
from test_containers import COMPOSE, seconds

DEPLOY = Path(__file__).parents[2] / "deploy"
PROCESSES = ("web", "worker", "scheduler")


def systemd_analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = shutil.which("systemd-analyze") or pytest.skip("no systemd-analyze")
    return subprocess.run([command, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units where Rushes is installed: systemd looks whether the commands are there."""
    programs = tmp_path / "opt" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "gunicorn"):
        (programs / name).symlink_to("/bin/true")
    for unit in (DEPLOY / "systemd").iterdir():
        text = unit.read_text("utf-8").replace("/opt/rushes/bin", str(programs))
        (tmp_path / unit.name).write_text(text, "utf-8")
    return tmp_path


def test_systemd_takes_each_unit(units: Path) -> None:
    paths = sorted(str(path) for path in units.glob("rushes*"))
    assert len(paths) == 4
    done = systemd_analyze("verify", "--man=no", "--recursive-errors=no", *paths)
    assert [line for line in done.stderr.splitlines() if "rushes" in line] == []
    assert done.returncode == 0


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_may_do_little(units: Path, name: str) -> None:
    # Of 10: a plain service has 9.6.
    done = systemd_analyze("security", "--offline=yes", "--threshold=20", str(units / f"rushes-{name}.service"))
    assert done.returncode == 0, done.stdout[-300:]


@pytest.mark.parametrize("name", PROCESSES)
def test_a_unit_runs_what_the_procfile_runs_and_gives_it_time_to_end(name: str) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(DEPLOY / "systemd" / f"rushes-{name}.service", "utf-8")
    lines = dict(line.split(": ", 1) for line in (DEPLOY / "Procfile").read_text("utf-8").splitlines())
    assert unit["Service"]["ExecStart"] == f"/opt/rushes/bin/{lines[name]}"
    assert int(unit["Service"]["TimeoutStopSec"]) >= seconds(COMPOSE[name]["stop_grace_period"])
