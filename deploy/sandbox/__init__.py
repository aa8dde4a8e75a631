"""The sandbox: everything that Rushes talks to, on one machine and free of charge."""

from __future__ import annotations

from pathlib import Path

# A link to the one at the top of the repository; a copy in the wheel.
PROCFILE = Path(__file__).parents[1] / "Procfile"
