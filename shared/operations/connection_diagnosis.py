"""Why a server is not reached, found by connecting to it: what a library says of TLS is often not the cause.

A client without TLS on a TLS port, for example, only sees that the connection ends.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

from rushes.shared.ledger.address import SCHEMES, RedisAddress, parse

TIMEOUT_S = 2.0
# How long an alert may take that comes after the handshake, as one about a client certificate does in TLS 1.3.
ALERT_S = 0.5
DEFAULT_PORTS = {"amqp": 5672, "amqps": 5671, "http": 80, "https": 443}
TLS_SCHEMES = ("amqps", "https")


class Cause(Enum):
    """What keeps a connection from being made."""

    NAME = "its name {host} is not known"
    REFUSED = "nothing listens at {host}:{port}"
    SILENT = "{host}:{port} does not answer"
    NETWORK = "there is no way to {host}:{port}"
    AUTHORITY = "its certificate is of an authority that is not trusted here"
    WRONG_NAME = "its certificate is not for the name {host}"
    EXPIRED = "its certificate has expired"
    NOT_YET = "its certificate is not valid yet"
    CERTIFICATE = "its certificate is not accepted"
    PROTOCOL = "it shares no version or cipher of TLS with this machine"
    CLIENT_CERTIFICATE = "it wants a certificate of the client, and accepts none that was given"
    HANDSHAKE = "it refuses the TLS handshake: no cipher is shared, or it wants a certificate of the client"
    NO_TLS = "it does not speak TLS on port {port}"
    NEEDS_TLS = "it speaks TLS on port {port}, and is called without"
    CUT = "it ends the connection during the TLS handshake"


ADVICE: Mapping[Cause, str] = {
    Cause.NAME: "check the host name and the name server",
    Cause.REFUSED: "check host and port, and that it runs",
    Cause.SILENT: "check host and port, and the firewalls between",
    Cause.NETWORK: "check the network of this machine",
    Cause.WRONG_NAME: "use the name that its certificate is for",
    Cause.EXPIRED: "renew its certificate, and check the clock of this machine",
    Cause.NOT_YET: "check the clock of this machine",
    Cause.CERTIFICATE: "check its certificate with `openssl s_client`",
    Cause.PROTOCOL: "let it speak TLS 1.2 or 1.3",
    Cause.HANDSHAKE: "give it a certificate of the client if it wants one, and let it speak TLS 1.2 or 1.3",
    Cause.CUT: "check that it speaks TLS on this port, and whether it wants a certificate of the client",
}
# By OpenSSL's codes of verification (X509_V_ERR_…).
CAUSES_BY_CODE = {
    **dict.fromkeys((2, 18, 19, 20, 21, 27), Cause.AUTHORITY),
    **dict.fromkeys((62, 64), Cause.WRONG_NAME),
    10: Cause.EXPIRED,
    9: Cause.NOT_YET,
}
# By parts of OpenSSL's reasons, in this order.
CAUSES_BY_REASON = {
    "CERTIFICATE_REQUIRED": Cause.CLIENT_CERTIFICATE,
    "ALERT_BAD_CERTIFICATE": Cause.CLIENT_CERTIFICATE,
    "ALERT_UNKNOWN_CA": Cause.CLIENT_CERTIFICATE,
    "WRONG_VERSION_NUMBER": Cause.NO_TLS,
    "HTTP_REQUEST": Cause.NO_TLS,
    "PACKET_LENGTH": Cause.NO_TLS,
    "RECORD_LAYER": Cause.NO_TLS,
    "PROTOCOL": Cause.PROTOCOL,
    "VERSION": Cause.PROTOCOL,
    "HANDSHAKE_FAILURE": Cause.HANDSHAKE,
    "CIPHER": Cause.PROTOCOL,
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a client connects to, and the TLS that it speaks there; None if it speaks none."""

    host: str
    port: int
    tls: ssl.SSLContext | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why no connection is made, and what to do about it."""

    cause: Cause
    text: str
    advice: str


def diagnose(endpoint: Endpoint, advice: Mapping[Cause, str]) -> Diagnosis | None:
    """Connect once; None if nothing is wrong as far as TLS. `advice` names the settings. Raises nothing."""
    cause = _connect(endpoint)
    if cause is None:
        return None
    text = cause.value.format(host=endpoint.host, port=endpoint.port)
    return Diagnosis(cause, text, {**ADVICE, **advice}.get(cause, "check the address"))


def redis_endpoints(url: str) -> list[Endpoint]:
    """The server of a Redis address, or its Sentinels; none for a socket of the file system. Raises ValueError."""
    address = parse(url)
    if address.path:
        return []
    if address.sentinels:
        options = address.sentinel_options
        tls = tls_context(options) if options.get("ssl") else None
        return [Endpoint(host, port, tls) for host, port in address.sentinels]
    return [Endpoint(address.options["host"], address.options["port"], _redis_tls(address))]


def endpoints(url: str, authorities: str | None = None) -> list[Endpoint]:
    """The servers of an address, or of a list of such; `authorities` is a file in PEM. Raises ValueError."""
    scheme = url.partition("://")[0]
    if scheme in SCHEMES and ";" not in url:
        return redis_endpoints(url)
    found = []
    for each in url.split(";"):
        parts = urlsplit(each)
        if parts.hostname and (port := parts.port or DEFAULT_PORTS.get(parts.scheme)):
            tls = tls_context({"ssl_ca_certs": authorities}) if parts.scheme in TLS_SCHEMES else None
            found.append(Endpoint(parts.hostname, port, tls))
    return found


def tls_context(options: Mapping[str, Any]) -> ssl.SSLContext:
    """TLS by redis-py's options; raises ValueError if a file cannot be used."""
    try:
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"), capath=options.get("ssl_ca_path"))
        if options.get("ssl_certfile"):
            context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"), options.get("ssl_password"))
    except OSError as error:
        raise ValueError(f"a certificate cannot be used: {error.strerror or error}") from None
    verifies = str(options.get("ssl_cert_reqs", "required")) != "none"
    context.check_hostname = verifies and options.get("ssl_check_hostname", True)
    if not verifies:
        context.verify_mode = ssl.CERT_NONE
    return context


def _redis_tls(address: RedisAddress) -> ssl.SSLContext | None:
    return tls_context(address.options) if address.tls else None


def _connect(endpoint: Endpoint) -> Cause | None:
    try:
        with socket.create_connection((endpoint.host, endpoint.port), TIMEOUT_S) as connection:
            if endpoint.tls is None:
                return Cause.NEEDS_TLS if _speaks_tls(endpoint) else None
            return _shake_hands(connection, endpoint.tls, endpoint.host)
    except (socket.gaierror, UnicodeError):
        return Cause.NAME
    except ConnectionRefusedError:
        return Cause.REFUSED
    except TimeoutError:
        return Cause.SILENT
    except OSError:
        return Cause.NETWORK


def _shake_hands(connection: socket.socket, context: ssl.SSLContext, host: str) -> Cause | None:
    try:
        secured = context.wrap_socket(connection, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        return CAUSES_BY_CODE.get(error.verify_code, Cause.CERTIFICATE)
    except ssl.SSLError as error:
        return _cause_of(error)
    except TimeoutError:  # a server without TLS waits for the rest of what it takes for a request
        return Cause.NO_TLS
    except OSError:
        return Cause.CUT
    with secured:
        return _late_alert(secured)


def _late_alert(secured: ssl.SSLSocket) -> Cause | None:
    secured.settimeout(ALERT_S)
    try:
        secured.recv(1)
    except ssl.SSLError as error:
        return _cause_of(error)
    except OSError:  # it waits for a request
        return None
    return None


def _cause_of(error: ssl.SSLError) -> Cause:
    reason = (error.reason or "").upper()
    return next((cause for part, cause in CAUSES_BY_REASON.items() if part in reason), Cause.CUT)


def _speaks_tls(endpoint: Endpoint) -> bool:
    """Whether the server answers a handshake, be it with an alert."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((endpoint.host, endpoint.port), TIMEOUT_S) as connection:
            connection.settimeout(1)
            with context.wrap_socket(connection, server_hostname=endpoint.host):
                return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "").upper()
    except OSError:
        return False
