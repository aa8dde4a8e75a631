"""The recorded answers of gateways, and answers made from them."""

from __future__ import annotations

import json
from functools import reduce
from pathlib import Path

from rushes.shared.domain.http_messages import Response

SAMPLES = Path(__file__).with_name("samples")


def recorded(gateway, name):
    """The recorded answer of that name, as it came over the wire."""
    sample = json.loads((SAMPLES / gateway / f"{name}.json").read_text(encoding="utf-8"))
    return answer(sample["http"], sample["body"])


def answer(status, body, headers=None):
    return Response(status, headers or {}, body if isinstance(body, bytes) else json.dumps(body).encode())


def around(body, path):
    """What holds the thing at a path."""
    return reduce(lambda holder, step: holder[step], path[:-1], body)
