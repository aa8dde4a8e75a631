"""Decodes messages from the broker: one that cannot be read is dropped, and logged without its content."""

from __future__ import annotations

import json
from contextlib import suppress
from queue import Empty
from typing import Any

import structlog
from kombu.serialization import register
from kombu.transport import TRANSPORT_ALIASES, redis, virtual
from kombu.utils import json as kombu_json

log = structlog.get_logger()

# The errors of data with an unexpected form. Any other error is one of the process or the broker.
MALFORMED = (TypeError, ValueError, LookupError, AttributeError, RecursionError)


def loads(text: Any) -> Any:
    """kombu's JSON, which also reads objects that only look like kombu's markers, and numbers beyond Python's limit.

    The task then names the field; kombu could only drop the whole message. Raises ValueError.
    """
    try:
        return kombu_json.loads(text)  # type: ignore[no-untyped-call]
    except RecursionError:
        raise ValueError("nested too deep") from None
    except MALFORMED:
        return json.loads(text, object_hook=convert_marker, parse_int=parse_number)


def convert_marker(value: dict[str, Any]) -> Any:
    with suppress(*MALFORMED):
        return kombu_json.object_hook(value)
    return value


def parse_number(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:  # Python reads no integer of more than 4,300 digits
        return float(digits)


class Message(virtual.Message):
    """A message that can be acknowledged; raises TypeError or ValueError if Redis cannot store its delivery tag."""

    def __init__(self, payload: Any, channel: Any = None, **more: Any) -> None:
        super().__init__(payload, channel, **more)  # type: ignore[no-untyped-call]
        str.encode(self.delivery_tag)


class TolerantChannel:
    """A Redis channel that drops what is no message; kombu lets it end the worker (5.7.0)."""

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
    """Log a dropped message; raises the error if it is not the message's fault."""
    if not isinstance(error, MALFORMED) and type(error).__name__ != DATA_ERROR:
        raise error
    log.error("message refused", reason=type(error).__name__)


# redis-py raises it for a value that Redis cannot store, such as a delivery tag that is a list.
DATA_ERROR = "DataError"


class RedisChannel(TolerantChannel, redis.Channel):
    pass


class SentinelChannel(TolerantChannel, redis.SentinelChannel):
    pass


class RedisTransport(redis.Transport):
    Channel = RedisChannel


class SentinelTransport(redis.SentinelTransport):
    Channel = SentinelChannel


def install() -> None:
    """Make kombu use these transports and this decoder in this process."""
    register("json", kombu_json.dumps, loads, "application/json", "utf-8")  # type: ignore[no-untyped-call]
    transports = {"redis": RedisTransport, "rediss": RedisTransport, "sentinel": SentinelTransport}
    TRANSPORT_ALIASES.update({scheme: f"{kind.__module__}:{kind.__name__}" for scheme, kind in transports.items()})
