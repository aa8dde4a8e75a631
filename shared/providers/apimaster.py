"""APIMaster (apimaster.ai, a fork of new-api in front of apimart): Kling 3.0 motion control; polled.

Its clips are at its own address, behind the key.
"""

from __future__ import annotations

from typing import Any

from rushes.shared.domain.money import whole_seconds_up
from rushes.shared.providers.apimart import FIELDS, motion_body
from rushes.shared.providers.base import MOTION, Ask, Offer, Provider
from rushes.shared.providers.vocabulary import STATUSES

MODEL = "kling-v3-motion-control"
# The longest reference by orientation (seed 000); a container's 10.02 s are still 10 s to it.
LONGEST_S = {"image": 10, "video": 30}


class Apimaster(Provider):
    name = "apimaster"
    address = "https://apimaster.ai"
    submit_path = "/v1/videos/generations"
    query_path = "/v1/videos/{task_id}"
    content_path = "/v1/videos/{task_id}/content"
    keyed_content = True
    offers = {MODEL: Offer(MODEL, frozenset({MOTION}), FIELDS)}
    clips = ("url",)
    # What new-api makes of a state without a name, such as that of a task just written down: alive.
    statuses = {**STATUSES, "unknown": "running"}

    def body(self, ask: Ask) -> dict[str, Any]:
        body = motion_body(ask)
        if ask.duration_s is not None:
            # An estimate for what it holds back; the bill is by its own probing.
            longest_s = LONGEST_S[ask.request["character_orientation"]]
            body["duration"] = min(int(whole_seconds_up(ask.duration_s)), longest_s)
        return body
