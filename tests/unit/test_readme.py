"""What the README names is there: files, settings, commands, metrics' files and make's targets."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from rushes.shared.cli.main import main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "deploy" / "examples" / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=["README", "examples"])
def test_every_link_leads_to_a_file(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))

    assert targets
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_setting_is_one() -> None:
    named = set(re.findall(r"`([A-Z][A-Z0-9_]+_[A-Z0-9_]+)`", PAGES[0].read_text(encoding="utf-8")))
    known = (ROOT / "deploy" / "env.example").read_text(encoding="utf-8")

    assert "RUSHES_SECRET_KEY" in named
    assert {name for name in named if not re.search(rf"^#? ?{name}=", known, re.MULTILINE)} == set()


def test_every_command_and_its_options_are_there() -> None:
    text = PAGES[0].read_text(encoding="utf-8")
    lines = re.findall(r"(?:`|^)rushes ([a-z][^`\n]*)", text, re.MULTILINE)
    # As in "`rushes list`, `batches`, `show ID`".
    rows = re.findall(r"^\| (`rushes [^|]+)\|", text, re.MULTILINE)
    named = {*lines, *(words.removeprefix("rushes ") for row in rows for words in re.findall(r"`([^`]+)`", row))}

    assert {"submit job.json --wait", "batches"} <= named
    for line in named:
        command = main.commands.get(line.split()[0])
        assert isinstance(command, click.Command), line
        options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)} | {"--help"}
        assert set(re.findall(r"--[a-z-]+", line)) <= options, line


def test_every_target_of_make_is_there() -> None:
    targets = set(re.findall(r"(?:`|^)make ([a-z]+)\b", PAGES[0].read_text(encoding="utf-8"), re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert {"demo", "up"} <= targets
    assert {target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)} == set()
