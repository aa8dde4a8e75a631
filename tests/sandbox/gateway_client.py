"""Speaks to the sandbox as a client of each gateway would, with the bodies of the gateways' own documents."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from patience import PATIENCE_S

MOTION = {
    "model": "kling-v3-motion-control",
    "prompt": "保持人物面部特征一致,按参考视频完成转身挥手动作,电影感光影",
    "image_url": "https://example.com/ref-image.png",
    "video_url": "https://example.com/ref-video-8s.mp4",
    "keep_original_sound": "yes",
    "character_orientation": "image",
    "mode": "std",
    "watermark_info": {"enabled": False},
}

# The example of each gateway's document.
DOCUMENTED: Mapping[str, dict[str, Any]] = {
    "apimart": {**MOTION, "model": "kling-v2-6-motion-control"},
    "apimaster": MOTION,
    "apimodels": {
        "model": "kling-v2-6",
        "prompt": "A girl dancing on the beach at sunset, cinematic lighting",
        "mode": "std",
        "duration": "5",
        "aspect_ratio": "16:9",
    },
    "evolink": {
        "model": "kling-v3-motion-control",
        "image_urls": ["https://example.com/character.png"],
        "video_urls": ["https://example.com/dance.mp4"],
        "prompt": "A girl wearing a gray loose T-shirt and denim shorts",
        "quality": "720p",
        "model_params": {"character_orientation": "image", "keep_sound": True, "watermark_info": {"enabled": False}},
    },
    "kling": {
        "contents": [
            {"type": "prompt", "text": "A girl wearing a gray loose T-shirt and denim shorts"},
            {"type": "image", "url": "https://example.com/character.png"},
            {"type": "video", "url": "https://example.com/dance.mp4"},
        ],
        "settings": {"character_orientation": "video", "audio": "original", "resolution": "1080p"},
        "options": {"watermark_info": {"enabled": False}},
    },
    "newapi": {
        "model": "kling-v3-std-silent",
        "prompt": "广角电影感镜头,一个旅行者独自穿过满是尘土的沙漠废墟",
        "aspect_ratio": "16:9",
        "duration": 5,
        "extra_body": {"cfg_scale": 0.5, "shot_type": "customize", "negative_prompt": "模糊, 低细节"},
    },
}

SUBMIT = {
    "apimart": "/apimart/v1/videos/generations",
    "apimaster": "/apimaster/v1/videos/generations",
    "apimodels": "/apimodels/api/v1/video/generations",
    "evolink": "/evolink/v1/videos/generations",
    "kling": "/kling/motion-control/kling-3.0",
    "newapi": "/newapi/v1/video/generations",
}
QUERY = {
    "apimart": "/apimart/v1/tasks/{}",
    "apimaster": "/apimaster/v1/videos/{}",
    "apimodels": "/apimodels/api/v1/video/generations?task_id={}",
    "evolink": "/evolink/v1/tasks/{}",
    "kling": "/kling/tasks?task_ids={}",
    "newapi": "/newapi/v1/video/generations/{}",
}
GATEWAYS = tuple(SUBMIT)


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def task_id(answer: Mapping[str, Any]) -> str:
    """The id in any gateway's answer to a submit."""
    data = answer.get("data", answer)
    data = data[0] if isinstance(data, list) else data
    found: str = data.get("task_id") or data.get("taskId") or data["id"]
    return found


def video_url(gateway: str, answer: Mapping[str, Any]) -> str:
    """The address of the clip in a gateway's answer to a query."""
    ways: Mapping[str, Any] = {
        "apimart": lambda: answer["data"]["result"]["videos"][0]["url"][0],
        "apimaster": lambda: answer["url"],
        "apimodels": lambda: answer["data"]["resultUrls"][0],
        "evolink": lambda: answer["results"][0],
        "kling": lambda: answer["data"][0]["outputs"][0]["url"],
        "newapi": lambda: answer["data"]["result_url"],
    }
    found: str = ways[gateway]()
    return found


class Client:
    def __init__(self, port: int, key: str = "sandbox-test") -> None:
        self.port, self.key = port, key
        self.url = f"http://127.0.0.1:{port}"

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """One call on a connection of its own; a body that is not bytes is sent as JSON."""
        sent = {"Authorization": f"Bearer {self.key}", **{name.replace("_", "-"): headers[name] for name in headers}}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return Reply(answer.status, dict(answer.headers), answer.read())
        finally:
            connection.close()

    def submit(self, gateway: str, body: Any = None, **headers: str) -> Reply:
        return self.call("POST", SUBMIT[gateway], DOCUMENTED[gateway] if body is None else body, **headers)

    def submitted(self, gateway: str, body: Any = None, **headers: str) -> str:
        """The id of an accepted submit."""
        reply = self.submit(gateway, body, **headers)
        assert reply.status == 200, reply.body
        return task_id(reply.json)

    def query(self, gateway: str, task: str) -> Reply:
        return self.call("GET", QUERY[gateway].format(task))

    def fetch(self, url: str, method: str = "GET", **headers: str) -> Reply:
        parts = urlsplit(url)
        return self.call(method, f"{parts.path}?{parts.query}", **headers)

    def fault(self, gateway: str, fault: str, **options: Any) -> Reply:
        return self.call("POST", "/_sandbox/faults", {"gateway": gateway, "fault": fault, **options})

    def shown(self, what: str, gateway: str = "") -> list[Any]:
        """tasks, bills, violations or faults, as the control API shows them."""
        found: list[Any] = self.call("GET", f"/_sandbox/{what}?gateway={gateway}").json[what]
        return found
