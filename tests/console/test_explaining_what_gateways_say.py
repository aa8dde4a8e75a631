"""What the page of a job says when its gateway is over its rate, gave no link, or one that is not fetched."""

from __future__ import annotations

from typing import Any

import pytest
from factories import NOW, SECOND, job, job_in
from receiver_steps import Web

from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import State
from rushes.webhook_receiver.console.explanations import explain


@pytest.mark.parametrize(
    ("route", "words"), [(("apimart", "evolink"), "In 8 s evolink may take it"), (("apimart",), "")]
)
def test_who_waits_for_a_gateway_over_its_rate_reads_which_other_may_take_it_and_when(
    web: Web, route: tuple[str, ...], words: str
) -> None:
    web.parts.ledger.gateways.strike("apimart", Reason.RATE, 300, web.parts.now())
    waiting = job(route=route, created_at=web.parts.now())
    explained = explain(waiting, web.parts, waiting.created_at + 22 * SECOND)

    assert explained
    assert "rate limited" in explained.problem
    assert ("may take it" in explained.problem, words in explained.problem) == (bool(words), True)


@pytest.mark.parametrize(
    ("state", "note", "words"),
    [
        (State.RUNNING, ("no link", "the gateway says completed but gave no link"), "gave no link"),
        (State.ARCHIVING, ("link refused", "we do not fetch the gateway's link: an odd port"), "RUSHES_EGRESS_ALLOW"),
    ],
)
def test_a_clip_that_cannot_be_fetched_is_explained(web: Web, state: State, note: Any, words: str) -> None:
    explained = explain(job_in(state).noted(NOW, *note), web.parts, NOW + SECOND)

    assert explained
    assert words in f"{explained.problem} {explained.next_step}"
