"""What the processes do with Redis and with the broker, done once: rights and limits show only then."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping

from rushes.shared.ledger import rehearsal
from rushes.shared.operations.connection_diagnosis import Cause, Diagnosis, diagnose, endpoints
from rushes.shared.operations.finding import BAD, OK, WARN, Finding

RIGHTS = "give the user the rights in deploy/redis.conf"
BROKER_S = 60


def try_ledger(url: str) -> Iterator[Finding]:
    """Run each program of the ledger, and ring the bell; raises nothing."""
    refused = rehearsal.run_programs(url)
    if refused:
        names = ", ".join(sorted(refused))
        yield Finding("redis.programs", BAD, f"refuses {names}: {next(iter(refused.values()))}", RIGHTS)
    else:
        yield Finding("redis.programs", OK, "runs every program of the ledger")
    if problem := rehearsal.ring(url):
        advice = f"{RIGHTS}: without SUBSCRIBE and PUBLISH due jobs are only looked for once a second"
        yield Finding("redis.channel", WARN, f"no wake-ups: {problem}", advice)
    else:
        yield Finding("redis.channel", OK, "wakes the scheduler")


def diagnose_server(url: str, setting: str = "REDIS_URL") -> Diagnosis | None:
    """Why the server of this address is not reached; None if a connection is made, or for a socket."""
    advice = {
        Cause.AUTHORITY: f"trust its authority: ssl_ca_certs=/file in {setting}",
        Cause.HANDSHAKE: f"give it a certificate if it wants one (ssl_certfile=/file in {setting}), and TLS 1.2 or 1.3",
        Cause.CLIENT_CERTIFICATE: f"give it one: ssl_certfile=/file and ssl_keyfile=/file in {setting}",
        Cause.NO_TLS: f"write {setting} without TLS (redis://, amqp://), or use the port with TLS",
        Cause.NEEDS_TLS: f"write {setting} with TLS (rediss://, amqps://)",
        **dict.fromkeys((Cause.NAME, Cause.REFUSED, Cause.SILENT), f"check {setting} and the network"),
    }
    try:
        found = [diagnose(endpoint, advice) for endpoint in endpoints(url)]
    except ValueError:
        return None
    return next(filter(None, found), None)


def try_broker(environ: Mapping[str, str], url: str) -> Finding:
    """Send a message through the broker and receive it; in a process of its own, for kombu is the worker's alone."""
    command = [sys.executable, "-m", "rushes.worker.broker"]
    try:
        done = subprocess.run(  # noqa: S603
            command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=BROKER_S, check=False
        )
    except subprocess.TimeoutExpired:
        problem = f"no answer within {BROKER_S} s"
    else:
        problem = done.stderr.strip().rpartition("\n")[2] if done.returncode else ""
    if problem and (diagnosis := diagnose_server(url, "RUSHES_BROKER_URL")):
        return Finding("broker", BAD, f"no message gets through: {diagnosis.text}", diagnosis.advice)
    if problem:
        advice = "check RUSHES_BROKER_URL, or REDIS_URL where it is not set, and the rights of its user"
        return Finding("broker", BAD, f"no message gets through: {problem}", advice)
    return Finding("broker", OK, "a message gets through")
