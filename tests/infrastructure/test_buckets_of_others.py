"""A site whose bucket is of another maker: what lies there is right, and gives back what Redis lost."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import boto3
import pytest
import redis
import servers
from patience import wait_until
from servers import BUCKET, KEY_ID, SECRET
from site_steps import readiness
from trial import USUAL, Trial, bad_findings, fetch
from whole_stack import Site

from rushes.deploy.sandbox.stack import Stack

pytestmark = pytest.mark.infrastructure

CANNOT = {"s3.conditional_put", "s3.conditional_complete"}


@pytest.mark.parametrize("store", ["rclone", "s3rver"])
def test_a_bucket_of_another_maker_holds_all_and_gives_it_back(store: str, tmp_path: Path) -> None:
    with (
        servers.store(store, tmp_path / "bucket") as env,
        Stack(tmp_path / "stack", extra_env={**USUAL, **env, "SANDBOX_TASK_SECONDS": "4"}) as stack,
    ):
        site = Site(stack)
        trial = Trial(site)
        # Neither heeds If-None-Match: of two archivings of one job that overlap the later one wins.
        assert {finding["name"] for finding in bad_findings(site)} == CANNOT
        for job in trial.submit("before", pairs=2):
            site.wait_for(job, "running", "archiving")

        with redis.Redis(port=stack.ports.redis) as client:
            client.flushall()
        os.kill(stack.processes()["redis"], signal.SIGKILL)

        ended = trial.judge()
        s3 = boto3.client(
            "s3",
            endpoint_url=env["AWS_ENDPOINT_URL_S3"],
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )
        for job in ended:
            look(job, s3)
        wait_until(lambda: readiness(site)[0] == 200, "readiness")
        trial.submit("after", pairs=1)
        trial.judge()


def look(job: dict, s3) -> None:  # type: ignore[no-untyped-def, type-arg]
    """The clip by its link, and beside it its manifest; whose they are stands in the metadata, in small letters."""
    result, task_id = job["result"], job["attempts"][-1]["task_id"]
    clip, headers = fetch(result["url"])
    assert (len(clip), clip[4:8]) == (result["size"], b"ftyp")
    assert headers["content-type"] == "video/mp4"
    manifest = json.loads(s3.get_object(Bucket=BUCKET, Key=result["manifest_key"])["Body"].read())
    assert (manifest["schema"], manifest["job"]["id"]) == ("rushes.manifest/1", job["id"])
    kept = s3.head_object(Bucket=BUCKET, Key=result["key"])["Metadata"]
    assert {name.lower(): value for name, value in kept.items()}["task-id"] == task_id
