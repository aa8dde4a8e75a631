"""An agent over MCP: `rushes mcp` gives it tools to look, estimate and submit, under a cap of money a session.

An estimate's id is the idempotency key of its submit, so an agent that repeats a call pays once. Claude and others
take `{"command": "rushes", "args": ["mcp", "--max-usd", "1"]}`; here the SDK's client plays the agent. Run it beside
`rushes up`:

    . .rushes/env
    pip install 'rushes[mcp]'
    python agent_over_mcp.py

It prints:

    tools: estimate, job, jobs, models, submit
    kling takes 0.42 USD, 1 USD is left
    submitted: job_01KCB4W8Q5V2N7R9T3X6Y0ZA1B
    submitted again: the same job
    completed
    a clip for 1.26 USD: over the session's cap
"""

import asyncio
import os

from mcp import Client, StdioServerParameters

SERVER = StdioServerParameters(command="rushes", args=["mcp", "--max-usd", "1"], env=dict(os.environ))
JOB = {"model": "kling-v3", "prompt": "a heron in the reeds", "provider": "kling"}


async def main() -> None:
    """One session of an agent."""
    async with Client(SERVER) as agent:
        print("tools:", ", ".join(sorted(tool.name for tool in (await agent.list_tools()).tools)))

        estimate = (await agent.call_tool("estimate", {"job": JOB})).structured_content
        able = next(gateway for gateway in estimate["gateways"] if gateway["able"])
        print(f"{able['provider']} takes {able['estimated_cost_usd']} USD,", end=" ")
        print(f"{estimate['left_of_session_cap_usd']} USD is left")

        call = {"estimate_id": estimate["estimate_id"], "job": JOB}
        first = (await agent.call_tool("submit", call)).structured_content
        print("submitted:", first["id"])
        again = (await agent.call_tool("submit", call)).structured_content
        print("submitted again:", "the same job" if again["id"] == first["id"] else "another job")

        job = (await agent.call_tool("job", {"job_id": first["id"], "wait_s": 50})).structured_content
        print(job["status"])

        long = {**JOB, "duration": 15}
        estimate = (await agent.call_tool("estimate", {"job": long})).structured_content
        able = next(gateway for gateway in estimate["gateways"] if gateway["able"])
        refused = await agent.call_tool("submit", {"estimate_id": estimate["estimate_id"], "job": long})
        is_over = refused.is_error and "over the session's cap" in refused.content[0].text
        print(f"a clip for {able['estimated_cost_usd']} USD:", "over the session's cap" if is_over else "taken")


if __name__ == "__main__":
    asyncio.run(main())
