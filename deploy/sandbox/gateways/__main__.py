"""Run the sandbox gateways until a signal stops them.

`python -m rushes.deploy.sandbox.gateways --port 9100 --data DIR [--inputs DIR]`
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from rushes.deploy.sandbox.gateways.app import Sandbox
from rushes.deploy.sandbox.gateways.server import SandboxServer
from rushes.deploy.sandbox.gateways.settings import from_environ


def main() -> None:
    """Serve on 127.0.0.1; SIGTERM and SIGINT end it."""
    parser = argparse.ArgumentParser(prog="python -m rushes.deploy.sandbox.gateways", description=__doc__)
    parser.add_argument("--port", type=int, default=9100, help="0 takes a free one")
    parser.add_argument("--data", type=Path, required=True, help="directory of the billing database and the clips")
    parser.add_argument("--inputs", type=Path, help="a directory whose files are served under /inputs/")
    arguments = parser.parse_args()
    server = SandboxServer(arguments.port)
    sandbox = Sandbox(arguments.data, f"http://127.0.0.1:{server.port}", from_environ(os.environ, arguments.inputs))
    server.respond = sandbox.respond
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    sandbox.callback_sender.start()
    print(f"sandbox gateways on http://127.0.0.1:{server.port}", file=sys.stderr, flush=True)
    server.serve_forever(poll_interval=0.1)
    sandbox.callback_sender.stop()


if __name__ == "__main__":
    main()
