"""What the processes do with Redis and with the broker, done once: rights and limits show only then."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping

from rushes.shared.ledger import rehearsal
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


def try_broker(environ: Mapping[str, str]) -> Finding:
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
    if problem:
        advice = "check RUSHES_BROKER_URL, or REDIS_URL where it is not set, and the rights of its user"
        return Finding("broker", BAD, f"no message gets through: {problem}", advice)
    return Finding("broker", OK, "a message gets through")
