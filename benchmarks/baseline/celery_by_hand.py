"""What people write by hand: Flask, Celery on Redis, `self.retry(countdown=…)` polls, boto3's `upload_fileobj`.

Written as a good engineer would: sessions and clients are kept, acks are late, results are ignored, a paid submit is
not tried again by itself, and every state stands in Redis before the next task is sent.
Run: `celery --app benchmarks.baseline.celery_by_hand worker` and `gunicorn benchmarks.baseline.celery_by_hand:web`.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from functools import cache
from typing import Any, cast

import boto3
import redis
import requests
from boto3.s3.transfer import TransferConfig
from celery import Celery
from flask import Flask, request
from flask.typing import ResponseReturnValue

REDIS_URL = os.environ["REDIS_URL"]
GATEWAY = os.environ["APIMODELS_BASE_URL"] + "/api/v1/video/generations"
KEY = os.environ["APIMODELS_API_KEY"]
BUCKET = os.environ["RUSHES_S3_BUCKET"]
POLL_S = float(os.environ.get("BY_HAND_POLL_S", "2"))
# What a dead worker held comes again after an hour, ten messages in 100 s (kombu's defaults), or soon for `losses`.
REDELIVERY = json.loads(os.environ.get("BY_HAND_REDELIVERY", '{"visibility_timeout": 3600}'))
# Whether a submit that was not answered is sent again: the other choice that people make.
RETRIED = (requests.RequestException,) if os.environ.get("BY_HAND_RETRIES_SUBMITS") else ()
TIMEOUT_S = (5, 60)

app = Celery("by_hand", broker=REDIS_URL)
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    broker_transport_options=REDELIVERY,
    broker_connection_retry_on_startup=True,
)
web = Flask(__name__)
_local = threading.local()


@cache
def store() -> redis.Redis:
    """One client a process, safe for threads."""
    return redis.Redis.from_url(REDIS_URL, decode_responses=True)


@cache
def bucket() -> Any:
    """One client a process; the tasks are the parallelism, so a transfer needs no threads of its own."""
    return boto3.client("s3")


def session() -> requests.Session:
    """One a thread, with its kept connections."""
    if not hasattr(_local, "session"):
        _local.session = requests.Session()
        _local.session.headers["Authorization"] = f"Bearer {KEY}"
    held: requests.Session = _local.session
    return held


def note(job_id: str, **fields: Any) -> None:
    """Write down how a job stands."""
    store().hset(f"job:{job_id}", mapping=cast(Any, {**fields, "updated_at": time.time()}))


@web.post("/jobs")
def create() -> ResponseReturnValue:
    """Take a job: write it down, queue it."""
    body = request.get_json()
    if not isinstance(body, dict) or not body.get("prompt"):
        return {"error": "prompt is required"}, 422
    job_id = uuid.uuid4().hex
    key = request.headers.get("Idempotency-Key")
    if key and not store().set(f"idem:{key}", job_id, nx=True, ex=604_800):
        return {"id": store().get(f"idem:{key}")}, 200
    note(job_id, status="queued", request=json.dumps(body))
    submit.delay(job_id, body)
    return {"id": job_id, "status": "queued"}, 202


@web.get("/healthz")
def healthz() -> ResponseReturnValue:
    """Alive."""
    return {"status": "ok"}


@app.task(autoretry_for=RETRIED, retry_backoff=True)  # type: ignore[untyped-decorator]
def submit(job_id: str, body: dict[str, Any]) -> None:
    """The paid call, never tried again by itself unless it is told to."""
    note(job_id, status="submitting")
    answer = session().post(GATEWAY, json=body, timeout=TIMEOUT_S)
    answer.raise_for_status()
    task_id = answer.json()["data"]["taskId"]
    note(job_id, status="running", task_id=task_id)
    poll.apply_async((job_id, task_id), countdown=POLL_S)


@app.task(bind=True, max_retries=None, autoretry_for=(requests.RequestException,), retry_backoff=True)  # type: ignore[untyped-decorator]
def poll(self: Any, job_id: str, task_id: str) -> None:
    """Ask how it stands, again every POLL_S."""
    answer = session().get(GATEWAY, params={"task_id": task_id}, timeout=TIMEOUT_S)
    answer.raise_for_status()
    data = answer.json()["data"]
    if data["state"] == "failed":
        note(job_id, status="failed", error=data.get("failMsg", ""))
    elif data["state"] == "completed":
        note(job_id, status="archiving")
        archive.delay(job_id, task_id, data["resultUrls"][0])
    else:
        raise self.retry(countdown=POLL_S)


@app.task(autoretry_for=(Exception,), retry_backoff=True, max_retries=20)  # type: ignore[untyped-decorator]
def archive(job_id: str, task_id: str, url: str) -> None:
    """Copy the clip to S3, the manifest last."""
    folder = f"jobs/{job_id}/"
    with session().get(url, stream=True, timeout=TIMEOUT_S) as answer:
        answer.raise_for_status()
        size = int(answer.headers["Content-Length"])
        extra = {"ContentType": "video/mp4", "Metadata": {"job-id": job_id, "task-id": task_id}}
        bucket().upload_fileobj(
            answer.raw, BUCKET, folder + "video.mp4", ExtraArgs=extra, Config=TransferConfig(use_threads=False)
        )
    manifest = {"job": job_id, "task_id": task_id, "size": size}
    body = json.dumps(manifest).encode()
    bucket().put_object(Bucket=BUCKET, Key=folder + "manifest.json", Body=body, ContentType="application/json")
    note(job_id, status="completed", size=size)
