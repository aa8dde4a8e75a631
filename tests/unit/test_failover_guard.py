"""The guard of submits after a failover: from when on the journal is read, and what it tells the ledger."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from factories import DAY, MINUTE, NOW, POLICY

from rushes.shared.domain.schedule import Policy
from rushes.worker import failover_guard
from rushes.worker.failover_guard import MARGIN_S, FailoverGuard


class Continuity:
    """A ledger that is whole on this server, and what it is told."""

    def __init__(self, afterlooks: dict[int, int]) -> None:
        self.marked: list[int] = []
        self.dropped: list[dict[int, int]] = []
        self._afterlooks = afterlooks

    def server(self) -> str:
        return "here"

    def mark(self) -> dict[str, str]:
        return {"server": "here", "at": f"{NOW}"}

    def set_mark(self, server: str, now: int) -> None:
        self.marked.append(now)

    def afterlooks(self) -> dict[int, int]:
        return self._afterlooks

    def drop_afterlooks(self, due: dict[int, int]) -> None:
        self.dropped.append(due)


def guard(continuity: Any = None, policy: Policy = POLICY) -> tuple[FailoverGuard, list[str]]:
    """The guard, and how often it woke the schedulers."""
    woken: list[str] = []
    ledger = SimpleNamespace(continuity=continuity, wake=lambda: woken.append("woken"))
    services: Any = SimpleNamespace(ledger=ledger, settings=SimpleNamespace(journal=True, policy=policy))
    return FailoverGuard(services), woken


@pytest.mark.parametrize(("job_timeout_s", "days"), [(POLICY.job_timeout_s, 7), (10 * 86_400, 11)])
def test_an_empty_ledger_is_filled_with_all_that_may_still_run_and_all_keys_that_are_known(
    job_timeout_s: float, days: int
) -> None:
    subject, _ = guard(policy=replace(POLICY, job_timeout_s=job_timeout_s))
    assert subject._complete_until({}, NOW) == NOW - days * DAY


def test_one_with_an_old_mark_is_read_from_a_while_before_it() -> None:
    subject, _ = guard()
    assert subject._complete_until({"server": "there", "at": f"{NOW}"}, NOW + DAY) == NOW - MARGIN_S * 1000


def test_the_mark_is_renewed_at_each_check_and_schedulers_are_woken_at_the_first() -> None:
    continuity = Continuity({})
    subject, woken = guard(continuity)
    for minute in range(3):
        subject.check(NOW + minute * MINUTE)

    assert continuity.marked == [NOW, NOW + MINUTE, NOW + 2 * MINUTE]
    assert (woken, subject.open) == (["woken"], True)


def test_of_several_second_looks_that_are_due_one_reads_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    continuity, read = Continuity({NOW - 2: NOW - DAY, NOW: NOW - 2 * DAY, NOW + 1: NOW - 3 * DAY}), list[int]()
    monkeypatch.setattr(failover_guard, "recover", lambda services, since: read.append(since))
    guard(continuity)[0].check(NOW)

    assert read == [NOW - 2 * DAY]
    assert continuity.dropped == [{NOW - 2: NOW - DAY, NOW: NOW - 2 * DAY}]
