"""Tables that fit the terminal: what matters less is left out, and no word is broken."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rushes.shared.cli.output import as_json, json_option, print_result

WIDE, CSV = "rushes.wide", "rushes.csv"
# Wider than any row: nothing is left out or wrapped.
UNLIMITED = 10_000
# A wrapped column narrower than this is hard to read.
MIN_WRAPPED = 20
EMPTY = "-"
STATUS_STYLES = {"completed": "green", "failed": "red", "unconfirmed": "yellow", "canceled": "dim"}

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    name: str
    importance: int = 0
    """0 stays; of the others the one with the greatest number is left out first where the terminal is too narrow."""
    wraps: bool = False
    """Whether its cells may take several lines, broken between words."""
    right: bool = False


def table_options(command: Command) -> Command:
    """`--json`, `--csv` and `--wide`, for a command that prints a table."""
    for name, key, text in (
        ("--wide", WIDE, "Print every column, whole."),
        ("--csv", CSV, "Print every column as CSV."),
    ):
        command = click.option(
            name,
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=lambda ctx, _, value, key=key: ctx.meta.__setitem__(key, value) if value else None,
            help=text,
        )(command)
    return json_option(command)


def is_whole() -> bool:
    """Whether values are printed whole: with `--wide` or `--csv`."""
    meta = click.get_current_context().meta
    return bool(meta.get(WIDE) or meta.get(CSV))


def is_csv() -> bool:
    """Whether the command has `--csv`, and no `--json`."""
    return bool(click.get_current_context().meta.get(CSV)) and not as_json()


def print_table(value: Any, columns: Sequence[Column], rows: Iterable[Sequence[Any]], empty: str = "") -> None:
    """Print rows as a table, with `--csv` as CSV; with `--json` print the value instead.

    Where there are no rows, a table is one line: `empty`.
    """
    found = [[_cell(cell) for cell in row] for row in rows]
    if as_json():
        print_result(value)
    elif is_csv():
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([[column.name for column in columns], *found])
    elif not found and empty:
        click.echo(empty)
    else:
        _print(columns, [[cell or EMPTY for cell in row] for row in found])


def _cell(cell: Any) -> str:
    return "" if cell is None else str(cell)


def _print(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    console = Console(highlight=False, width=UNLIMITED if is_whole() else None)
    shown = _fitting(columns, rows, console.width)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number in shown:
        column = columns[number]
        table.add_column(
            column.name, no_wrap=not column.wraps, overflow="fold", justify="right" if column.right else "left"
        )
    for row in rows:
        table.add_row(*(_styled(columns[number].name, row[number]) for number in shown))
    console.print(table)


def _styled(name: str, cell: str) -> Text:
    return Text(cell, STATUS_STYLES.get(cell.partition(" ")[0], "") if name == "status" else "")


def _fitting(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """The numbers of the columns that hold something and fit into the width."""
    widths = [max(len(cell) for cell in (column.name, *cells)) for column, *cells in zip(columns, *rows, strict=True)]
    needed = [min(own, MIN_WRAPPED) if column.wraps else own for column, own in zip(columns, widths, strict=True)]
    shown = [number for number in range(len(columns)) if is_whole() or any(row[number] != EMPTY for row in rows)]
    for number in sorted(shown, key=lambda each: -columns[each].importance):
        if sum(needed[each] + 2 for each in shown) - 2 <= width or not columns[number].importance:
            break
        shown.remove(number)
    return shown
