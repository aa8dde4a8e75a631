"""Short forms for the shell: a job's id in ten letters, moments as ages, sums in four places."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from rushes.shared.cli.tables import is_whole
from rushes.shared.domain import ids

UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def job_id(whole: str) -> str:
    """A job's id as it is printed: short, unless values are printed whole."""
    return whole if is_whole() else ids.short(whole)


def age(moment: str) -> str:
    """How long ago a moment in ISO 8601 was; the moment itself where values are printed whole."""
    return moment if is_whole() else length((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())


def time_left(moment: str) -> str:
    """How long it is until a moment in ISO 8601."""
    return length((datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds())


def length(seconds: float) -> str:
    """A length of time in its greatest unit: `5 s`, `12 min`, `3 h`, `2 d`."""
    unit, size = next((each for each in UNITS if seconds >= each[1]), ("s", 1))
    return f"{max(0, int(seconds)) // size} {unit}"


def usd(amount: str | None) -> str | None:
    """A sum of dollars in four places; as it is where values are printed whole."""
    return amount if amount is None or is_whole() else f"{Decimal(amount):.4f}"
