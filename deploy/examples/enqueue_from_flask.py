"""Enqueue from Flask: an order becomes a job, and its number the idempotency key: who clicks twice pays once.

Run it beside `rushes up`, with the settings that this writes:

    . .rushes/env
    python enqueue_from_flask.py

It prints:

    order 17: 202 job_01KCB4W8Q5V2N7R9T3X6Y0ZA1B queued
    order 17 again: the same job
    order 18: 422 {'duration': ['Must be from 3 to 15 with kling-v3.']}
"""

from flask import Flask, request

from rushes.client import Client, InvalidRequest, Unreachable

shop = Flask(__name__)
rushes = Client.connect()  # RUSHES_URL and RUSHES_API_KEY


@shop.post("/orders/<number>/clip")
def order_clip(number: str):
    """Make the clip of an order; called again, it answers with the same job."""
    order = request.get_json()
    job = {
        "model": "kling-v3",
        "prompt": order["prompt"],
        "duration": order.get("seconds", 5),
        "metadata": {"order": number},  # comes back with the job, in its notification and in the manifest
    }
    try:
        accepted = rushes.submit(job, idempotency_key=f"order-{number}")
    except InvalidRequest as refused:
        return {"problems": dict(refused.fields)}, 422
    except Unreachable:
        # The key makes it safe to try again, even if the job was accepted and only the answer was lost.
        return {"problem": "try again in a minute"}, 503
    return {"job": accepted["id"], "status": accepted["status"]}, 202


if __name__ == "__main__":
    browser = shop.test_client()
    first = browser.post("/orders/17/clip", json={"prompt": "a lighthouse in a storm"})
    print("order 17:", first.status_code, first.json["job"], first.json["status"])

    again = browser.post("/orders/17/clip", json={"prompt": "a lighthouse in a storm"})
    print("order 17 again:", "the same job" if again.json["job"] == first.json["job"] else "another job")

    wrong = browser.post("/orders/18/clip", json={"prompt": "a lighthouse in a storm", "seconds": 60})
    print("order 18:", wrong.status_code, wrong.json["problems"])
