"""gunicorn's settings for the receiver."""

import os

from rushes.shared import logs, thread_switching
from rushes.shared.services import load_prices
from rushes.shared.settings import SettingsError, load

# Before gunicorn makes its own handlers: they keep the stream that they find.
logs.configure_process()

# What is missing or malformed is told once, in one line, before anything is started: a worker that found it would
# be started again for ever.
try:
    settings = load(os.environ)
    load_prices(settings)
except SettingsError as error:
    raise SystemExit(str(error)) from None

bind = f"0.0.0.0:{settings.port}"
worker_class = "rushes.webhook_receiver.gunicorn_worker.Worker"
workers = int(os.environ.get("WEB_CONCURRENCY", "1"))
threads = int(os.environ.get("WEB_THREADS", "32"))
timeout = 60
graceful_timeout = 20
keepalive = 5
max_requests = 0
# RUSHES_TRUSTED_PROXIES alone says which proxies are believed. gunicorn would take scheme, path and SCRIPT_NAME out of
# the headers of everybody on this machine.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}
limit_request_line = 8190
limit_request_fields = 64
limit_request_field_size = 8190
# The token of a callback is a secret: it stands in the path, so paths are not logged as they come.
accesslog = None
errorlog = "-"
loglevel = "warning"


def post_worker_init(worker: object) -> None:
    """As in worker/app.py."""
    thread_switching.tune()
