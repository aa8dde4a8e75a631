"""The examples, each run against one stack: it prints what its docstring says."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from textwrap import dedent

import pytest

from rushes.deploy.sandbox.testing import running_sandbox

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
# That one starts a sandbox of its own; test_testing_plugin.py runs it.
PROGRAMS = sorted({*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.sh")} - {*EXAMPLES.glob("test_*.py")})
VARIABLE = {
    r"\b(job|batch|bulk)_[0-9A-HJKMNP-TV-Z]{26}\b": r"\1_ID",
    r"\b\d{4}/\d\d/\d\d/": "DAY/",
    r"\b\d{4}-\d\d-\d\dT[\d:.]+Z": "TIME",
}
LINES_MAX, RUN_MAX_S = 110, 240


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What `. .rushes/env` reads, of a stack that runs."""
    data = tmp_path_factory.mktemp("stack")
    with running_sandbox(data):
        yield data / "env"


def normalized(text: str) -> list[str]:
    for pattern, name in VARIABLE.items():
        text = re.sub(pattern, name, text)
    return text.splitlines()


def promised(program: Path) -> list[str]:
    """The lines behind `It prints`; one in brackets may be missing."""
    text = program.read_text(encoding="utf-8")
    if program.suffix == ".sh":
        comments = takewhile(lambda line: line.startswith("#"), text.splitlines()[1:])
        text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in comments)
    block = re.search(r"^It prints.*:\n\n((?:    .+\n?)+)", text, re.MULTILINE)
    assert block, f"{program.name} does not say what it prints"
    return normalized(dedent(block[1]))


def fits(printed: list[str], lines: list[str]) -> bool:
    """Whether this was printed; the lines in brackets may be missing."""
    pattern = "".join(
        f"(?:{re.escape(line[1:-1])}\n)?" if line.startswith("[") else f"{re.escape(line)}\n" for line in lines
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in printed)) is not None


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_an_example_prints_what_it_says(program: Path, environment: Path, tmp_path: Path) -> None:
    interpreter = "sh" if program.suffix == ".sh" else sys.executable
    script = f'. "{environment}"; PATH="{Path(sys.executable).parent}:$PATH"; exec "{interpreter}" "{program}"'
    ran = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=RUN_MAX_S, check=False
    )

    assert ran.returncode == 0, ran.stderr
    assert fits(normalized(ran.stdout), promised(program)), ran.stdout


def test_examples_are_short_and_stand_in_the_table() -> None:
    table = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    files = [*PROGRAMS, *EXAMPLES.glob("test_*.py")]

    assert [file.name for file in files if f"]({file.name})" not in table] == []
    assert [file.name for file in files if len(file.read_text(encoding="utf-8").splitlines()) > LINES_MAX] == []
