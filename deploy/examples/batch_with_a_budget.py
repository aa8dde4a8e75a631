"""A batch with a budget: jobs that are taken together or not at all, and submits that end when the money does.

Run it beside `rushes up`:

    . .rushes/env
    python batch_with_a_budget.py

It prints:

    refused: jobs.1.duration: Must be from 3 to 15 with kling-v3.
    batch_01KCB4W8Q5V2N7R9T3X6Y0ZA1B: 5 jobs, estimated 2.1 USD, at most 1.30 USD
    completed: 3 clips of 5 s each for 1.26 USD
    not made: 2, budget_exceeded
"""

import time
import uuid
from decimal import Decimal

from rushes.client import Client, InvalidRequest

SCENES = ["a harbour at dawn", "the same at noon", "a storm comes up", "the storm", "the morning after"]


def jobs(**fields: object) -> list[dict]:
    """A job for each scene, at the gateway whose clips take 0.42 USD."""
    return [{"model": "kling-v3", "prompt": scene, "provider": "kling", **fields} for scene in SCENES]


def main() -> None:
    """Run a batch that does not fit, and one whose budget does not reach."""
    with Client.connect() as client:
        wrong = jobs()
        wrong[1]["duration"] = 60
        try:
            client.submit_batch(wrong)
        except InvalidRequest as refused:  # nothing of it was enqueued
            for field, problems in refused.fields.items():
                print(f"refused: {field}:", *problems)

        # The key is that of your order, as for a job: sent again, it is the same batch.
        batch = client.submit_batch(jobs(), idempotency_key=str(uuid.uuid4()), max_cost_usd="1.30")
        print(f"{batch['id']}: {batch['jobs']} jobs,", end=" ")
        print(f"estimated {batch['estimated_cost_usd']} USD, at most {batch['max_cost_usd']} USD")

        # Or give a `callback_url`: one notification, `batch.completed`, comes at the end.
        while batch["receipt"] is None:
            time.sleep(0.5)
            batch = client.get_batch(batch["id"])

    made = [line for line in batch["receipt"] if line["status"] == "completed"]
    paid = sum(Decimal(line["cost_usd"]) for line in made)
    print(f"completed: {len(made)} clips of {batch['seconds'] / len(made):g} s each for {paid} USD")
    errors = {line["error"] for line in batch["receipt"] if line["status"] != "completed"}
    print(f"not made: {len(SCENES) - len(made)},", *errors)


if __name__ == "__main__":
    main()
