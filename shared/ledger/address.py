"""Where a Redis is: the address that people write, in the terms of redis-py's connections.

redis-py reads the parts. Only what it does not know is read here: lists of Sentinels, and other names of one option.
"""

from __future__ import annotations

import math
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis import connection

# The scheme that redis-py knows in place of each; rediss means TLS.
SERVERS = {"redis": "redis", "rediss": "rediss", "unix": "unix", "redis+socket": "unix"}
SERVERS |= {"redis+cluster": "redis", "rediss+cluster": "rediss"}
SENTINELS = {
    **dict.fromkeys(("sentinel", "redis+sentinel", "redis-sentinel"), "redis"),
    **dict.fromkeys(("sentinels", "rediss+sentinel", "rediss-sentinel"), "rediss"),
}
SCHEMES = SERVERS | SENTINELS
parse_url: Callable[[str], dict[str, Any]] = connection.parse_url
SENTINEL_PORT, SERVICE = 26379, "mymaster"
# Other names of options, as kombu, Lettuce, asynq and redis-sentinel-url write them.
ALIASES = {
    "virtual_host": "db",
    **dict.fromkeys(("service_name", "master", "master_name", "sentinelMasterId"), "service"),
    "tls": "ssl",
}
CERT_REQS = {"CERT_NONE": "none", "CERT_OPTIONAL": "optional", "CERT_REQUIRED": "required"}
# Retries, the size of the pool and decoding are not the address's to say: a script must not be sent twice unasked.
OPTIONS = frozenset(
    {"username", "password", "db", "client_name", "health_check_interval"}
    | {"socket_timeout", "socket_connect_timeout", "socket_keepalive"}
)
TLS_OPTIONS = frozenset(
    {"ssl_cert_reqs", "ssl_check_hostname", "ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"}
    | {"ssl_password", "ssl_min_version", "ssl_ciphers"}
)
FILES = frozenset({"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"})
TCP_OPTIONS = frozenset({"socket_connect_timeout", "socket_keepalive"})
UNREADABLE = "its host, port or password cannot be read; in a password write / as %2F, @ as %40, # as %23, ? as %3F"


def _positive(value: Any) -> bool:
    return math.isfinite(value) and value > 0


VALUES: Mapping[str, Callable[[Any], Any]] = {
    "db": lambda value: value >= 0,
    "client_name": re.compile(r"[!-~]+").fullmatch,
    "health_check_interval": lambda value: value >= 0,
    "socket_timeout": _positive,
    "socket_connect_timeout": _positive,
}


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """One server, or the Sentinels that know it."""

    options: Mapping[str, Any] = field(repr=False)
    """Arguments of redis-py's connections: host and port or path, db, username, password, socket_…, ssl_…."""
    tls: bool
    other_nodes: tuple[tuple[str, int], ...] = ()
    """Further nodes of the same cluster, to be asked where the first is away."""
    sentinels: tuple[tuple[str, int], ...] = ()
    service: str = ""
    """The name under which the Sentinels know the server."""
    sentinel_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Arguments of the connections to the Sentinels; the credentials are their own."""

    @property
    def path(self) -> str | None:
        """The server's socket, where it is reached through one."""
        path: str | None = self.options.get("path")
        return path


def parse(url: str) -> RedisAddress:
    """Raises ValueError in one line, which holds names of options and never a value."""
    scheme = url.partition("://")[0]
    if scheme not in SCHEMES or "://" not in url:
        raise ValueError("give an address that begins with redis://, rediss://, sentinel:// or unix://")
    if "#" in url:
        raise ValueError("it holds a #; in a password write it as %23")
    return _sentinels(url) if scheme in SENTINELS else _server(url)


def _server(url: str) -> RedisAddress:
    scheme, _, rest = url.partition("://")
    body, _, text = rest.partition("?")
    query, kind = _query(text), SERVERS[scheme]
    tls = kind == "rediss" or _flag(query.pop("ssl", ""))
    others: list[str] = []
    if kind != "unix":
        authority, slash, path = body.partition("/")
        login, at, hosts = authority.rpartition("@")
        host, *others = hosts.split(",")
        body = f"{login}{at}{host}{slash}{path}"
    options = _parsed(f"{_scheme(tls) if kind != 'unix' else kind}://{body}", query)
    if kind == "unix":
        if not options.get("path"):
            raise ValueError("it names no socket; give unix:///path/of/redis.sock?db=0")
        if tls:
            raise ValueError("there is no TLS on a socket")
        return _checked(RedisAddress({"path": "", **options}, tls), TCP_OPTIONS)
    if not options.get("host") and "/" not in body:
        raise ValueError("it names no host")
    _require_number(body.partition("/")[2].strip("/"))
    nodes = tuple(_node(host, "a node", 6379) for host in others)
    return _checked(RedisAddress({"host": "localhost", "port": 6379, **options}, tls, nodes))


def _sentinels(url: str) -> RedisAddress:
    """`sentinel://[user:password@]host[:port][,host…][/service][/db][?…]`, or a list of such, as kombu writes it."""
    nodes: list[str] = []
    login, path, query = "", "", dict[str, str]()
    for each in re.split(r";(?=[a-z+-]+://)", url):
        body, _, text = each.partition("://")[2].partition("?")
        authority, _, each_path = body.partition("/")
        each_login, at, hosts = authority.rpartition("@")
        nodes += hosts.split(",")
        login, path, query = login or each_login + at, path or each_path, query | _query(text)
    tls = SENTINELS[url.partition("://")[0]] == "rediss" or _flag(query.pop("ssl", ""))
    service, db = _service(path, query)
    own = {name.removeprefix("sentinel_"): query.pop(name) for name in list(query) if name.startswith("sentinel_")}
    options = _parsed(f"{_scheme(tls)}://{login}h/{db}", query)
    del options["host"]
    return _checked(
        RedisAddress(options, tls, (), tuple(map(_node, nodes)), service, _sentinel_options(query, own, tls))
    )


def _sentinel_options(query: Mapping[str, str], own: dict[str, str], tls: bool) -> dict[str, Any]:
    """The Sentinels know nothing of the server's users; the rest holds for them too, unless they have their own."""
    tls = _flag(own.pop("ssl", str(tls)))
    shared = (OPTIONS | TLS_OPTIONS if tls else OPTIONS) - {"username", "password", "db"}
    options = _parsed(f"{_scheme(tls)}://h", {name: query[name] for name in query.keys() & shared} | own)
    del options["host"]
    return {**options, "ssl": True} if tls else options


def _scheme(tls: bool) -> str:
    return "rediss" if tls else "redis"


def _service(path: str, query: dict[str, str]) -> tuple[str, str]:
    """The name and the database; a path of a number alone is a database, as in kombu's addresses."""
    name, _, db = path.strip("/").partition("/")
    if not db and (name.isdecimal() or "service" in query):
        name, db = "", name
    _require_number(db)
    return query.pop("service", "") or name or SERVICE, db


def _require_number(db: str) -> None:
    """redis-py takes what is no number for database 0."""
    if not re.fullmatch(r"\d*", db, re.ASCII):
        raise ValueError("give the database as a number, such as redis://host:6379/0")


def _node(host: str, what: str = "a Sentinel", port: int = SENTINEL_PORT) -> tuple[str, int]:
    options = _parsed(f"redis://{host}", {})
    if not options.get("host"):
        raise ValueError(f"{what} has no host; give host:port,host:port")
    return options["host"], options.get("port", port)


def _query(text: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True) if text else []
        if "@" in text:  # a password with a ? in it: what would be called an option is a part of it
            raise ValueError
    except ValueError:
        raise ValueError("what follows its ? is not name=value; in a password write ? as %3F and @ as %40") from None
    query = {ALIASES.get(name, name): value for name, value in pairs}
    if "ssl_cert_reqs" in query:
        query["ssl_cert_reqs"] = CERT_REQS.get(query["ssl_cert_reqs"], query["ssl_cert_reqs"].lower())
    return query


def _flag(value: str) -> bool:
    return bool(value) and value.lower() not in ("0", "f", "false", "n", "no", "off")


def _parsed(url: str, query: Mapping[str, str]) -> dict[str, Any]:
    """What redis-py reads in an address; raises ValueError without a word of it."""
    tls = url.startswith("rediss:")
    known = OPTIONS | TLS_OPTIONS if tls else OPTIONS
    if unknown := sorted(set(query) - known):
        hint = "" if tls else "; with rediss:// or ssl=true also ssl_…"
        raise ValueError(f"it takes no option {', '.join(unknown)}, only {', '.join(sorted(known))}{hint}")
    try:
        if urlsplit(url).port == 0:
            raise ValueError
        options = parse_url(f"{url}?{urlencode(query)}" if query else url)
    except ValueError as error:
        named = re.fullmatch(r"Invalid value for '\w+' in connection URL\.", str(error))
        raise ValueError(str(error) if named else UNREADABLE) from None
    options.pop("connection_class", None)
    return options


def _checked(address: RedisAddress, foreign: frozenset[str] = frozenset()) -> RedisAddress:
    for options in (address.options, address.sentinel_options):
        for name, value in options.items():
            if name in foreign or (name in VALUES and not VALUES[name](value)):
                raise ValueError(f"its option {name} holds a value that is none")
        _load_certificates(options)
    return address


def _load_certificates(options: Mapping[str, Any]) -> None:
    """redis-py reads the files at each connection: a missing one would be told as a server that is out of reach."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authorities = options.get("ssl_ca_certs"), options.get("ssl_ca_path")
    certificate, key = options.get("ssl_certfile"), options.get("ssl_keyfile")
    password = options.get("ssl_password", "")
    try:
        if any(authorities):
            context.load_verify_locations(*authorities)
        if certificate:
            # With no password of ours OpenSSL would ask for one at the terminal.
            context.load_cert_chain(certificate, key, lambda: password)
        if "ssl_ciphers" in options:
            context.set_ciphers(options["ssl_ciphers"])
    except OSError as error:
        names = ", ".join(sorted(name for name in options if name in FILES)) or "ssl_ciphers"
        raise ValueError(f"{names}: {error.strerror or 'holds nothing that TLS could use'}") from None
    if key and not certificate:
        raise ValueError("ssl_keyfile needs ssl_certfile")
