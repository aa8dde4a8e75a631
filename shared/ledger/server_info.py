"""What kind of Redis the ledger lives in: whether it would lose what was written, or forget it to make room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import redis

from rushes.shared.ledger import old_names
from rushes.shared.ledger.connection import connect

CONFIG_PATTERNS = ("appendonly", "appendfsync", "maxmemory-policy", "zset-max-*")
# Members of a leaf, and letters of the longest one (lua/parts/leaves.lua).
LEAF_MEMBERS, LEAF_LETTERS = 120, 64


@dataclass(frozen=True, slots=True)
class Server:
    """What a Redis tells of itself; `config` lacks what may not be read, as with managed ones."""

    problem: str | None = None
    """Why it was not reached; then nothing else is known."""
    info: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    has_old_names: bool = False
    """Whether a ledger of an earlier version is there, to be moved at the next start."""

    @property
    def is_cluster(self) -> bool:
        """Whether it is a node of a cluster."""
        return str(self.info.get("redis_mode", "")) == "cluster"

    @property
    def appends(self) -> bool:
        """Whether each write goes to a log on disk."""
        return str(self.info.get("aof_enabled", "")) == "1"

    @property
    def policy(self) -> str | None:
        """What it does when its memory is full."""
        return self.config.get("maxmemory-policy") or self.info.get("maxmemory_policy")

    @property
    def packs_leaves(self) -> bool:
        """Whether it keeps sets as small as the leaves packed; so it does by default, and where that cannot be read."""
        leasts = {"entries": LEAF_MEMBERS, "value": LEAF_LETTERS}
        names = [name for name in self.config if name.startswith("zset-max-")]
        limits = {name.rpartition("-")[2]: int(self.config[name]) for name in names}
        return all(limits.get(name, least) >= least for name, least in leasts.items())


def server(url: str, timeout_s: float = 2) -> Server:
    """Ask the Redis at this address; raises nothing."""
    try:
        with connect(url, timeout_s) as client:
            client.ping()
            return Server(None, _info(client), _config(client), _has_old_names(client))
    except (redis.RedisError, OSError, ValueError) as error:
        return Server(_why(error))


def _info(client: redis.Redis) -> Mapping[str, Any]:
    try:
        info: Mapping[str, Any] = client.info()
    except redis.ResponseError:
        return {}
    return info


def _has_old_names(client: redis.Redis) -> bool:
    try:
        return old_names.is_waiting(client)
    except redis.ResponseError:  # no right to them; or a cluster, where they would be in other slots
        return False


def _config(client: redis.Redis) -> Mapping[str, str]:
    try:
        replies = [client.config_get(pattern) for pattern in CONFIG_PATTERNS]
        return {str(name): str(value) for reply in replies for name, value in reply.items()}
    except redis.ResponseError:
        return {}


def _why(error: Exception) -> str:
    """The kind of error and the server's own word; connection errors may quote the address, and a password in it."""
    message = str(error) if isinstance(error, redis.ResponseError) else ""
    return f"{type(error).__name__} {message}".strip()
