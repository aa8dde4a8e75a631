"""What a check of the doctor found."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARN, BAD = "ok", "warn", "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; `advice` says what to do if the verdict is not `ok`."""

    name: str
    verdict: str
    what: str
    advice: str = ""
