"""Free ports, and waiting until a server answers."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import time
from collections.abc import Callable

POLL_S = 0.05
ANSWER_TIMEOUT_S = 5
# Below the ephemeral ports of outgoing connections, so that none of those takes a port before its server does.
FREE_PORTS = range(20_000, 32_000)


class NotReady(Exception):
    """A server did not answer in time."""


def free_ports(count: int) -> list[int]:
    """`count` different free ports of 127.0.0.1."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(_bound()) for _ in range(count)]
        return [probe.getsockname()[1] for probe in probes]


def _bound() -> socket.socket:
    while True:
        probe = socket.socket()
        try:
            probe.bind(("127.0.0.1", random.choice(FREE_PORTS)))
        except OSError:
            probe.close()
        else:
            return probe


def is_taken(port: int) -> bool:
    """Whether something listens at this port of 127.0.0.1, or of all addresses."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger do not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


def wait_until(check: Callable[[], bool], timeout_s: float, name: str) -> None:
    """Return once the check is true; raises NotReady after `timeout_s`."""
    give_up_at = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > give_up_at:
            raise NotReady(f"{name} did not answer within {timeout_s:g} s")
        time.sleep(POLL_S)


def http_status(port: int, path: str, method: str = "GET") -> int | None:
    """The status of a call without a body to 127.0.0.1; None where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_TIMEOUT_S)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
