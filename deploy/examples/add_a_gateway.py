"""Add a gateway: a provider only describes what is sent and what answers mean; it does no I/O and holds no state.

In Rushes it is a file in shared/providers, a line in its __init__.py, prices, and a test that inherits the contract
of all gateways (shared/providers/README.md). This one is invented, and the contract holds it. Run it anywhere:

    python add_a_gateway.py

It prints:

    POST https://api.framehouse.example/v1/videos
    {"model": "kling-3.0", "prompt": "a red kite", "seconds": 5, "ratio": "16:9", "quality": "720p", "audio": false}
    taken: Accepted fh_1
    no credits: Refused insufficient_balance
    cut off: Lost, it may have been paid for
    running: Progressed 40
    done: Succeeded https://cdn.framehouse.example/fh_1.mp4
"""

import json
from collections.abc import Mapping
from typing import Any

from rushes.shared.domain.http_messages import Response
from rushes.shared.providers.base import TEXT, Access, ModelSupport, Provider, Submission
from rushes.shared.providers.reading import without_empty


class Framehouse(Provider):
    """Text to video; no callbacks, so its tasks are polled."""

    name = "framehouse"  # hence FRAMEHOUSE_API_KEY, FRAMEHOUSE_BASE_URL, …
    address = "https://api.framehouse.example"
    sources = (("docs.framehouse.example, videos", "2026-11-30"),)  # what is read, and when
    submit_path = "/v1/videos"
    query_path = "/v1/videos/{task_id}"
    clips = ("video_url",)  # where a finished task has its link
    # A request with another field is one that it cannot do: nothing is dropped silently.
    models = {
        "kling-v3": ModelSupport(
            "kling-3.0",
            frozenset({TEXT}),
            frozenset({"prompt", "negative_prompt", "duration", "aspect_ratio", "mode", "sound"}),
        )
    }

    def body(self, submission: Submission) -> dict[str, Any]:
        request: Mapping[str, Any] = submission.request
        return without_empty(
            [
                ("model", "kling-3.0"),
                ("prompt", request["prompt"]),
                ("negative_prompt", request.get("negative_prompt")),
                ("seconds", int(request["duration"])),
                ("ratio", request["aspect_ratio"]),
                ("quality", {"std": "720p", "pro": "1080p"}[request["mode"]]),
                ("audio", bool(request.get("sound"))),  # always: the price depends on it
            ]
        )


def main() -> None:
    """What it sends, and what it makes of answers."""
    gateway, access = Framehouse(), Access("https://api.framehouse.example", "a key")
    job = {"model": "kling-v3", "prompt": "a red kite", "duration": 5, "aspect_ratio": "16:9", "mode": "std"}
    sent = gateway.submit_request(Submission(job, "attempt-1"), access)
    print(sent.method, sent.url)
    print(json.dumps(sent.json))

    def answer(status: int, text: str) -> Response:
        return Response(status, {}, text.encode())

    event = gateway.read_submission(answer(200, '{"id": "fh_1", "status": "queued"}'))
    print("taken:", type(event).__name__, event.task_id)
    event = gateway.read_submission(answer(402, '{"error": {"code": "no_credits", "message": "no credits left"}}'))
    print("no credits:", type(event).__name__, event.reason.value)
    event = gateway.read_submission(answer(200, '{"id": "fh'))
    print("cut off:", f"{type(event).__name__}, it may have been paid for")

    event = gateway.read_query(answer(200, '{"id": "fh_1", "status": "running", "progress": 40}'), access)
    print("running:", type(event).__name__, event.percent)
    done = '{"id": "fh_1", "status": "completed", "video_url": "https://cdn.framehouse.example/fh_1.mp4"}'
    event = gateway.read_query(answer(200, done), access)
    print("done:", type(event).__name__, event.link.video_url)


if __name__ == "__main__":
    main()
