"""How much is tried: little in `make test`, more in `make chaos`."""

from __future__ import annotations

import os

LONG_RUN = "CHAOS" in os.environ


def number(name: str, default: int) -> int:
    """A number from the environment."""
    return int(os.environ.get(name, default))
