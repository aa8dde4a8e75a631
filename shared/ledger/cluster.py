"""One shard of a cluster: connections go to the node that has the ledger's slot, wherever that is now.

All keys of the ledger are in one slot (keys.py), so at any time one node has them all, as with Sentinels. Why this is
not redis-py's RedisCluster stands in deploy/decisions.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

import redis
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, TryAgainError

from rushes.shared.ledger import keys

Address = tuple[str, int]
T = TypeVar("T")
# A chain of nodes that each name another: they do not agree yet who has the slot.
MAX_HOPS = 5
SLOT = key_slot(keys.MARK.encode())


# How often a call follows the slot, or waits for one that is just moved.
REDIRECTIONS = 5
PAUSE_S = 0.05


def follow(call: Callable[[], T]) -> T:
    """Repeat a call that a node refused because the slot is elsewhere, or is just moved there.

    Nothing of it was run, of a transaction neither; so calls that must not run twice are repeated too. ASK is not
    followed: while a slot moves, its other node refuses programs as well, for it has not all of their keys (TRYAGAIN).
    """
    for _ in range(REDIRECTIONS):
        try:
            return call()
        except (AskError, TryAgainError) as elsewhere:  # MOVED is an AskError too
            if not isinstance(elsewhere, MovedError):
                time.sleep(PAUSE_S)
    return call()


class SlotOwner:
    """Which node has the slot, as far as is known; shared by the connections of a pool.

    Whether the server is one of a cluster at all shows at the first connection.
    """

    def __init__(self, seeds: tuple[Address, ...]) -> None:
        self._seeds = seeds
        self.nodes = seeds
        """Those that may be asked, the next one first."""
        self.address: Address | None = None
        """The owner; None where it has to be found (again)."""
        self.is_cluster: bool | None = None
        """None before the first connection."""

    def lose(self, node: Address) -> None:
        """It cannot be reached: another one is asked next."""
        self.address = None
        self.nodes = (*(other for other in self.nodes if other != node), node)

    def move(self, node: Address) -> None:
        """The slot is there now."""
        self.address, self.is_cluster = node, True
        self.learn((node,))

    def learn(self, nodes: tuple[Address, ...]) -> None:
        """These are nodes of the cluster too."""
        self.nodes = tuple(dict.fromkeys((*self.nodes, *nodes, *self._seeds)))


class ShardConnection(redis.Connection):
    """A connection to whichever node has the slot when it connects."""

    def __init__(self, slot_owner: SlotOwner, **options: Any) -> None:
        self._slot_owner = slot_owner
        cast(Any, super()).__init__(**options)

    @property
    def _node(self) -> Address:
        return self.host, int(self.port)

    def connect(self) -> None:
        """Raises what redis-py raises. A pool calls it before each use."""
        owner = self._slot_owner
        if self._sock:
            if owner.address in (None, self._node):
                return
            cast(
                Any, self
            ).disconnect()  # the slot has moved: INFO and SCAN, which name no key, would be answered all the same
        for _ in range(MAX_HOPS):
            self.host, self.port = owner.address or owner.nodes[0]
            try:
                cast(Any, super()).connect()
                if owner.is_cluster is False or self._has_slot():
                    return
            except (redis.ConnectionError, redis.TimeoutError):
                owner.lose(self._node)
                raise
            cast(Any, self).disconnect()
        raise redis.ConnectionError("the nodes of the cluster do not agree who has the ledger's slot")

    def _has_slot(self) -> bool:
        """Ask this node; where it says who else has the slot, that is the owner from now on."""
        owner = self._slot_owner
        try:
            self._ask("EXISTS", keys.MARK)
        except MovedError:
            return False
        except redis.ResponseError as refused:  # a node in trouble, or no right: the call itself will say it
            if isinstance(refused, ClusterDownError):
                owner.is_cluster = True
            return True
        try:
            slots: Any = self._ask("CLUSTER", "SLOTS")
        except redis.ResponseError:  # no cluster; or no right to ask, and then MOVED alone shows the way
            owner.is_cluster = bool(owner.is_cluster)
        else:
            owner.move(self._node)
            owner.learn(tuple(self._address(node) for _, _, *nodes in slots for node in nodes))
        return True

    def _ask(self, *command: str) -> Any:
        cast(Any, self).send_command(*command)
        return cast(Any, self).read_response()

    def _address(self, node: Any) -> Address:
        """A node that does not know its own name is the one that is asked."""
        host, port = node[0], node[1]
        name = host.decode() if isinstance(host, bytes) else host
        return (self.host if name in (None, "", "?") else str(name)), int(port)

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        """As redis-py's; where the slot is elsewhere, the next call goes there."""
        try:
            return cast(Any, super()).read_response(*arguments, **options)
        except MovedError as moved:
            # Of a key that is not the ledger's it tells nothing about the ledger.
            if moved.slot_id == SLOT:
                self._slot_owner.move((moved.host or self.host, int(moved.port)))
            raise


class ShardConnectionOverTLS(ShardConnection, redis.SSLConnection):
    """The same over TLS."""
