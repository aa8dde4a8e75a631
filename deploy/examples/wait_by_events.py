"""Wait by events: a stream tells of each change of a job until its end, and is resumed where it broke.

The server looks every half second, so a step that is shorter may pass unseen. Run it beside `rushes up`:

    . .rushes/env
    python wait_by_events.py

It prints, maybe without the lines in brackets:

    [queued]
    [submitting]
    [running at kling]
    [archiving]
    completed: s3://rushes/jobs/2026/11/30/job_01KCB4W8Q5V2N7R9T3X6Y0ZA1B/video.mp4
"""

import uuid

from rushes.client import Client

with Client.connect() as client:
    request = {"model": "kling-v3", "prompt": "a red kite over the sea", "provider": "kling"}
    job = client.submit(request, idempotency_key=str(uuid.uuid4()))  # sent again under its key if nothing answers

    # Without the client: GET /v1/jobs/{id}/events with your key; reconnect with the header Last-Event-ID.
    for event in client.events(job["id"]):
        job = event.job
        if event.kind == "status" and job["status"] != "completed":
            print("running at " + job["provider"] if job["status"] == "running" else job["status"])

if job["status"] != "completed":
    raise SystemExit(f"{job['error']['code']}: {job['error']['message']}")
print(f"completed: s3://{job['result']['bucket']}/{job['result']['key']}")
