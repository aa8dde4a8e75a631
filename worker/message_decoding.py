"""How messages are read off the broker: what cannot be read is dropped and told of, without its content."""

from __future__ import annotations

import json
from contextlib import suppress
from queue import Empty
from typing import Any

import structlog
from kombu.serialization import register
from kombu.transport import TRANSPORT_ALIASES, redis, virtual
from kombu.utils import json as kombu_json

from rushes.worker.message_checks import MALFORMED

log = structlog.get_logger()


def loads(text: Any) -> Any:
    """kombu's JSON; an object that only looks like one of kombu's markers, or a number beyond Python's, stays readable.

    The task then names the field, where kombu could only throw the whole message away. Raises ValueError.
    """
    try:
        return kombu_json.loads(text)  # type: ignore[no-untyped-call]
    except RecursionError:
        raise ValueError("nested too deep") from None
    except MALFORMED:
        return json.loads(text, object_hook=marked, parse_int=number)


def marked(found: dict[str, Any]) -> Any:
    with suppress(*MALFORMED):
        return kombu_json.object_hook(found)
    return found


def number(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:  # Python reads no integer of more than 4,300 digits
        return float(digits)


class Message(virtual.Message):
    """One that can be receipted; raises TypeError or ValueError where Redis could not keep its tag."""

    def __init__(self, payload: Any, channel: Any = None, **more: Any) -> None:
        super().__init__(payload, channel, **more)  # type: ignore[no-untyped-call]
        str.encode(self.delivery_tag)


class Guard:
    """A channel of Redis that drops what is no message; kombu lets it end the worker (5.7.0)."""

    Message = Message

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except Exception as error:
            drop(error)
            return True

    def _receive_one(self, client: Any) -> Any:
        try:
            return super()._receive_one(client)  # type: ignore[misc]
        except Exception as error:
            drop(error)
            raise Empty from None


def drop(error: Exception) -> None:
    """Tell that a message was none; raises the error where it is not the message's fault."""
    if not isinstance(error, MALFORMED) and type(error).__name__ != DATA_ERROR:
        raise error
    log.error("message refused", reason=type(error).__name__)


# redis-py's, for a value that Redis cannot keep, such as a delivery tag that is a list.
DATA_ERROR = "DataError"


class RedisChannel(Guard, redis.Channel):
    pass


class SentinelChannel(Guard, redis.SentinelChannel):
    pass


class RedisTransport(redis.Transport):
    Channel = RedisChannel


class SentinelTransport(redis.SentinelTransport):
    Channel = SentinelChannel


def install() -> None:
    """Have kombu use these for what this process consumes."""
    register("json", kombu_json.dumps, loads, "application/json", "utf-8")  # type: ignore[no-untyped-call]
    ours = {"redis": RedisTransport, "rediss": RedisTransport, "sentinel": SentinelTransport}
    TRANSPORT_ALIASES.update({scheme: f"{kind.__module__}:{kind.__name__}" for scheme, kind in ours.items()})
