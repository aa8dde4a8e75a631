"""A bare Flask view with one Redis call, served by the same gunicorn as the receiver."""

from __future__ import annotations

import os

import redis
from flask import Flask, request
from flask.typing import ResponseReturnValue

app = Flask(__name__)
client = redis.Redis.from_url(os.environ["REDIS_URL"])


@app.post("/<path:path>")
def note(path: str) -> ResponseReturnValue:
    """Read the JSON, write one key."""
    client.set("last", str(len(request.get_json())))
    return {}, 200


@app.get("/healthz")
def healthz() -> ResponseReturnValue:
    """Alive."""
    return {}
