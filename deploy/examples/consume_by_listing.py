"""Consume manifests by listing: for buckets that notify nobody, and to catch up after an outage of yours.

Clips lie under the day on which their job was created, and an older job may end later than a younger one: so list the
days again, and keep what you have seen. Run it beside `rushes up`:

    . .rushes/env
    python consume_by_listing.py

It prints:

    2 clips: harbour 1, harbour 2
    listed again: 0 clips
"""

import json
import os
import uuid
from datetime import UTC, datetime, timedelta

import boto3

from rushes.client import Client

BUCKET, PREFIX = os.environ["RUSHES_S3_BUCKET"], os.environ.get("RUSHES_S3_PREFIX", "")
DAYS = 2  # how far back: a job is given up after RUSHES_JOB_TIMEOUT_S, a day unless you set it
s3 = boto3.client("s3")


def new_manifests(seen: set[str]) -> list[dict]:
    """The manifests of the last days that are not in `seen`, which grows; in production it is a table of yours."""
    found = []
    for back in range(DAYS):
        day = (datetime.now(UTC) - timedelta(days=back)).strftime("%Y/%m/%d")
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{PREFIX}jobs/{day}/"):
            for entry in page.get("Contents", []):
                if entry["Key"].endswith("/manifest.json") and entry["Key"] not in seen:
                    found.append(json.loads(s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read()))
                    seen.add(entry["Key"])
    return found


def main() -> None:
    """Make two clips and find them."""
    with Client.connect() as client:
        seen: set[str] = set()
        new_manifests(seen)  # what others made before
        jobs = [
            client.submit(
                {"model": "kling-v3", "prompt": f"harbour {number}", "metadata": {"scene": f"harbour {number}"}},
                idempotency_key=str(uuid.uuid4()),
            )
            for number in (1, 2)
        ]
        for job in jobs:
            client.wait(job["id"], timeout_s=120)

    mine = {job["id"] for job in jobs}
    manifests = [manifest["job"] for manifest in new_manifests(seen) if manifest["job"]["id"] in mine]
    scenes = sorted(job["metadata"]["scene"] for job in manifests if job["status"] == "completed")
    print(f"{len(scenes)} clips:", ", ".join(scenes))
    print(f"listed again: {len([one for one in new_manifests(seen) if one['job']['id'] in mine])} clips")


if __name__ == "__main__":
    main()
