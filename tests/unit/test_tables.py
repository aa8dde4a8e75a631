"""Tables in a shell: what matters less is left out, and no word is broken."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta

import click
import pytest
from click.testing import CliRunner

from rushes.shared.cli import short_forms
from rushes.shared.cli.tables import Column, print_table, table_options

COLUMNS = (
    Column("id"),
    Column("status", importance=1),
    Column("note", importance=2),
    Column("why", wraps=True),
    Column("empty", importance=3),
)
ROWS = [
    ("8PAPKWZ16W", "completed", "x" * 30, "the gateway did not say what it takes for this", None),
    ("8PAPEMXBCD", "running 45 %", "short", None, None),
]


@click.command()
@table_options
def table() -> None:
    print_table({"rows": len(ROWS)}, COLUMNS, ROWS)


def shown(columns: int, *flags: str) -> str:
    ran = CliRunner().invoke(table, list(flags), env={"COLUMNS": str(columns)})
    assert (ran.exit_code, ran.stderr) == (0, "")
    return ran.stdout


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_no_line_is_longer_than_the_terminal_and_no_word_is_broken(columns: int) -> None:
    text = shown(columns)

    assert max(len(line.rstrip()) for line in text.splitlines()) <= columns
    assert {"id", "why", ROWS[0][0], *str(ROWS[0][3]).split()} <= set(text.split())


def test_the_least_important_column_goes_first() -> None:
    assert "note" in shown(100).split("\n")[0]
    assert ("note" in shown(60), "status" in shown(60)) == (False, True)
    assert ("status" in shown(36), "id" in shown(36)) == (False, True)


def test_a_column_that_holds_nothing_is_left_out_but_where_all_is_asked_for() -> None:
    assert "empty" not in shown(200)
    assert "empty" in shown(80, "--wide")


def test_wide_is_whole_whatever_the_terminal() -> None:
    text = shown(40, "--wide")
    assert len(text.splitlines()) == 1 + len(ROWS)
    assert "x" * 30 in text


def test_csv_has_every_column_and_json_the_value() -> None:
    rows = list(csv.reader(io.StringIO(shown(40, "--csv"))))
    assert rows == [[column.name for column in COLUMNS], *[["" if c is None else c for c in row] for row in ROWS]]
    assert json.loads(shown(40, "--json")) == {"rows": 2}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (0, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (7200, "2 h"), (200_000, "2 d")],
)
def test_a_length_of_time_is_told_in_its_greatest_unit(seconds: float, text: str) -> None:
    assert short_forms.length(seconds) == text


def test_an_age_is_relative() -> None:
    @click.command()
    def command() -> None:
        click.echo(short_forms.age((datetime.now(UTC) - timedelta(hours=3, minutes=1)).isoformat()))

    assert CliRunner().invoke(command).stdout == "3 h\n"
