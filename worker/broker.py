"""The broker of Celery's messages: translates its address for kombu and for Celery's results."""

from __future__ import annotations

import os
import secrets
import sys
from queue import Empty
from typing import Any, cast
from urllib.parse import quote

from kombu import Connection  # type: ignore[attr-defined]
from kombu.utils import url as kombu_url

from rushes.shared.ledger import address, connection, refusals
from rushes.shared.ledger.address import RedisAddress
from rushes.shared.settings import Settings, SettingsError, load
from rushes.worker import message_decoding
from rushes.worker.lane_capacity import QUEUE

# Measured 2026-11: with the default timeouts a publish to a frozen broker still blocked after 100 s.
TRANSPORT = {
    "visibility_timeout": 3600,
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 25,
}


def options(settings: Settings) -> dict[str, Any]:
    """Celery's settings for the broker, and for the results of `rushes.enqueue`.

    Only `rushes.enqueue` has a result, which its caller reads from the backend of its own Celery.
    """
    url = settings.broker_url
    scheme = url.partition("://")[0]
    if scheme not in address.SCHEMES or (";" in url and scheme in address.SERVERS):
        return _other_options(url)
    redis = address.parse(url)
    tls = _tls(redis)
    transport = {**TRANSPORT, **{name: redis.options[name] for name in TRANSPORT if name in redis.options}}
    if client_name := redis.options.get("client_name"):
        transport["client_name"] = client_name
    if redis.sentinels:
        transport |= {"master_name": redis.service, "sentinel_kwargs": _sentinel_options(redis, transport)}
        nodes = ";".join(_url("sentinel", host, port, redis) for host, port in redis.sentinels)
        return {
            "broker_url": nodes,
            "broker_use_ssl": tls,
            "broker_transport_options": transport,
            "result_backend": "rpc://",
        }
    server = _server_url(redis)
    return {
        "broker_url": server,
        "broker_use_ssl": tls,
        "broker_transport_options": transport,
        "result_backend": server,
        "redis_backend_use_ssl": tls,
    }


def _other_options(url: str) -> dict[str, Any]:
    """For another kind of broker, or a list of servers among which kombu fails over."""
    redis = url.partition("://")[0] in address.SERVERS
    return {"broker_url": url, "broker_transport_options": TRANSPORT if redis else {}, "result_backend": "rpc://"}


def _tls(redis: RedisAddress) -> dict[str, Any] | None:
    """kombu's TLS options; without `ssl_cert_reqs` it would verify no certificate."""
    if not redis.tls:
        return None
    return {"ssl_cert_reqs": "required", **{k: v for k, v in redis.options.items() if k.startswith("ssl_")}}


def _sentinel_options(redis: RedisAddress, transport: dict[str, Any]) -> dict[str, Any]:
    """Options of Sentinel connections, with one try: redis-py would dial an absent one for 11 s (measured 2026-11)."""
    limits = {name: transport[name] for name in ("socket_timeout", "socket_connect_timeout", "socket_keepalive")}
    return {**limits, **redis.sentinel_options, **connection.ONCE}


def _server_url(redis: RedisAddress) -> str:
    if redis.path:
        login = _url("socket", None, None, redis).partition("://")[2].rpartition("/")[0]
        return f"redis+socket://{login}{quote(redis.path)}?virtual_host={redis.options.get('db', 0)}"
    return _url("rediss" if redis.tls else "redis", redis.options["host"], redis.options["port"], redis)


def _url(scheme: str, host: str | None, port: int | None, redis: RedisAddress) -> str:
    user, password = redis.options.get("username"), redis.options.get("password")
    return str(cast(Any, kombu_url).as_url(scheme, host, port, user, password, str(redis.options.get("db", 0))))


def check(settings: Settings) -> None:
    """Raise SettingsError if kombu does not accept the address, or its driver is not installed."""
    # Invariant: before kombu looks for a transport. It keeps the first one, and its own ends a worker at a bad message.
    message_decoding.install()
    name = "REDIS_URL" if settings.broker_url == settings.redis_url else "RUSHES_BROKER_URL"
    try:
        conf = options(settings)
        arguments = {"ssl": conf.get("broker_use_ssl"), "transport_options": conf["broker_transport_options"]}
        for url in conf["broker_url"].split(";"):
            cast(Any, Connection)(url, **arguments).transport  # noqa: B018
    except ImportError as error:
        raise SettingsError(f"settings: {name}: {error}") from None
    except Exception as error:  # kombu's transports raise any error, and its text may hold the password
        raise SettingsError(f"settings: {name}: kombu does not accept it ({type(error).__name__})") from None


# The brokers at which a message costs nothing.
TRIED = ("redis", "amqp")
ANSWER_S = 5
# kombu reads the four priorities of a queue in one command, and they are in four slots (kombu 5.7).
NO_CLUSTER = "Celery's queues do not work in a Redis cluster: set RUSHES_BROKER_URL to another Redis or to RabbitMQ"


def problem(settings: Settings) -> str:
    """Why no message gets through the broker now, or "": one is sent and received. Raises nothing."""
    conf = options(settings)
    arguments = {"ssl": conf.get("broker_use_ssl"), "transport_options": conf["broker_transport_options"]}
    try:
        with cast(Any, Connection)(conf["broker_url"], connect_timeout=ANSWER_S, **arguments) as broker:
            broker.ensure_connection(max_retries=1, interval_start=0.2, timeout=ANSWER_S)
            if broker.transport.driver_type in TRIED:
                _send_and_receive(broker)
    except Empty:
        return "a message that was sent does not arrive"
    except Exception as error:  # kombu's transports raise any error
        problem = refusals.describe(error)
        return f"{NO_CLUSTER} ({problem})" if problem.startswith(("CROSSSLOT", "MOVED")) else problem
    return ""


def _send_and_receive(broker: Any) -> None:
    """Raises Empty, and errors of the transport."""
    with broker.SimpleBuffer(f"{QUEUE}.check.{secrets.token_hex(6)}") as line:  # an ACL allows names like the queue's
        try:
            line.put({})
            line.get(timeout=ANSWER_S)
        finally:
            line.consumer.cancel()
            line.queue.delete()


if __name__ == "__main__":
    # For `rushes doctor`, which knows of no kombu.
    sys.exit(problem(load(os.environ)) or 0)
