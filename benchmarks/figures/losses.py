"""What is lost and what is paid for twice while the worker is killed and answers of the gateway are lost.

By the gateway's books and the bucket. A clip is lost if it was billed and no manifest names one of its tasks. It is
billed twice if the gateway has more than one task of the same prompt. A job is forgotten if it was not even billed.
Those that a system itself shows as in doubt are counted apart: a person can still decide.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.rig.stack import Rig
from benchmarks.rig.systems import Bare, ByHand, Rushes, Work, task_id_of
from benchmarks.table import Row, Size
from rushes.shared.client import Client

LOSE_EVERY = 20
KILL_AT = (0.25, 0.5, 0.75)
RATE = 5.0
# Celery gets 20 s in place of its hour, and no limit on what comes again at once, so that a run need not wait for it.
REDELIVERY = {"visibility_timeout": 20, "unacked_restore_limit": 1000, "unacked_restore_throttle": 1}
# Longer than that, than any lease of Rushes, and than both starts of a worker on a busy machine.
QUIET_S = 75.0


@dataclass(frozen=True, slots=True)
class Loss:
    """What the books say of one system: clips, and bills."""

    lost: int
    billed_twice: int
    forgotten: int
    in_doubt: int


class RushesWithCallbacks(Rushes):
    """Rushes as it runs in service: the gateway can call back."""

    worker = "worker"

    def start(self, rig: Rig, work: Work) -> None:
        rig.start_rushes(RUSHES_PUBLIC_URL=rig.web_url, RUSHES_POLL_FIRST_S=str(work.poll_s))
        self.warm(rig)

    def restarted(self, rig: Rig, work: Work) -> None:
        """A queue hands out the work again by itself."""

    def in_doubt(self, rig: Rig) -> set[str]:
        """The prompts of `unconfirmed` jobs: nobody knows whether the gateway has them, so they are not sent again."""
        with Client(rig.web_url, "bench-key") as client:
            return {job["request"]["prompt"] for job in client.list(status="unconfirmed")}


class Celery(ByHand):
    """Celery by hand; a submit that was not answered is an error, or sent again."""

    worker = "worker"

    def __init__(self, retries_submits: bool) -> None:
        self._env = {"BY_HAND_RETRIES_SUBMITS": "1"} if retries_submits else {}

    def start(self, rig: Rig, work: Work) -> None:
        rig.env.update(self._env, BY_HAND_REDELIVERY=json.dumps(REDELIVERY))
        super().start(rig, work)

    def restarted(self, rig: Rig, work: Work) -> None:
        """A queue hands out the work again by itself."""

    def in_doubt(self, rig: Rig) -> set[str]:
        """It knows of no doubt."""
        return set()


class Program(Bare):
    """The asyncio program; started again, it leaves out what has a manifest."""

    worker = "program"
    warm_jobs = 0  # it would make them again after each kill
    program = (sys.executable, "-m", "benchmarks.baseline.bare_asyncio", "--resume")

    def restarted(self, rig: Rig, work: Work) -> None:
        """It has no queue: it is told again what is to be made."""
        self.give(rig, work)

    def in_doubt(self, rig: Rig) -> set[str]:
        """It knows of no doubt."""
        return set()


Measured = RushesWithCallbacks | Celery | Program
AGAINST: Mapping[str, Measured] = {
    "Celery by hand": Celery(retries_submits=False),
    "the same, submits retried": Celery(retries_submits=True),
    "asyncio program": Program(),
}


NAMES = {
    "lost": "clips paid for and lost",
    "billed_twice": "clips billed twice",
    "forgotten": "jobs forgotten",
    "in_doubt": "jobs shown as in doubt",
}


def losses(size: Size) -> list[Row]:
    """Each system with three kills of its worker, and every twentieth answer to a submit lost."""
    work = Work(jobs=min(size.jobs or 200, 200), rate=RATE, median_s=4, poll_s=1, tls=size.tls)
    systems = {"Rushes": RushesWithCallbacks(), **AGAINST}
    with ThreadPoolExecutor(len(systems)) as pool:  # side by side: they mostly wait
        rushes, *theirs = pool.map(partial(_lost, work=work), systems.keys(), systems.values())
    return [_row(field, f"{name}, of {work.jobs}", rushes, theirs) for field, name in NAMES.items()]


def _row(field: str, name: str, rushes: Loss, theirs: Sequence[Loss]) -> Row:
    others = "; ".join(f"{system}: {getattr(loss, field)}" for system, loss in zip(AGAINST, theirs, strict=True))
    count = getattr(rushes, field)
    goal, met = ("", None) if field == "in_doubt" else ("none", count == 0)
    return Row(f"losses_{field}", name, str(count), others, "", goal, met, count)


def _lost(name: str, system: Measured, work: Work) -> Loss:
    with Rig(tls=work.tls) as rig:
        system.start(rig, work)
        rig.gateway("/_rig/pace", {**work.pace(), "lose_every": LOSE_EVERY})
        rig.s3("/_rig/clear")
        giving = threading.Thread(target=system.give, args=(rig, work))
        giving.start()
        for share in KILL_AT:
            _wait_for_bills(rig, share * work.jobs)
            rig.processes.kill_and_restart(system.worker)
            system.restarted(rig, work)
        giving.join()
        _wait_until_quiet(rig)
        loss = _by_the_books(work.jobs, system.in_doubt(rig), rig.gateway("/_rig/tasks"), rig.s3("/_rig/manifests"))
    print(f"  {name}: {loss}", flush=True)
    return loss


def _wait_for_bills(rig: Rig, count: float) -> None:
    give_up_at = time.monotonic() + QUIET_S
    while rig.gateway("/_rig/counts")["bills"] < count and time.monotonic() < give_up_at:
        time.sleep(0.05)


def _wait_until_quiet(rig: Rig) -> None:
    """Return when the books have been the same for so long that nothing more is to come."""
    last, since = None, time.monotonic()
    while time.monotonic() - since < QUIET_S:
        if (now := (rig.gateway("/_rig/counts")["bills"], rig.s3("/_rig/counts")["manifests"])) != last:
            last, since = now, time.monotonic()
        time.sleep(0.5)


def _by_the_books(
    jobs: int, in_doubt: set[str], tasks: Iterable[Mapping[str, Any]], manifests: Iterable[Mapping[str, Any]]
) -> Loss:
    prompts = {task["id"]: task["prompt"] for task in tasks}
    bills = Counter(prompts.values())
    archived = {prompts.get(task_id_of(manifest["body"])) for manifest in manifests}
    return Loss(
        lost=len(bills.keys() - archived - in_doubt),
        billed_twice=bills.total() - len(bills),
        forgotten=jobs - len(bills.keys() | in_doubt),
        in_doubt=len(in_doubt),
    )
