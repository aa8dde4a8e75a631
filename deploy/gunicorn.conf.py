"""gunicorn's settings for the receiver."""

import os

bind = f"0.0.0.0:{os.environ.get('PORT', '8000')}"
worker_class = "gthread"
workers = int(os.environ.get("WEB_CONCURRENCY", "1"))
threads = int(os.environ.get("WEB_THREADS", "32"))
timeout = 60
graceful_timeout = 20
keepalive = 5
max_requests = 0
limit_request_line = 4094
limit_request_fields = 64
limit_request_field_size = 8190
# The token of a callback is a secret: it stands in the path, so paths are not logged as they come.
accesslog = None
errorlog = "-"
loglevel = "warning"


def on_starting(server):
    """A missing setting is told once, in one line, before any worker is started."""
    from shared.settings import SettingsError, load

    try:
        load(os.environ)
    except SettingsError as error:
        raise SystemExit(str(error)) from None
