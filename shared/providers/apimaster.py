"""APIMaster (apimaster.ai, a fork of new-api in front of apimart): Kling 3.0 motion control; polled.

Its clips are at its own address and need the key.
"""

from __future__ import annotations

from typing import Any

from rushes.shared.domain.money import whole_seconds_up
from rushes.shared.providers.apimart import FIELDS, motion_body
from rushes.shared.providers.base import MOTION, ModelSupport, Provider, Submission
from rushes.shared.providers.vocabulary import STATUSES

MODEL = "kling-v3-motion-control"
# The longest reference clip by orientation (seed 000). It takes a container of 10.02 s as 10 s.
LONGEST_S = {"image": 10, "video": 30}


class Apimaster(Provider):
    name = "apimaster"
    address = "https://apimaster.ai"
    sources = (
        ("its document (seed 000), confirmed by its page", "2026-11-30"),
        ("its own clients, and the source of the fork that it runs", "2026-11-20"),
    )
    submit_path = "/v1/videos/generations"
    query_path = "/v1/videos/{task_id}"
    content_path = "/v1/videos/{task_id}/content"
    keyed_content = True
    models = {MODEL: ModelSupport(MODEL, frozenset({MOTION}), FIELDS)}
    clips = ("url",)
    # new-api's word for a state without a name, such as that of a task just stored: still running.
    statuses = {**STATUSES, "unknown": "running"}

    def body(self, submission: Submission) -> dict[str, Any]:
        body = motion_body(submission)
        if submission.duration_s is not None:
            # It reserves money by this length; it bills by its own measurement.
            longest_s = LONGEST_S[submission.request["character_orientation"]]
            body["duration"] = min(int(whole_seconds_up(submission.duration_s)), longest_s)
        return body
