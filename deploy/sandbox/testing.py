"""Tests against the sandbox: the whole of Rushes on this machine, gateways that fail on purpose, and their books."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import requests

from rushes.shared.client import ENDED, Client

if TYPE_CHECKING:  # its libraries are those of the extra `sandbox`
    from rushes.deploy.sandbox.stack import Stack
    from rushes.shared.client import Job

# Tasks end at once, and are asked for as soon: a test waits for states, not for a gateway.
SETTINGS: Mapping[str, str] = {"SANDBOX_TASK_SECONDS": "0", "RUSHES_POLL_FIRST_S": "0.2", "RUSHES_POLL_MAX_S": "1"}
TIMEOUT_S = 120.0
LOOK_S = 0.1
FULL_USD = "1000000"


class Sandbox:
    """A running Rushes with sandbox gateways; no call costs money.

    `url`, `api_key` and `admin_key` are what your program is to be given; `client` is a client with them. `image_url`
    and `video_url` are inputs that the gateways can fetch.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._billed_before: frozenset[str] = frozenset()
        self.url, self.api_key, self.admin_key = stack.url, stack.secrets.demo_key, stack.secrets.admin_key
        self.client, self._admin = Client(self.url, self.api_key), Client(self.url, self.admin_key)
        self._emptied: set[str] = set()
        self.image_url, self.video_url = f"{stack.inputs_url}/sample.jpg", f"{stack.inputs_url}/sample.mp4"
        self.environ = dict(stack.env)

    def run(self, **job: Any) -> Job:
        """Submit a job and wait for its end; the job document. Raises as Client does, and TimeoutError."""
        return self.wait(self.client.submit(job)["id"])

    def wait(self, job_id: str, *statuses: str, timeout_s: float = TIMEOUT_S) -> Job:
        """Wait until a job has ended, or has one of these statuses; raises TimeoutError."""
        give_up_at = time.monotonic() + timeout_s
        while True:
            job = self.client.get(job_id)
            if job["status"] in (statuses or ENDED):
                return job
            if time.monotonic() >= give_up_at:
                raise TimeoutError(f"{job_id} is still {job['status']} after {timeout_s:g} s")
            time.sleep(LOOK_S)

    def fault(self, gateway: str, fault: str, times: int = 1, **options: Any) -> None:
        """Switch a fault on, for the next calls of a gateway; -1 until `reset`. The faults: deploy/sandbox/README.md.

        Raises ValueError where there is no such gateway, fault or option.
        """
        self._control("POST", "faults", {"gateway": gateway, "fault": fault, "times": times, **options})

    def set_balance(self, gateway: str, usd: str) -> None:
        """Leave so many dollars on the account of a gateway; a submit that costs more is refused."""
        self._emptied.add(gateway)
        key = self.environ[f"{gateway.upper()}_API_KEY"]
        self._control("POST", "balances", {"gateway": gateway, "api_key": key, "usd": usd})

    def bills(self, gateway: str | None = None) -> list[dict[str, Any]]:
        """What the gateways billed since `reset`, the oldest first."""
        return [bill for bill in self._all_bills(gateway) if bill["task_id"] not in self._billed_before]

    def tasks(self, gateway: str | None = None) -> list[dict[str, Any]]:
        """Every task of the gateways, with its request, state and callbacks."""
        return list(self._control("GET", "tasks", query={"gateway": gateway})["tasks"])

    def violations(self) -> list[dict[str, Any]]:
        """Every request that a gateway's document does not allow."""
        return list(self._control("GET", "violations")["violations"])

    def reset(self) -> None:
        """Clear all faults, fill all accounts, end the gateways' pauses, and forget what was billed until now."""
        self._control("DELETE", "faults")
        for name in sorted(self._emptied):
            self.set_balance(name, FULL_USD)
        self._emptied.clear()
        for gateway in self._admin.gateways():
            if gateway["paused_until"]:
                self._admin.resume(gateway["name"])
        self._billed_before = frozenset(bill["task_id"] for bill in self._all_bills())

    def _all_bills(self, gateway: str | None = None) -> list[dict[str, Any]]:
        return list(self._control("GET", "bills", query={"gateway": gateway})["bills"])

    def _control(
        self, method: str, name: str, body: Any = None, query: Mapping[str, str | None] | None = None
    ) -> dict[str, Any]:
        words = urlencode({key: value for key, value in (query or {}).items() if value})
        url = f"{self._stack.gateways_url}/_sandbox/{name}?{words}"
        response = requests.request(method, url, json=body, timeout=TIMEOUT_S)
        answer = response.json()
        if not response.ok:
            raise ValueError(str(answer))
        return dict(answer)


@contextmanager
def running_sandbox(data_dir: Path, settings: Mapping[str, str] | None = None) -> Iterator[Sandbox]:
    """Start everything, and stop it at the end. Raises ModuleNotFoundError without the extra `sandbox`."""
    from rushes.deploy.sandbox.stack import Stack

    with Stack(data_dir, extra_env={**SETTINGS, **(settings or {})}) as stack:
        yield Sandbox(stack)
