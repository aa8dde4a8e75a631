"""How long a gateway is left alone after what it said; a pause ends by itself, with one job to show that it is well."""

from __future__ import annotations

from shared.domain.events import Reason

# Reason: (strikes until it is paused, first pause s, longest pause s); each further strike doubles the pause.
PAUSES: dict[Reason, tuple[int, float, float]] = {
    Reason.KEY: (1, 30, 900),
    Reason.BALANCE: (1, 30, 900),
    Reason.MOVED: (1, 60, 900),
    Reason.RATE: (1, 5, 120),
    Reason.DOWN: (3, 10, 300),
}


def pause_s(reason: Reason, strikes: int, retry_after_s: float | None = None) -> float:
    """For how long to send nothing after so many refusals of a kind in a row; 0 while it is not enough."""
    allowed, first_s, longest_s = PAUSES[reason]
    if strikes < allowed:
        return retry_after_s or 0
    return max(retry_after_s or 0, min(first_s * 2.0 ** min(strikes - allowed, 16), longest_s))
