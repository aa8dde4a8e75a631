"""gunicorn's settings for the receiver."""

import gc
import os

# First, for the package keeps out what its libraries need not import. The app is for the workers, which are forks of
# this process: they start at once, and have its memory in common. Invariant: it connects to nothing and starts no
# thread; wsgi.py does, after the fork.
import rushes.webhook_receiver.app  # noqa: F401
from rushes.shared import heap, logs, thread_switching
from rushes.shared.services import load_prices
from rushes.shared.settings import SettingsError, load

# Before gunicorn makes its own handlers: they keep the stream that they find.
logs.configure_process()
heap.tune()

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


def pre_fork(server: object, worker: object) -> None:
    """A collection in the worker would write to the memory that both have in common."""
    gc.freeze()


def post_worker_init(worker: object) -> None:
    """As in worker/app.py."""
    thread_switching.tune()
