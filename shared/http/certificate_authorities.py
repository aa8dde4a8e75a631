"""Whose certificates are believed: the usual authorities or those of the usual variables, and the user's beside."""

from __future__ import annotations

import atexit
import os
import ssl
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import certifi

# Each in place of the usual authorities, as its users expect; several are believed side by side.
OUTWARD = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
FOR_S3 = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")


def certificate_bundle(environ: Mapping[str, str], beside: str | None = None, names: Iterable[str] = OUTWARD) -> str:
    """One file with all authorities that are believed; `beside` is believed in any case. Raises OSError."""
    usual = [environ[name] for name in names if environ.get(name)] or [certifi.where()]
    paths = dict.fromkeys([*usual, *([beside] if beside else [])])
    return _joined(tuple(paths)) if len(paths) > 1 or os.path.isdir(usual[0]) else usual[0]


def check_certificates(path: str) -> None:
    """Raises ValueError where there is no certificate to be read."""
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=_text((path,)))
    except (ssl.SSLError, ValueError):
        raise ValueError("it holds no certificate in PEM") from None
    except OSError as error:
        raise ValueError(error.strerror) from None


@lru_cache
def _joined(paths: tuple[str, ...]) -> str:
    """A file of our own, for libcurl keeps what it read of a file and of nothing else; it goes with this process."""
    handle, path = tempfile.mkstemp(prefix="rushes-authorities-", suffix=".pem")
    with open(handle, "w", encoding="utf-8") as file:
        file.write(_text(paths))
    atexit.register(_remove, path, os.getpid())
    return path


def _text(paths: tuple[str, ...]) -> str:
    files = [file for path in paths for file in _files(Path(path))]
    return "\n".join(file.read_text(encoding="ascii", errors="ignore") for file in files)


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]


def _remove(path: str, pid: int) -> None:
    if os.getpid() == pid:  # a child that was forked goes earlier
        with suppress(OSError):
            os.unlink(path)
