"""`rushes mcp`: an agent looks, estimates and submits, and spends no more than a cap a session.

The id of an estimate is the idempotency key of its submit: an agent that submits it again gets the same job.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import uuid4

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from rushes.shared.client import ENDED, ApiError, Client, Unreachable

INSTRUCTIONS = """Makes short AI-video clips for real money. First call `estimate`, then `submit` with its id and the
same job. Submit again with the same id after any error: it is paid for once. A clip takes minutes: ask with `job`."""
PREFIX = "est_"
LOOK_S = 1.0
WAIT_MAX_S = 50.0
# A refusal under such a status is the service's own word that nothing was accepted.
CERTAIN_BELOW = 500


class OverCap(Exception):
    """What is left of the session's cap does not pay for a job."""


@dataclass
class Session:
    """What one agent may spend: `cap_usd` over all its jobs. Estimates and jobs are known by the estimate's id."""

    client: Client
    cap_usd: Decimal
    bodies: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """What was sent for an estimate: sent again, it must be the same."""
    jobs: dict[str, str] = field(default_factory=dict)
    reserved: dict[str, Decimal] = field(default_factory=dict)

    def left_usd(self) -> Decimal:
        """What is left of the cap, after what the session's jobs cost and may still cost."""
        return self.cap_usd - sum((self._cost_usd(estimate_id) for estimate_id in self.reserved), Decimal(0))

    def _cost_usd(self, estimate_id: str) -> Decimal:
        reserved = self.reserved[estimate_id]
        if estimate_id not in self.jobs:
            return reserved
        job = self.client.get(self.jobs[estimate_id])
        if job["status"] not in ENDED:
            return reserved
        self.reserved[estimate_id] = cost = Decimal(job["cost_usd"] or 0)
        return cost

    def submit(self, estimate_id: str, job: Mapping[str, Any]) -> dict[str, Any]:
        """Submit a job under the estimate's id. Raises OverCap, ApiError, Unreachable."""
        if estimate_id not in self.bodies:
            limit = self._limit(job)
            # Written down before it is sent: where the answer is lost, the money counts as spent.
            self.bodies[estimate_id], self.reserved[estimate_id] = {**job, "max_cost_usd": str(limit)}, limit
        try:
            accepted = self.client.submit(self.bodies[estimate_id], estimate_id)
        except ApiError as error:
            if error.status < CERTAIN_BELOW and estimate_id not in self.jobs:
                del self.bodies[estimate_id], self.reserved[estimate_id]
            raise
        self.jobs[estimate_id] = accepted["id"]
        return dict(accepted)

    def _limit(self, job: Mapping[str, Any]) -> Decimal:
        """The most that a submit of the job may cost: the dearest able gateway that the cap still pays for."""
        left = self.left_usd()
        if "max_cost_usd" in job:
            left = min(left, Decimal(str(job["max_cost_usd"])))
        prices = [
            Decimal(usd) for each in self.client.estimates(job) if each["able"] and (usd := each["estimated_cost_usd"])
        ]
        paid_for = [usd for usd in prices if usd <= left]
        if not paid_for:
            cheapest = min(prices, default=None)
            raise OverCap(f"the cheapest gateway takes {cheapest or 'an unknown price'}, and {left} USD are left")
        return max(paid_for)


class Tools:
    """What the agent may call; each raises ToolError with words for it."""

    def __init__(self, session: Session) -> None:
        self._session, self._client = session, session.client

    def models(self) -> list[dict[str, Any]]:
        """List the models: operations, fields, limits, and what each gateway takes for a second or a clip."""
        with told_to_agent():
            return [dict(model) for model in self._client.models()]

    def estimate(self, job: dict[str, Any]) -> dict[str, Any]:
        """Show what a job would cost at each gateway; nothing is spent. `job` is a body of POST /v1/jobs.

        For example {"model": "kling-v3", "prompt": "a red kite over the sea", "duration": 5}.
        """
        with told_to_agent():
            found, left_usd = self._client.estimates(job), self._session.left_usd()
        names = ("provider", "able", "estimated_cost_usd", "why_not", "notes")
        gateways = [{name: dict(each)[name] for name in names} for each in found]
        return {"estimate_id": f"{PREFIX}{uuid4().hex}", "gateways": gateways, "left_of_session_cap_usd": str(left_usd)}

    def submit(self, estimate_id: str, job: dict[str, Any]) -> dict[str, Any]:
        """Submit a job: this spends money. Repeated with the same estimate_id and job, it gives the same job."""
        if not estimate_id.startswith(PREFIX):
            raise ToolError("estimate_id: call `estimate` first, and give the id that it returns")
        with told_to_agent():
            return self._session.submit(estimate_id, job)

    def job(self, job_id: str, wait_s: float = 0) -> dict[str, Any]:
        """Show a job; with wait_s (at most 50) wait so long for its end. A completed one has its clip's link."""
        give_up_at = time.monotonic() + min(wait_s, WAIT_MAX_S)
        while True:
            with told_to_agent():
                found = self._client.get(job_id)
            if found["status"] in ENDED or time.monotonic() >= give_up_at:
                return dict(found)
            time.sleep(LOOK_S)

    def jobs(self, status: str | None = None, limit: int = 20) -> list[dict[str, Any]]:
        """List the newest jobs, also those of other sessions; of one status, if one is given."""
        with told_to_agent():
            return [dict(each) for each in self._client.page(status=status, limit=limit)["data"]]


@contextmanager
def told_to_agent() -> Iterator[None]:
    """Turn errors into words for the agent."""
    try:
        yield
    except OverCap as error:
        raise ToolError(f"over the session's cap: {error}") from None
    except (ApiError, Unreachable) as error:
        raise ToolError(str(error)) from None


def make_server(client: Client, cap_usd: Decimal) -> MCPServer[Any]:
    """The server of one session, which spends no more than `cap_usd`."""
    tools = Tools(Session(client, cap_usd))
    server: MCPServer[Any] = MCPServer("rushes", instructions=INSTRUCTIONS, log_level="ERROR")
    for tool in (tools.models, tools.estimate, tools.submit, tools.job, tools.jobs):
        server.tool()(tool)
    return server
