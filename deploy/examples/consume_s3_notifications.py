"""Consume manifests from S3 notifications: the bucket tells a queue (SQS) of each `manifest.json`, you read the queue.

A manifest is written last: when it is there, so is the whole clip. Run it beside `rushes up`, whose S3 has queues:

    . .rushes/env
    python consume_s3_notifications.py

It prints:

    completed: jobs/2026/11/30/job_01KCB4W8Q5V2N7R9T3X6Y0ZA1B/video.mp4, as long as the manifest says
"""

import json
import os
import uuid
from urllib.parse import unquote_plus

import boto3

from rushes.client import Client

JOB = {"model": "kling-v3", "prompt": "a fox in the snow", "duration": 5}

BUCKET = os.environ["RUSHES_S3_BUCKET"]
s3, sqs = boto3.client("s3"), boto3.client("sqs")


def subscribe() -> str:
    """Make a queue, and have the bucket tell it of manifests; in production your Terraform does this once."""
    url = sqs.create_queue(QueueName="manifests")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    rule = {
        "QueueArn": arn,
        "Events": ["s3:ObjectCreated:*"],
        "Filter": {"Key": {"FilterRules": [{"Name": "suffix", "Value": "manifest.json"}]}},
    }
    s3.put_bucket_notification_configuration(Bucket=BUCKET, NotificationConfiguration={"QueueConfigurations": [rule]})
    return url


def manifests_in(message: dict) -> list[dict]:
    """The manifests that a message of SQS tells of; S3's test message has no records."""
    records = json.loads(message["Body"]).get("Records", [])
    keys = [unquote_plus(record["s3"]["object"]["key"]) for record in records]  # S3 quotes keys as in a form
    return [json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()) for key in keys]


def consume(manifest: dict) -> None:
    """What you do with a clip. SQS may deliver a message twice: let the job's id decide whether it is new."""
    job = manifest["job"]
    if job["status"] != "completed":
        print(f"{job['status']}: {job['error']['code']}")
        return
    clip = manifest["files"][0]
    size = s3.head_object(Bucket=BUCKET, Key=clip["key"])["ContentLength"]
    print(f"completed: {clip['key']},", "as long as the manifest says" if size == clip["size"] else "cut off")


def main() -> None:
    """Make a clip, and read the queue until its manifest has come."""
    queue = subscribe()
    with Client.connect() as client:
        job_id = client.submit(JOB, idempotency_key=str(uuid.uuid4()))["id"]
    waiting = {job_id}
    while waiting:
        answer = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=10, MaxNumberOfMessages=10)
        for message in answer.get("Messages", []):
            for manifest in manifests_in(message):
                if manifest["job"]["id"] in waiting:  # the queue is told of everybody's jobs
                    consume(manifest)
                    waiting.remove(manifest["job"]["id"])
            # Deleted only now: if this program dies before, the message comes again.
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


if __name__ == "__main__":
    main()
