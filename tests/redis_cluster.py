"""A Redis cluster of a test's own: masters, replicas of them, and slots that move."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import permutations
from typing import Any

import redis
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError
from redis_server import RedisServer, running

from rushes.shared.ledger import keys

SLOTS = 16_384
SLOT = key_slot(keys.MARK.encode())
"""The one slot of the ledger."""
# Nobody is held for dead by himself, on however slow a machine: tests say when.
NODE_TIMEOUT_MS = 60_000
OPTIONS = ("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf")


class RedisCluster:
    """Nodes on 127.0.0.1, each with a port of its own; the ledger's slot is at the last master."""

    def __init__(self, masters: Sequence[RedisServer], replicas: Sequence[RedisServer]) -> None:
        self.masters, self.replicas = list(masters), list(replicas)
        self.url = f"redis://127.0.0.1:{masters[0].port}/0"

    @property
    def urls(self) -> str:
        """All nodes in one address."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in (*self.masters, *self.replicas))
        return f"redis://{hosts}/0"

    def owner(self) -> RedisServer:
        """The master that has the ledger's slot now."""
        for node in (*self.masters, *self.replicas):
            with _client(node) as client:
                try:
                    client.exists(keys.MARK)
                except (MovedError, ClusterDownError, redis.ConnectionError):
                    continue
                except AskError:  # it has the slot, which is on its way to another
                    pass
                return node
        raise AssertionError("no node has the slot")

    def begin_move(self, target: RedisServer) -> None:
        """From now on the slot is on its way: both its nodes refuse what they have not all keys of."""
        source = self.owner()
        with _client(source) as old, _client(target) as new:
            new.execute_command("CLUSTER SETSLOT", SLOT, "IMPORTING", _id(old))
            old.execute_command("CLUSTER SETSLOT", SLOT, "MIGRATING", _id(new))

    def move_keys(self, target: RedisServer, count: int = 1_000_000) -> int:
        """Move so many keys of the slot; how many there were."""
        with _client(self.owner()) as old:
            names = old.execute_command("CLUSTER GETKEYSINSLOT", SLOT, count)
            if names:
                old.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", *names)
            return len(names)

    def end_move(self, target: RedisServer) -> None:
        with _client(target) as new:
            own = _id(new)
        for node in (target, *(master for master in self.masters if master is not target)):
            with suppress(redis.ConnectionError), _client(node) as client:
                client.execute_command("CLUSTER SETSLOT", SLOT, "NODE", own)

    def fail_over(self) -> None:
        """The owner dies, and its replica takes over."""
        self.owner().stop()
        with _client(self.replicas[0]) as client:
            client.execute_command("CLUSTER FAILOVER", "TAKEOVER")

    def move_slot(self, target: RedisServer) -> None:
        """Move the slot with all its keys to another master."""
        self.begin_move(target)
        self.move_keys(target)
        self.end_move(target)


def _client(node: RedisServer) -> redis.Redis:
    return redis.Redis(port=node.port)


def _id(client: redis.Redis) -> str:
    return str(client.execute_command("CLUSTER MYID").decode())


def _wait(is_so: Callable[[], bool]) -> None:
    while not is_so():
        time.sleep(0.02)


def _is_agreed(nodes: Sequence[RedisServer]) -> bool:
    for node in nodes:
        with _client(node) as client:
            info: Any = client.execute_command("CLUSTER INFO")
            if info["cluster_state"] != "ok" or info["cluster_known_nodes"] != str(len(nodes)):
                return False
    return True


def _replicate(replica: RedisServer, master: RedisServer) -> None:
    with _client(master) as upper, _client(replica) as lower:
        identity = _id(upper)

        def knows() -> bool:
            return identity in lower.execute_command("CLUSTER NODES", decode=True).__str__()

        _wait(knows)
        lower.execute_command("CLUSTER REPLICATE", identity)
        _wait(lambda: lower.info("replication").get("master_link_status") == "up")


@contextmanager
def running_cluster(*, masters: int = 3, replicas: int = 0, options: Sequence[str] = ()) -> Iterator[RedisCluster]:
    """So many masters, the slots shared out among them; the replicas are all of the last one."""
    with ExitStack() as stack:
        every = (*OPTIONS, "--cluster-node-timeout", str(NODE_TIMEOUT_MS), *options)
        nodes = [stack.enter_context(running(*every)) for _ in range(masters + replicas)]
        heads, copies = nodes[:masters], nodes[masters:]
        bounds = [SLOTS * number // masters for number in range(masters + 1)]
        # The ledger's slot goes to the last, so that an address of the first alone has to be followed.
        for number, node in enumerate(heads):
            slots = [slot for slot in range(bounds[number], bounds[number + 1]) if slot != SLOT]
            slots += [SLOT] if number == masters - 1 else []
            with _client(node) as client:
                client.execute_command("CLUSTER ADDSLOTS", *slots)
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for node, other in permutations(nodes, 2):  # by hearsay alone it takes seconds
            with _client(node) as client:
                client.execute_command("CLUSTER MEET", "127.0.0.1", other.port)
        _wait(lambda: _is_agreed(nodes))
        for copy in copies:
            _replicate(copy, heads[-1])
        yield RedisCluster(heads, copies)
