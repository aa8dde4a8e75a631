"""Bytes in Redis for each job that waits and for each that has ended, and by which keys."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from benchmarks.figures.filling import MILLION, client_of, services_of
from benchmarks.rig.load import RUSHES_REQUEST, send_jobs
from benchmarks.rig.measure import redis_info
from benchmarks.rig.stack import Rig
from benchmarks.rig.systems import Rushes, Work, wait_for_manifests
from benchmarks.table import Row, Size, below, reported, without_goal
from rushes.deploy.sandbox.ports import wait_until
from rushes.shared.domain.job import State
from rushes.shared.ledger import keys
from rushes.shared.ledger.connection import connect
from rushes.shared.ledger.overview import Overview
from rushes.shared.ledger.redis_store import RedisStore

WAITING, QUICK_WAITING = 20_000, 3000
ENDED, QUICK_ENDED = 1000, 200
WAITING_GOAL, ENDED_GOAL = 800, 500
PROMPT = "a red kite over the sea at dawn, seen from a boat, take {}"
# What differs from job to job, tenant to tenant or day to day in a key's name.
PARTS = re.compile(r"(?<=:job:).*|(?<=:idempotency).*|(?<=:label:).*|(?<=:batch:).*|(?<=:index:).*")
SCAN = 2000
TIMEOUT_S = 5


class Memory:
    """What a Redis holds at one moment: in all, and by kinds of keys."""

    def __init__(self, rig: Rig) -> None:
        client = client_of(rig)
        self.kinds = Counter[str]()
        names = list(client.scan_iter(count=SCAN))
        for start in range(0, len(names), SCAN):
            with client.pipeline(transaction=False) as pipe:
                for name in names[start : start + SCAN]:
                    pipe.memory_usage(name, samples=0)
                for name, size in zip(names[start : start + SCAN], pipe.execute(), strict=True):
                    kind = PARTS.sub("*", name.decode()).removeprefix(f"{keys.ROOT}:")
                    self.kinds[kind] += size or 0
        client.close()
        self.used = int(redis_info(rig.redis_port, "memory")["used_memory"])

    def since(self, before: Memory, jobs: int) -> tuple[float, Mapping[str, float]]:
        """Bytes a job in all, and by kinds of keys, the largest first.

        `table of keys and the rest`: a key's entry in Redis' own table, and what belongs to no key.
        """
        total = (self.used - before.used) / jobs
        kinds = {kind: (size - before.kinds[kind]) / jobs for kind, size in self.kinds.items()}
        kinds["table of keys and the rest"] = total - sum(kinds.values())
        return total, dict(sorted(kinds.items(), key=lambda item: -item[1]))


def _by_keys(key: str, figure: str, kinds: Mapping[str, float]) -> Row:
    parts = (f"{kind} {size:.0f}" for kind, size in kinds.items() if abs(size) >= 1)
    return Row(f"{key}_keys", f"{figure}: bytes by keys", ", ".join(parts))


def waiting(size: Size) -> list[Row]:
    """Of jobs that wait, each with an idempotency key: its record, its places in lines and indexes, its key."""
    count = QUICK_WAITING if size.quick else WAITING
    with Rig() as rig:
        services = services_of(rig)
        client_of(rig).config_set("appendfsync", "no")
        services.intake.accept({**RUSHES_REQUEST, "prompt": PROMPT.format("first")}, "bench", "first", services.now())
        before = Memory(rig)
        for number in range(count):
            request = {**RUSHES_REQUEST, "prompt": PROMPT.format(number)}
            services.intake.accept(request, "bench", f"order-{number:032d}", services.now())
        after = Memory(rig)
    total, kinds = after.since(before, count)
    without_key = total - kinds.get("idempotency*", 0)
    row = below("waiting_bytes", f"Redis a waiting job (of {count:,})", total, "bytes", WAITING_GOAL)
    return [
        without_goal(row, f"of {WAITING:,}") if size.quick else row,
        _by_keys("waiting_bytes", "a waiting job", kinds),
        reported("waiting_bytes_no_key", "the same without its idempotency key", without_key, "bytes, about"),
        reported("waiting_million", "a million waiting jobs, from that", total * MILLION / 1e9, "GB"),
    ]


def ended(size: Size) -> list[Row]:
    """Of real jobs, all made through the rig, until their retention passes; with idempotency keys and without."""
    count = size.jobs or (QUICK_ENDED if size.quick else ENDED)
    rows = []
    for with_keys in (True,) if size.quick else (True, False):
        total, kinds = _ended(size.tls, count, with_keys)
        name = "with an idempotency key" if with_keys else "without one"
        key = "ended_bytes" if with_keys else "ended_bytes_no_key"
        row = below(key, f"Redis an ended job, {name} (of {count:,})", total, "bytes", ENDED_GOAL)
        rows += [
            row if count >= ENDED else without_goal(row, f"of {ENDED:,}"),
            _by_keys(key, f"an ended job {name}", kinds),
            reported(f"{key}_record", f"of it the record, {name}", kinds.get("job:*", 0), "bytes"),
        ]
    return rows


def _ended(tls: bool, count: int, with_keys: bool) -> tuple[float, Mapping[str, float]]:
    with Rig(tls=tls) as rig:
        system, work = Rushes(), Work(poll_s=0.5, tls=tls)
        system.start(rig, work)  # its warm jobs bring every counter and index
        before = _at_rest(rig, system.warm_jobs)
        rig.start_rushes(RUSHES_POLL_FIRST_S=str(work.poll_s))
        rig.gateway("/_rig/pace", {"median_s": 1})
        rig.s3("/_rig/clear")
        asyncio.run(send_jobs(rig.web_url, "/v1/jobs", RUSHES_REQUEST, count, with_keys=with_keys))
        wait_for_manifests(rig, count, Work(jobs=count).timeout_s)
        return _at_rest(rig, system.warm_jobs + count).since(before, count)


def _at_rest(rig: Rig, jobs: int) -> Memory:
    """When all jobs have ended and nothing but Redis runs: no connection, no message, no window of a minute counts."""
    client = client_of(rig)
    with connect(rig.env["REDIS_URL"], TIMEOUT_S) as reader:
        overview = Overview(RedisStore(reader))
        wait_until(lambda: overview.counts(None)[State.COMPLETED] == jobs, 60, "the ends of all jobs")
        reader.connection_pool.disconnect()  # what Redis keeps for a connection is no job's
    for name in ("web", "worker", "scheduler"):
        process = rig.processes[name]
        process.terminate()
        process.wait()
    _drop_short_lived(client)
    return Memory(rig)


def _drop_short_lived(client: Any) -> None:
    """Take away what is gone by itself a minute later, and Celery's messages and bindings."""
    client.script_flush()
    for name in client.scan_iter(count=SCAN):
        if not name.startswith(f"{keys.ROOT}:".encode()) or name.startswith(keys.window("").encode()):
            client.delete(name)
