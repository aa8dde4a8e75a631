"""Verify a notification: Rushes POSTs the end of a job to your `callback_url`, signed under Standard Webhooks.

RUSHES_WEBHOOK_SECRET is your tenant's secret of RUSHES_WEBHOOK_SECRETS. Outside of the sandbox `callback_url` must be
https at a public address. Run it beside `rushes up`:

    . .rushes/env
    pip install standardwebhooks
    python verify_a_notification.py

It prints:

    forged: 401
    job.completed: job_01KCB4W8Q5V2N7R9T3X6Y0ZA1B cost 0.42 USD
"""

import os
import threading
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer

import requests
from standardwebhooks import Webhook, WebhookVerificationError

from rushes.client import Client

webhook = Webhook(os.environ["RUSHES_WEBHOOK_SECRET"])
done = threading.Event()


class Receiver(BaseHTTPRequestHandler):
    """Your endpoint; in Flask it is `webhook.verify(request.get_data(), request.headers)`."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))  # as it came: the signature is over these bytes
        try:
            event = webhook.verify(body, dict(self.headers))
        except WebhookVerificationError:  # another secret, a changed body, or older than five minutes
            self.answer(401)
            return
        # A notification may come twice, with the same `webhook-id`: let what you do here be done once.
        job = event["data"]
        print(f"{event['type']}: {job['id']} cost {job['cost_usd']} USD")
        self.answer(204)  # any 2xx; otherwise it is sent again at growing pauses, for 24 hours
        done.set()

    def answer(self, status: int) -> None:
        """Answer without a body."""
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep the screen for the events."""


def main() -> None:
    """Receive the notification of one job, after a forged one."""
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/rushes"

    forged = {"webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
    print("forged:", requests.post(url, json={"type": "job.completed"}, headers=forged, timeout=5).status_code)

    with Client.connect() as client:
        job = {"model": "kling-v3", "prompt": "an owl at dusk", "provider": "kling", "callback_url": url}
        client.submit(job, idempotency_key=str(uuid.uuid4()))
    if not done.wait(120):
        raise SystemExit("no notification came")
    server.shutdown()


if __name__ == "__main__":
    main()
