"""Trusted certificate authorities: certifi's or those of the environment's variables, and those of RUSHES_CA_FILE."""

from __future__ import annotations

import atexit
import os
import ssl
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import certifi

# Each replaces certifi's authorities, as its users expect. If several are set, all of them are trusted.
CA_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
S3_CA_VARIABLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")


def certificate_bundle(
    environ: Mapping[str, str], extra_file: str | None = None, names: Iterable[str] = CA_VARIABLES
) -> str:
    """Return the path of one PEM file with all trusted authorities.

    They come from the variables `names` of `environ`, else from certifi; `extra_file` is added to them. Raises OSError.
    """
    defaults = [environ[name] for name in names if environ.get(name)] or [certifi.where()]
    paths = dict.fromkeys([*defaults, *([extra_file] if extra_file else [])])
    return _write_bundle(tuple(paths)) if len(paths) > 1 or os.path.isdir(defaults[0]) else defaults[0]


def check_certificates(path: str) -> None:
    """Raise ValueError if a file holds no readable certificate."""
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=_read_certificates((path,)))
    except (ssl.SSLError, ValueError):
        raise ValueError("it holds no certificate in PEM") from None
    except OSError as error:
        raise ValueError(error.strerror) from None


@lru_cache
def _write_bundle(paths: tuple[str, ...]) -> str:
    """Write the certificates where libcurl can read them. It caches authorities only if they come from a file.

    On Linux the file is in memory: a process that is killed cannot leave it behind.
    """
    if sys.platform == "linux":
        path = f"/proc/self/fd/{os.memfd_create('rushes-authorities')}"  # left open: the path holds while it is
    else:
        handle, path = tempfile.mkstemp(prefix="rushes-authorities-", suffix=".pem")
        os.close(handle)
        atexit.register(_remove, path, os.getpid())
    Path(path).write_text(_read_certificates(paths), encoding="utf-8")
    return path


def _read_certificates(paths: tuple[str, ...]) -> str:
    files = [file for path in paths for file in _certificate_files(Path(path))]
    return "\n".join(file.read_text(encoding="ascii", errors="ignore") for file in files)


def _certificate_files(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]


def _remove(path: str, pid: int) -> None:
    if os.getpid() == pid:  # a forked child may end first, and must leave its parent's file
        with suppress(OSError):
            os.unlink(path)
