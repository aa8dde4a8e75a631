"""An embedded S3 API: the server of moto with one bucket.

`python -m rushes.deploy.sandbox.s3 --port 9000 --bucket rushes`.
Objects are in its memory: a restart empties the bucket.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import threading
from collections.abc import Iterator

from rushes.deploy.sandbox.ports import free_ports, http_status, wait_until
from rushes.deploy.sandbox.supervisor import Command, Supervisor

START_TIMEOUT_S = 60


def command(port: int, bucket: str) -> Command:
    """The command that runs it."""
    return Command([sys.executable, "-m", "rushes.deploy.sandbox.s3", "--port", str(port), "--bucket", bucket])


def has_bucket(port: int, bucket: str) -> bool:
    """Whether the API answers and the bucket exists."""
    return http_status(port, f"/{bucket}", "HEAD") == 200


@contextlib.contextmanager
def running(bucket: str, port: int = 0) -> Iterator[str]:
    """An S3 API for the duration of a `with`; yields its endpoint."""
    port = port or free_ports(1)[0]
    with Supervisor({"s3": command(port, bucket)}):
        wait_until(lambda: has_bucket(port, bucket), START_TIMEOUT_S, "s3")
        yield f"http://127.0.0.1:{port}"


def main() -> None:
    """Serve until a signal ends it."""
    parser = argparse.ArgumentParser(prog="python -m rushes.deploy.sandbox.s3", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--bucket", required=True)
    arguments = parser.parse_args()
    from moto.server import main as serve  # here, because it takes half a second

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    threading.Thread(target=_make_bucket, args=(arguments.port, arguments.bucket), daemon=True).start()
    serve(["-H", "127.0.0.1", "-p", str(arguments.port)])


def _make_bucket(port: int, bucket: str) -> None:
    wait_until(lambda: http_status(port, f"/{bucket}", "PUT") == 200, START_TIMEOUT_S, "s3")


if __name__ == "__main__":
    main()
