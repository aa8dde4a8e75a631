"""How long a test waits for what must come: only what never comes lasts so long, whatever the machine is busy with."""

from __future__ import annotations

from collections.abc import Callable

from rushes.deploy.sandbox import ports

PATIENCE_S = 120.0


def wait_until(check: Callable[[], bool], what: str) -> None:
    """Return once it is so."""
    ports.wait_until(check, PATIENCE_S, what)
