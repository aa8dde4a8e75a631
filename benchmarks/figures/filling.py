"""A ledger with any number of jobs in line, of any number of tenants: only the lines know of them."""

from __future__ import annotations

import logging
import os
from decimal import Decimal
from typing import Any

import redis
import structlog

from benchmarks.rig.stack import Rig
from rushes.shared.domain import fair_shares
from rushes.shared.ledger import keys
from rushes.shared.services import Services, build

MILLION = 1_000_000
CHUNK = 10_000
GATEWAY = "apimodels"
PRICE = Decimal("0.40")
PRIORITY = 5


def services_of(rig: Rig, **env: str) -> Services:
    """Rushes' own parts in this process."""
    os.environ.update({**rig.env, **env})  # boto3 reads its own variables there
    services = build(os.environ)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))  # not a line for each job
    return services


def client_of(rig: Rig) -> Any:
    return redis.Redis.from_url(rig.env["REDIS_URL"])


def tenant(number: int, tenants: int) -> str:
    """Of a job by its number. The tenant of the rig's own jobs is called so, if there is one only."""
    return "bench" if tenants == 1 else f"tenant-{number % tenants}"


def line(number: int, tenants: int) -> str:
    return f"{tenant(number, tenants)}:{PRIORITY}"


def due(line: str) -> str:
    return keys.due(f"submit:{GATEWAY}:{line}")


def job_id(number: int, mark: str = "0") -> str:
    return f"job_{mark}{number:025d}"


def fill(client: Any, count: int, tenants: int, due_at: int, mark: str = "0") -> None:
    """Ids of jobs in the lines of so many tenants, due one after the other from that moment (ms)."""
    client.config_set("appendfsync", "no")
    later = keys.later("submit", GATEWAY)
    cost = fair_shares.cost(PRICE)
    for first in range(tenants):
        name, numbers = line(first, tenants), range(first, count, tenants)
        with client.pipeline(transaction=False) as pipe:
            for start in range(0, len(numbers), CHUNK):
                ids = {job_id(number, mark): due_at + number for number in numbers[start : start + CHUNK]}
                pipe.zadd(due(name), ids)
                pipe.hset(keys.QUEUED, mapping=dict.fromkeys(ids, f"{name}:{cost}"))
                pipe.zadd(later, {name: due_at + first}, lt=True)
                pipe.execute()
    client.config_set("appendfsync", "always")
