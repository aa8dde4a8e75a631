"""Enqueue from another Celery app: one message to the queue `enqueue`, without any code of Rushes.

Both apps share a broker. The result is the job document, or the API's error envelope. Run it beside `rushes up`:

    . .rushes/env
    python enqueue_from_celery.py

It prints:

    job_01KCB4W8Q5V2N7R9T3X6Y0ZA1B queued
    sent again: the same job
    refused: no_such_field: Unknown field.
"""

import os
import uuid

from celery import Celery

# The broker is REDIS_URL, or RUSHES_BROKER_URL where Rushes has it. The backend is only for the result.
app = Celery("shop", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])


def enqueue(job: dict, idempotency_key: str) -> dict:
    """Send a job to Rushes and wait for its answer."""
    kwargs = {"job": job, "idempotency_key": idempotency_key, "api_key": os.environ["RUSHES_API_KEY"]}
    return app.send_task("rushes.enqueue", queue="enqueue", kwargs=kwargs).get(timeout=60)


def main() -> None:
    """Enqueue one job twice, and one that does not fit."""
    job = {"model": "kling-v3", "prompt": "a paper boat on a stream"}
    key = str(uuid.uuid4())  # in your app: the id of what the clip is for

    first = enqueue(job, key)
    print(first["id"], first["status"])
    # Celery may deliver a message twice, and so may you: the key makes one job of it.
    print("sent again:", "the same job" if enqueue(job, key)["id"] == first["id"] else "another job")

    error = enqueue({**job, "no_such_field": 1}, str(uuid.uuid4()))["error"]
    for field, problems in error["fields"].items():
        print(f"refused: {field}:", *problems)


if __name__ == "__main__":
    main()
