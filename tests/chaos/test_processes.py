"""The whole stack under siege: `CHAOS_JOBS` jobs, `CHAOS_SECONDS` of blows, `CHAOS_SEED`."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_length import number
from siege import Siege, run_siege

JOBS, SECONDS, SEED = number("CHAOS_JOBS", 12), number("CHAOS_SECONDS", 10), number("CHAOS_SEED", 0)
PATIENCE_S = 600 + JOBS


@pytest.mark.timeout(SECONDS + PATIENCE_S + 300)
def test_whatever_is_killed_no_job_is_lost_and_none_is_paid_for_twice(tmp_path: Path) -> None:
    with Siege(tmp_path, SEED) as siege:
        score = run_siege(siege, JOBS, SECONDS, PATIENCE_S)

    print(f"\nseed {SEED}\n{score.table()}")
    assert score.faults == {}
    assert score.ends["completed"] > JOBS // 2
