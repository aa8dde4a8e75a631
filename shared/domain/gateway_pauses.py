"""How long a gateway is left alone after what it said; a pause ends by itself, with one job to show that it is well."""

from __future__ import annotations

from rushes.shared.domain.events import Reason

# Reason: (strikes until it is paused, first pause s, longest pause s); each further strike doubles the pause.
PAUSES: dict[Reason, tuple[int, float, float]] = {
    Reason.KEY: (1, 30, 900),
    Reason.BALANCE: (1, 30, 900),
    Reason.MOVED: (1, 60, 900),
    Reason.RATE: (1, 5, 120),
    Reason.DOWN: (3, 10, 300),
}

# What `why` says of a pause by hand, which only a hand ends.
OPERATOR = "operator"
# Who has to do something about a pause, by why it is.
ADVICE: dict[str, str] = {
    OPERATOR: "Nothing new goes there until somebody resumes it.",
    Reason.KEY.value: "Check {key} and restart; it is tried again by itself.",
    Reason.BALANCE.value: "Top it up; it is tried again by itself.",
    Reason.MOVED.value: "It answers with a redirect: set {name}_BASE_URL to where it leads and restart.",
    Reason.RATE.value: "Nothing to do: it goes on by itself.",
    Reason.DOWN.value: "Nothing to do: one job will show when it is well again.",
}


def advice(gateway: str, why: str, key_name: str = "") -> str:
    """What to do about a pause of this gateway; `key_name` is the setting that holds its keys."""
    name = gateway.upper()
    return ADVICE.get(why, "It is tried again by itself.").format(name=name, key=key_name or f"{name}_API_KEY")


def pause_s(reason: Reason, strikes: int, retry_after_s: float | None = None) -> float:
    """For how long to send nothing after so many refusals of a kind in a row; 0 while it is not enough."""
    allowed, first_s, longest_s = PAUSES[reason]
    if strikes < allowed:
        return retry_after_s or 0
    return max(retry_after_s or 0, min(first_s * 2.0 ** min(strikes - allowed, 16), longest_s))
