"""How long a fresh start takes until the first job is accepted."""

from __future__ import annotations

import http.client
import json
import statistics
import time
from collections.abc import Mapping, Sequence

from benchmarks.rig.load import BY_HAND_REQUEST, RUSHES_REQUEST
from benchmarks.rig.stack import READY_S, ROOT, Rig
from benchmarks.rig.systems import ByHand, wait_for_manifests
from benchmarks.table import Row, Size, below, reported
from rushes.deploy.sandbox.supervisor import procfile

ROUNDS, QUICK_ROUNDS = 3, 1
GOAL_S = 1.5
ASK_S = 0.005
HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer bench-key"}


def start(size: Size) -> list[Row]:
    """From the start of all processes at once, over an empty Redis, to the first 202; the middle of several starts."""
    accepted, archived, by_hand = [], [], []
    for _ in range(QUICK_ROUNDS if size.quick else ROUNDS):
        with Rig(tls=size.tls) as rig:
            rig.gateway("/_rig/pace", {"median_s": 0.01, "sigma": 0.01})
            commands = {name: command.argv for name, command in procfile(ROOT / "Procfile", rig.env).items()}
            began_at = time.monotonic()
            _start(rig, commands, {"RUSHES_POLL_FIRST_S": "0.1"})
            accepted.append(_accepted_s(rig, "/v1/jobs", RUSHES_REQUEST, began_at))
            wait_for_manifests(rig, 1, READY_S)
            archived.append(time.monotonic() - began_at)
        with Rig(tls=size.tls) as rig:
            began_at = time.monotonic()
            _start(rig, ByHand().commands(rig), {})
            by_hand.append(_accepted_s(rig, ByHand.path, BY_HAND_REQUEST, began_at))
    against = f"Celery by hand: {statistics.median(by_hand):.2f} s"
    figure = "start of all processes to the first job accepted"
    return [
        below("start", figure, statistics.median(accepted), "s", GOAL_S, against),
        reported("start_archived", "the same, to its manifest in the bucket", statistics.median(archived), "s"),
    ]


def _start(rig: Rig, commands: Mapping[str, Sequence[str]], env: Mapping[str, str]) -> None:
    for name, argv in commands.items():
        rig.processes.start(name, argv, {**rig.env, **env})


def _accepted_s(rig: Rig, path: str, request: Mapping[str, object], began_at: float) -> float:
    """Ask again every 5 ms, until a job is accepted; raises TimeoutError."""
    body = json.dumps({**request, "prompt": "the first job"})
    while time.monotonic() - began_at < READY_S:
        time.sleep(ASK_S)
        line = http.client.HTTPConnection("127.0.0.1", rig.web_port, timeout=READY_S)
        try:
            line.request("POST", path, body, HEADERS)
            if line.getresponse().status == 202:
                return time.monotonic() - began_at
        except OSError:
            continue
        finally:
            line.close()
    raise TimeoutError(f"no job was accepted within {READY_S} s")
