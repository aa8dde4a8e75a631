"""Settle an unconfirmed submit: the paid call was sent and its answer never came, so nobody knows if it was taken.

Rushes does not send it again by itself. Mostly a callback or the gateway settles it; where neither does, you look
the task up at the gateway and decide. Here the sandbox loses an answer on purpose. Run it beside `rushes up`:

    . .rushes/env
    python settle_an_unconfirmed_submit.py

It prints:

    job_01KCB4W8Q5V2N7R9T3X6Y0ZA1B is unconfirmed: apimodels may have taken it
    the gateway has it: billed once
    adopted: completed, billed once
"""

import os
import time
import uuid

import requests

from rushes.client import Client

SANDBOX = os.environ["SANDBOX_URL"] + "/_sandbox"
JOB = {"model": "kling-v3", "prompt": "a train in the fog", "provider": "apimodels"}


def find_task(prompt: str) -> tuple[str, int]:
    """The gateway's id of the newest task with this prompt, and how often it was billed.

    In life you look at the gateway's own page of tasks, or ask its support.
    """
    tasks = requests.get(f"{SANDBOX}/tasks", params={"gateway": "apimodels"}, timeout=10).json()["tasks"]
    bills = requests.get(f"{SANDBOX}/bills", params={"gateway": "apimodels"}, timeout=10).json()["bills"]
    task_id = [task["id"] for task in tasks if task["body"].get("prompt") == prompt][-1]
    return task_id, sum(bill["task_id"] == task_id for bill in bills)


def main() -> None:
    """Lose an answer, and settle what became of it."""
    for fault in ("answer_lost", "no_callback"):  # with a callback it would settle by itself
        body = {"gateway": "apimodels", "fault": fault, "times": 1}
        requests.post(f"{SANDBOX}/faults", json=body, timeout=10).raise_for_status()

    with Client.connect() as client:
        job = client.submit(JOB, idempotency_key=str(uuid.uuid4()))
        while job["status"] != "unconfirmed":
            time.sleep(0.2)
            job = client.get(job["id"])
        print(f"{job['id']} is unconfirmed: {job['attempts'][-1]['provider']} may have taken it")

        task_id, bills = find_task(JOB["prompt"])
        print("the gateway has it:", "billed once" if bills == 1 else f"billed {bills} times")

        # The gateway has none? Then client.resolve(job["id"], "resubmit"), or "fail" to let it be.
        client.resolve(job["id"], "adopt", task_id)
        job = client.wait(job["id"], timeout_s=120)
        _, bills = find_task(JOB["prompt"])
        print(f"adopted: {job['status']},", "billed once" if bills == 1 else f"billed {bills} times")


if __name__ == "__main__":
    main()
