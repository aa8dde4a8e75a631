"""How much is tried: little in `make test`, as much as is asked for in `make chaos`."""

from __future__ import annotations

import os

AT_LENGTH = "CHAOS" in os.environ


def number(name: str, usual: int) -> int:
    """A number from the environment."""
    return int(os.environ.get(name, usual))
