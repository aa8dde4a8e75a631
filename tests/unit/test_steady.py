"""What `make steady` says of its runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests import steady

REPORT = """<testsuites><testsuite>
<testcase classname="tests.unit.test_a" name="test_well"/>
<testcase classname="tests.unit.test_a" name="test_skipped"><skipped/></testcase>
<testcase classname="tests.unit.test_a" name="test_red"><failure/></testcase>
<testcase classname="tests.unit.test_b" name="test_broken"><error/></testcase>
</testsuite></testsuites>"""


def test_what_failed_and_what_broke_is_read_from_the_report(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)

    assert steady.fallen(report) == ["tests.unit.test_a::test_red", "tests.unit.test_b::test_broken"]


def test_a_run_without_a_report_has_fallen(tmp_path: Path) -> None:
    (tmp_path / "cut.xml").write_text(REPORT[:50])

    assert [steady.fallen(tmp_path / name) for name in ("none.xml", "cut.xml")] == [[steady.NO_REPORT]] * 2


def test_what_fell_most_often_is_told_first_with_the_ways_in_which_it_fell() -> None:
    fell = {"one": Counter({"as it is": 1}), "two": Counter({"as it is": 1, "on one core": 3})}

    assert steady.told(fell).splitlines() == [
        "fell:",
        "   4 x two  (1 as it is, 3 on one core)",
        "   1 x one  (1 as it is)",
    ]
    assert steady.told({}) == "nothing fell"
