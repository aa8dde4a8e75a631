"""What a whole run of the benchmarks leaves behind: one line whose columns fit the head."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmarks import history, run, table
from benchmarks.run import BOTH, FURTHER, GOALS, NONE, Figure, chosen
from benchmarks.table import Row, Run, Size, at_most, below, not_measured

RUN = Run("2026-12-01 04:00", "abc1234", "2 cores, 4 GiB, made up", "0.0", "Python 3.11.7, redis 8.1.0")


def cpu(ours: float, wire: str = "HTTP") -> Row:
    row = at_most("cpu", "CPU a job", ours, 4.0, "ms", "a program", 1.5)
    return Row(**{**{name: getattr(row, name) for name in Row.__slots__}, "wire": wire})


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        head, *rest = csv.reader(file)
    assert all(len(line) == len(head) for line in rest)
    assert len(set(head)) == len(head)
    return [dict(zip(head, line, strict=True)) for line in rest]


def test_a_run_appends_one_line_with_its_figures_and_ratios(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"

    history.append([cpu(5.0), cpu(6.0, "TLS"), below("start", "start", 1.25, "s", 1.5)], RUN, path)
    history.append([cpu(5.5), cpu(6.5, "TLS"), below("start", "start", 1.5, "s", 1.5)], RUN, path)

    first, second = lines(path)
    assert (first["commit"], first["machine"], first["versions"]) == (RUN.commit, RUN.machine, RUN.versions)
    assert (first["cpu HTTP"], first["cpu HTTP ×"], first["cpu TLS ×"]) == ("5", "1.250", "1.500")
    assert (second["cpu HTTP"], second["start"]) == ("5.5", "1.5")


def test_a_new_figure_gets_columns_at_the_end_and_the_lines_before_it_have_none_there(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    history.append([cpu(5.0)], RUN, path)
    head_before = path.read_text(encoding="utf-8").splitlines()[0]

    history.append([below("ended_bytes", "an ended job", 480, "bytes", 500), cpu(5.5)], RUN, path)

    assert path.read_text(encoding="utf-8").splitlines()[0] == f"{head_before},ended_bytes"
    first, second = lines(path)
    assert (first["ended_bytes"], second["ended_bytes"], second["cpu HTTP"]) == ("", "480", "5.5")


def test_a_figure_that_was_not_measured_leaves_its_columns_empty(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    history.append([cpu(5.0)], RUN, path)

    history.append(
        [not_measured("cpu", "CPU a job", "no interpreter"), not_measured("many", "many", "broke")], RUN, path
    )

    first, second = lines(path)
    assert (second["cpu HTTP"], second["cpu HTTP ×"]) == ("", "")
    assert first.keys() == second.keys()


def test_a_figure_that_was_not_measured_is_a_row_of_the_table() -> None:
    shown = table.markdown([not_measured("cpu", "CPU a job", "no interpreter", "≤ 1.5 ×")])

    assert "| CPU a job |  | not measured: no interpreter |  |  | ≤ 1.5 × |  |" in shown


def test_a_whole_run_takes_each_figure_over_every_wire_that_it_has() -> None:
    figures = {**GOALS, **FURTHER}

    assert chosen([], quick=False, wire=None) == [(name, wire) for name, one in figures.items() for wire in one.wires]


def test_one_wire_leaves_out_no_figure_that_has_none() -> None:
    taken = dict(chosen([], quick=False, wire="TLS"))

    assert taken["cpu"] == "TLS"
    assert all(taken[name] == "" for name, one in GOALS.items() if one.wires == NONE)
    assert all(wire in ("TLS", "") for wire in taken.values())


def test_a_quick_run_takes_a_figure_over_one_wire_only() -> None:
    taken = [name for name, _ in chosen([], quick=True, wire=None)]

    assert len(taken) == len(set(taken))
    assert {name for name, one in GOALS.items() if one.in_quick} == set(taken)
    assert GOALS["cpu"].wires == BOTH


def broken(size: Size) -> list[Row]:
    raise TimeoutError("0 of 2000 manifests")


def test_a_figure_that_breaks_is_a_row_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(run.FIGURES, "cpu", Figure(broken))  # type: ignore[misc]

    (row,) = run.measured("cpu", Size(), "TLS")

    assert (row.rushes, row.wire, row.met) == ("not measured: TimeoutError", "TLS", False)


@pytest.mark.parametrize(
    ("arguments", "written"),
    [([], 1), (["--quick"], 0), (["cpu"], 0), (["--wire", "tls"], 0), (["--jobs", "100"], 0)],
)
def test_only_a_whole_run_writes_its_results(
    arguments: list[str], written: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in run.FIGURES:
        figure = Figure(lambda size: [cpu(5.0)], run.FIGURES[name].wires)
        monkeypatch.setitem(run.FIGURES, name, figure)  # type: ignore[misc]
    monkeypatch.setattr(run, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(history, "HISTORY", tmp_path / "HISTORY.csv")

    run.main(arguments)

    assert len(list(tmp_path.iterdir())) == 2 * written
    if written:
        assert len(lines(tmp_path / "HISTORY.csv")) == 1
        assert {" HTTP ", " TLS "} <= set((tmp_path / "RESULTS.md").read_text(encoding="utf-8").split("|"))
