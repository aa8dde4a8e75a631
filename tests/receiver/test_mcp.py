"""`rushes mcp`, asked by the reference client over stdio."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from real_server import Server
from receiver_steps import KEYS, TEXT

from rushes.shared.client import Client
from rushes.shared.domain import events
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.shared_clock import wall_clock

PROGRAM = Path(sys.executable).with_name("rushes")
JOB = {**TEXT, "provider": "kling"}

Call = Callable[..., Awaitable[Any]]


def with_agent(server: Server, work: Callable[[Call], Awaitable[None]], max_usd: str = "5") -> None:
    """Let an agent work; it is given a function that calls a tool: the value, or the text of the error."""
    from mcp import Client as McpClient  # here, because every process of the tests collects this file, and it takes 1 s
    from mcp import StdioServerParameters

    env = {"RUSHES_URL": server.url, "RUSHES_API_KEY": KEYS["acme"], "PATH": "/usr/bin:/bin"}
    command = StdioServerParameters(command=str(PROGRAM), args=["mcp", "--max-usd", max_usd], env=env)

    async def session() -> None:
        async with McpClient(command) as agent:

            async def call(name: str, **arguments: Any) -> Any:
                result = await agent.call_tool(name, arguments)
                if result.is_error:
                    return result.content[0].text  # type: ignore[union-attr]
                value = result.structured_content or {}
                return value["result"] if value.keys() == {"result"} else value

            assert {tool.name for tool in (await agent.list_tools()).tools} == {
                "models", "estimate", "submit", "job", "jobs"
            }  # fmt: skip
            await work(call)

    with ThreadPoolExecutor(1) as thread:  # a browser that tests of this process use has its loop in the main thread
        thread.submit(lambda: asyncio.run(session())).result()


def test_an_agent_looks_estimates_and_submits_and_its_repeat_pays_once(server: Server, client: Client) -> None:
    async def work(call: Call) -> None:
        assert "kling-v3" in {model["id"] for model in await call("models")}
        estimate = await call("estimate", job=JOB)
        assert [each["estimated_cost_usd"] for each in estimate["gateways"] if each["able"]] == ["0.42"]
        first = await call("submit", estimate_id=estimate["estimate_id"], job=JOB)
        again = await call("submit", estimate_id=estimate["estimate_id"], job=JOB)
        assert (again["id"], first["request"]["max_cost_usd"]) == (first["id"], "0.42")
        assert (await call("job", job_id=first["id"]))["status"] == "queued"
        assert [each["id"] for each in await call("jobs", status="queued")] == [first["id"]]

    with_agent(server, work)
    assert len(client.page()["data"]) == 1


def test_a_session_spends_no_more_than_its_cap(server: Server, ledger: Ledger) -> None:
    async def work(call: Call) -> None:
        ids = [(await call("estimate", job=JOB))["estimate_id"] for _ in range(4)]
        taken = [await call("submit", estimate_id=estimate_id, job=JOB) for estimate_id in ids[:2]]
        assert "over the session's cap" in await call("submit", estimate_id=ids[2], job=JOB)
        ledger.apply(taken[0]["id"], events.Canceled(), wall_clock())  # it costs nothing after all
        assert (await call("submit", estimate_id=ids[2], job=JOB))["status"] == "queued"
        assert (await call("submit", estimate_id=ids[0], job=JOB))["id"] == taken[0]["id"]
        assert "over the session's cap" in await call("submit", estimate_id=ids[3], job=JOB)

    with_agent(server, work, "1.00")


def test_a_mistake_is_told_in_words_and_reserves_nothing(server: Server) -> None:
    async def work(call: Call) -> None:
        assert "prompt" in await call("estimate", job={"model": "kling-v3"})
        assert "call `estimate` first" in await call("submit", estimate_id="mine", job=JOB)
        assert "no such job" in await call("job", job_id="job_1")
        unpriced = {**TEXT, "provider": "newapi"}
        assert "unknown price" in await call("submit", estimate_id="est_1", job=unpriced)
        odd = {**JOB, "callback_url": "https://10.0.0.1/"}
        assert "callback_url" in await call("submit", estimate_id="est_2", job=odd)
        assert (await call("estimate", job=JOB))["left_of_session_cap_usd"] == "5"

    with_agent(server, work)


@pytest.fixture
def client(server: Server) -> Client:
    return Client.connect(server.url, KEYS["acme"])
