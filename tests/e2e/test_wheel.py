"""The wheel as users install it: one top-level name, and all of it works in an empty folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("deploy", "shared", "webhook_receiver", "worker")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the files that git would ship, links as links: nothing is written into the checkout."""
    source, out = tmp_path_factory.mktemp("source") / "rushes", tmp_path_factory.mktemp("wheel")
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "Procfile"):
        shutil.copy(ROOT / name, source)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / ".src" / "rushes", source / ".src" / "rushes", symlinks=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(out), str(source)], check=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content alone; the libraries come from the environment of the tests."""
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    subprocess.run([*command, str(wheel)], check=True)
    return folder


def environment(installed: Path) -> Mapping[str, str]:
    """An installed wheel is found before the checkout that the tests run in."""
    path = os.pathsep.join([str(installed / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(installed)}


def run(installed: Path, cwd: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment(installed), cwd=cwd, capture_output=True, text=True, check=False)


def test_a_wheel_has_one_name_of_its_own(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"rushes"}
    for needed in ("shared/ledger/lua/commit.lua", "shared/providers/prices.toml", "deploy/Procfile", "py.typed"):
        assert f"rushes/{needed}" in names


def test_the_demo_runs_from_a_wheel_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    where = run(installed, tmp_path, sys.executable, "-c", "import rushes.worker; print(rushes.worker.__file__)")
    assert Path(where.stdout.strip()).is_relative_to(installed)

    demo = run(installed, tmp_path, "rushes", "demo")

    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["rushes-demo"]


WITHOUT = """
import importlib.util
import sys

EXTRA = ("av", "honcho", "moto")
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in EXTRA else find_spec(name, *rest)
from rushes.shared.cli.main import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize("command", ["demo", "up"])
def test_without_the_sandbox_extra_one_line_says_what_to_install(installed: Path, tmp_path: Path, command: str) -> None:
    ended = run(installed, tmp_path, sys.executable, "-c", WITHOUT, command)

    assert ended.returncode == 2
    assert ended.stderr == "error: av, honcho, moto not installed: pip install 'rushes[sandbox]'\n"
