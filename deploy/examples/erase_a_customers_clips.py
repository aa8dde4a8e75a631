"""Erase a customer's clips: of one job, and of all that the customer has.

Clips, prompts and addresses of inputs go from the bucket and the ledger; ids, times, gateway and money stay. Files that
you gave as inputs are yours to erase. Run it beside `rushes up`:

    . .rushes/env
    python erase_a_customers_clips.py

It prints:

    1 job is erased: manifest.json is all that is left in its folder
    2 jobs of the customer would be erased
    erased: 2
    their prompts: none
"""

import os
import time
import uuid

import boto3

from rushes.client import Client

CUSTOMER = f"customer-{uuid.uuid4()}"  # no name: metadata is what jobs are found by


def make_clips(client: Client) -> list[dict]:
    """Three clips of the customer."""
    prompts = ["my cat", "my garden", "my car"]
    metadata = {"customer": CUSTOMER}
    requests = [{"model": "kling-v3", "prompt": prompt, "metadata": metadata} for prompt in prompts]
    jobs = [client.submit(request, idempotency_key=str(uuid.uuid4())) for request in requests]
    return [client.wait(job["id"], timeout_s=120) for job in jobs]


def names_in(folder: str) -> list[str]:
    """What lies in a folder of the bucket."""
    listed = boto3.client("s3").list_objects_v2(Bucket=os.environ["RUSHES_S3_BUCKET"], Prefix=folder)
    return [entry["Key"].removeprefix(folder) for entry in listed["Contents"]]


def main() -> None:
    """Erase one job, then the rest of the customer's."""
    with Client.connect() as client:
        first, *_ = jobs = make_clips(client)

        erased = client.erase(first["id"])  # DELETE /v1/jobs/{id}; at once it can be read here no more
        while erased["erased_at"] is None:  # and once it is gone from bucket and journal too, this is set
            time.sleep(0.2)
            erased = client.get(first["id"])
        folder = first["result"]["key"].removesuffix("video.mp4")
        print("1 job is erased:", *names_in(folder), "is all that is left in its folder")

        its_jobs = {"metadata.customer": CUSTOMER}
        forecast = client.bulk_dry_run("erase", **its_jobs)
        print(f"{forecast['count']} jobs of the customer would be erased")

        action = client.bulk("erase", idempotency_key=f"erase-{CUSTOMER}", **its_jobs)
        while action["status"] == "running":
            time.sleep(0.2)
            action = client.get_bulk(action["id"])
        for outcome, count in action["outcomes"].items():
            print(f"{outcome}: {count}")

        prompts = [prompt for job in jobs if (prompt := client.get(job["id"])["request"].get("prompt"))]
        print("their prompts:", ", ".join(prompts) or "none")


if __name__ == "__main__":
    main()
