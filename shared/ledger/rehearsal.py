"""What the ledger does with Redis, done once over keys that nobody else reads: rights and limits show only then."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import redis

from rushes.shared.compact_json import compact
from rushes.shared.ledger import keys, old_names, refusals
from rushes.shared.ledger.connection import connect
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.store import LedgerUnavailable

TIMEOUT_S = 2
# The longest that a wake-up may take on a server that is busy.
WAKE_UP_S = 5
ID, NOW, LEASE = "probe", 1_000, "2000"
KEYS = [letter * 16 for letter in "abc"]
RECORD = "1 op 0 1 - 1:\n"

Program = tuple[str, Sequence[str], Sequence[Any]]


def _programs(name: Callable[[str], str]) -> list[Program]:
    """Each program, its keys and its arguments, in an order in which each finds what it works on."""
    record, due, leased, index, hashed = (name(word) for word in ("record", "due", "leased", "index", "hash"))
    bell, known = name("bell"), name("known")
    # What the programs make of these names.
    for part in ("leaves", ""):
        name(f"known:{part}")
    lane = [due, leased, hashed, name("parked"), name("standby"), name("parked_lines"), name("charged")]
    sets = [name(f"{word}{kind}") for kind in ("", "_standby") for word in keys.LINE_SETS] + [hashed, name("window")]
    accounts = [name(word) for word in ("queued", "tenants", "tenants_in_flight")]
    added = [["ZADD", 4, NOW, ID], ["ZADD", 5, 0, ID], ["SADD", 6, "index"], ["HINCRBY", 7, "count", 200]]
    added.append(["ZADD", 8, NOW, "line"])
    taken = [["ZREM", 2, ID], ["HDEL", 3, "other"], ["WHEN", 3, "other", "0", ["HSET", 3, "other", 1]]]
    taken += [["LIST", 6, ID], ["UNLIST", 6, ID]]
    gates = [
        ["lease", 2, ID, 3_000],
        ["whole", 4],
        ["pause", 3, NOW],
        ["stop", 3, NOW],
        ["trial", 3, NOW],
        ["window", 5, 9, 0],
        ["count", 3, "count", 1, 999],
    ]
    return [
        ("check_writes", [name("check")], []),
        ("wake", [bell], []),
        (
            "create",
            [record, known, name("key"), due, index, name("set"), hashed, name("parked_lines"), bell],
            [RECORD, KEYS[0], ID, "0", compact(added), 0],
        ),
        (
            "create_batch",
            [name("batch"), known, name("key"), name("batch job"), hashed, bell],
            [RECORD, KEYS[1], ID, "0", compact([["HINCRBY", 5, "open", 0]]), 0, RECORD],
        ),
        ("keep_key", [known, name("key")], [KEYS[2], ID, "0"]),
        ("known_keys", [known, name("key")], ["0", KEYS[1]]),
        ("newest", [index], [9, "+", "-"]),
        ("unpark", [due, name("parked"), name("parked_lines"), name("later")], [1]),
        (
            "claim",
            [hashed, bell, *accounts, *lane, *sets],
            [NOW, LEASE, 60_000, compact([[9, ID, 9, 9, False, [ID]]]), 1],
        ),
        ("open_tickets", [leased, record], ["open", ID, LEASE, "2500"]),
        ("renew", [leased], [ID, "2500", "3000"]),
        ("nudge", [record, due, leased, bell], [ID, f"{NOW}:1:task", NOW]),
        ("repair", [record, index, name("set"), bell, index, due, leased], [3, ID, NOW, 1, 1]),
        (
            "commit",
            [record, leased, hashed, name("mark"), name("window"), name("ended"), bell],
            [3, "commit", "", compact(gates), compact(taken), 1],
        ),
        ("remove_misplaced", [record, index], ["", ID, 1]),
        ("halve_counts", [hashed], ["count", 1]),
        ("move_old_names", *old_names.arguments(name("new"), name("old"))),
        ("quarantine", [hashed, name("at"), name("counts")], [ID, "{}", NOW, ID, ID, 9, 9, 0]),
    ]


def _commands(store: RedisStore, name: Callable[[str], str]) -> list[Callable[[], Any]]:
    """The commands that are sent without a program."""
    due, hashed = name("due"), name("hash")
    return [
        lambda: store.remember(hashed, {"a": 1}),
        lambda: store.strike(hashed, {"a": 1}),
        lambda: store.increase(hashed, {"a": 1}),
        lambda: store.tally(hashed, [due]),
        lambda: store.forget(hashed, ["a"]),
        lambda: store.keep(name("key"), "value", 60),
        lambda: store.records([ID]),
        lambda: store.oldest([due], 1),
        lambda: store.ripe([(due, 1)], 1),
        lambda: store.count_since(due, 1),
        lambda: store.move(due, name("parked")),
        lambda: store.page(due, 0, 1),
        lambda: store.page(None, 0, 1),
        store.index_names,
    ]


def run_programs(url: str) -> dict[str, str]:
    """Why a program or command was refused, by its name; raises nothing."""
    refused: dict[str, str] = {}
    base, used = f"{keys.ROOT}:probe:{secrets.token_hex(6)}", set[str]()

    def name(word: str) -> str:
        used.add(key := f"{base}:{word}")
        return key

    def attempt(what: str, call: Callable[[], Any]) -> None:
        try:
            call()
        except LedgerUnavailable as unavailable:
            refused.setdefault(what, str(unavailable))
        except redis.RedisError as error:
            refused.setdefault(what, refusals.cause(error))

    with connect(url, TIMEOUT_S) as client:
        store = RedisStore(client)
        for program, names, arguments in _programs(name):
            attempt(program, partial(store.run, program, names, arguments))
        for command in _commands(store, name):
            attempt("commands", command)
        with suppress(redis.RedisError):
            client.delete(*used)
    return refused


def ring(url: str) -> str:
    """Why a wake-up does not come through, or ""; raises nothing."""
    try:
        with connect(url, TIMEOUT_S) as client, client.pubsub() as listener:
            listener.subscribe(keys.BELL)
            give_up_at = time.monotonic() + WAKE_UP_S
            while (left_s := give_up_at - time.monotonic()) > 0:
                message = listener.get_message(timeout=left_s)
                if message and message["type"] == "subscribe":
                    client.publish(keys.BELL, "")
                elif message and message["type"] == "message":
                    return ""
    except redis.RedisError as error:
        return refusals.cause(error)
    return "what is published does not arrive"
