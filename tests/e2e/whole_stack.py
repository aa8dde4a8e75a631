"""The whole stack as real processes."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from rushes.deploy.sandbox.stack import Stack
from rushes.shared.client import ENDED, Client, Unreachable

# Processes are killed here, and start again beside all others.
PATIENCE_S = 300


class Site:
    """A running stack, its client, and the gateways' own books."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.client = Client.connect(stack.url, stack.secrets.demo_key)

    def insist(self, call: Callable[[], Any]) -> Any:
        """The answer of a call; a receiver that is being restarted is waited for."""
        give_up_at = time.monotonic() + PATIENCE_S
        while True:
            try:
                return call()
            except Unreachable:
                assert time.monotonic() < give_up_at, "the receiver did not come back"
                time.sleep(0.1)

    def submit(self, key: str, request: dict[str, Any]) -> str:
        return str(self.insist(lambda: self.client.submit(request, key))["id"])

    def wait(self, job_id: str) -> dict[str, Any]:
        give_up_at = time.monotonic() + PATIENCE_S
        while (job := self.insist(lambda: self.client.get(job_id)))["status"] not in ENDED:
            assert time.monotonic() < give_up_at, f"stuck: {job}"
            time.sleep(0.2)
        return dict(job)

    def wait_for(self, job_id: str, *states: str) -> None:
        give_up_at = time.monotonic() + PATIENCE_S
        while self.insist(lambda: self.client.get(job_id))["status"] not in (*states, *ENDED):
            assert time.monotonic() < give_up_at, f"never {states}"
            time.sleep(0.02)

    def books(self, what: str) -> list[dict[str, Any]]:
        held = self.insist(lambda: self._book(what))
        return list(held[what] if isinstance(held, dict) else held)

    def _book(self, what: str) -> Any:
        try:
            return self.control("GET", what)
        except OSError as gone:
            raise Unreachable(str(gone)) from None

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """What the gateways of the sandbox answer whoever directs them."""
        data = None if body is None else json.dumps(body).encode()
        call = urllib.request.Request(f"{self.stack.gateways_url}/_sandbox/{path}", data, method=method)
        with urllib.request.urlopen(call, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def text(self, key: str) -> str:
        """A job that is heard of by callback."""
        return self.submit(key, {"model": "kling-v2-6", "prompt": "a lighthouse", "provider": "apimodels"})

    def motion(self, key: str) -> str:
        """A job that is polled."""
        urls = {"image_url": f"{self.stack.inputs_url}/sample.jpg", "video_url": f"{self.stack.inputs_url}/sample.mp4"}
        motion = {"model": "kling-v2-6-motion-control", "character_orientation": "image", "provider": "apimart"}
        return self.submit(key, {**motion, **urls})
