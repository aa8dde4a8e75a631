"""How many connections a batch of calls opens."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from client_steps import HELLO, LONG_S, OURS, Serve, get, post
from fault_server import Peer, keeping

from rushes.shared.domain.http_messages import Request, Response
from rushes.shared.http import HttpClient, multi

COUNT = 40


def are_answered(client: HttpClient, requests: Sequence[Request]) -> bool:
    """Whether each of them is answered once."""
    results = [result for group in client.send_all(requests, deadline_s=LONG_S) for result in group]
    assert sorted(index for index, _ in results) == [*range(len(requests))]
    return all(isinstance(outcome, Response) for _, outcome in results)


def together(peer: Peer, barrier: threading.Barrier) -> None:
    """Answer only once all calls are there."""
    peer.read_request()
    barrier.wait(LONG_S)
    peer.send_bytes(OURS)
    peer.wait()


def test_a_quick_server_gets_all_calls_over_a_few_connections(
    serve: Serve, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multi, "WIDEN_S", LONG_S)
    server = serve(keeping(HELLO))

    for _ in range(2):
        assert are_answered(client, [get(server.url)] * COUNT)

    assert (server.connections, len(server.requests)) == (multi.WIDTH, 2 * COUNT)


def test_a_slow_server_gets_all_calls_at_once(serve: Serve, client: HttpClient) -> None:
    barrier = threading.Barrier(COUNT)
    server = serve(lambda peer: together(peer, barrier))

    assert are_answered(client, [get(server.url)] * COUNT)


def test_a_paid_call_waits_for_no_other(serve: Serve, client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multi, "WIDEN_S", LONG_S)
    barrier = threading.Barrier(COUNT)
    server = serve(lambda peer: together(peer, barrier))

    assert are_answered(client, [post(server.url)] * COUNT)
    assert len(server.requests) == COUNT


def test_calls_that_were_not_started_by_the_deadline_were_not_sent(
    serve: Serve, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multi, "WIDEN_S", LONG_S)
    server = serve(lambda peer: peer.wait())

    groups = client.send_all([get(server.url)] * COUNT, deadline_s=0.3)
    outcomes = dict(result for group in groups for result in group)

    assert len(outcomes) == COUNT
    assert [outcomes[index] for index in range(multi.WIDTH, COUNT)] == [None] * (COUNT - multi.WIDTH)
