"""Trusted authorities as a directory that OpenSSL looks into: a connection loads the one authority that it needs.

From a file each handle of libcurl loads all of them and keeps them: 0.65 MiB and 4 ms of CPU for certifi's 118, and a
busy worker has 70 handles (libcurl 8.23, OpenSSL 3.6, 2026-11). OpenSSL finds a file by the hash of the issuer's name,
under which its own command names it: openssl-rehash(1).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sized
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

CERTIFICATE = re.compile(r"-----BEGIN (?:X509 )?CERTIFICATE-----[\w+/=\s]+-----END (?:X509 )?CERTIFICATE-----")
ANY_BLOCK = "-----BEGIN "
# A handle that loads fewer of them costs no more than a directory does.
MIN_CERTIFICATES = 16
REHASH_S = 30


@dataclass(frozen=True, slots=True)
class AuthorityDirectory:
    """A directory of one user, that is written once."""

    path: str
    state: tuple[int, ...]

    def is_whole(self) -> bool:
        """Whether nothing was taken out of it since: programs that clear /tmp do that."""
        return _state(self.path) == self.state


@lru_cache
def directory_of(bundle: str) -> AuthorityDirectory | None:
    """The directory with the authorities of a file in PEM; None if the file itself serves as well, or has to.

    It has to where the directory cannot be written, there is no command `openssl`, or the file holds more than plain
    certificates.
    """
    try:
        return _directory(Path(bundle).read_text(encoding="ascii", errors="ignore"))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _directory(bundle: str) -> AuthorityDirectory | None:
    certificates = list(dict.fromkeys(CERTIFICATE.findall(bundle)))
    if len(certificates) < MIN_CERTIFICATES:
        return None
    if len(CERTIFICATE.findall(bundle)) != bundle.count(ANY_BLOCK):
        raise ValueError("the file holds more than plain certificates")
    digest = hashlib.sha256("\n".join(certificates).encode()).hexdigest()
    # One for all processes of a user, and after a kill the next one finds it.
    path = os.path.join(tempfile.gettempdir(), f"rushes-authorities-{os.geteuid()}-{digest[:32]}")
    if _state(path) and len(os.listdir(path)) < files_of(certificates):
        shutil.rmtree(path)  # something was taken out of it
    if _state(path) is None:
        _write(path, certificates)
    if (state := _state(path)) is None:
        raise FileExistsError(path)
    return AuthorityDirectory(path, state)


def _write(path: str, certificates: list[str]) -> None:
    """Write all files, then give the directory its name: who finds it finds all of them."""
    folder = tempfile.mkdtemp(prefix="rushes-authorities-")
    try:
        for number, certificate in enumerate(certificates):
            Path(folder, f"{number}.pem").write_text(certificate + "\n", encoding="ascii")
        command, env = (
            ["openssl", "rehash", folder],
            {"PATH": os.environ.get("PATH", os.defpath)},
        )  # none of our secrets
        subprocess.run(command, env=env, capture_output=True, timeout=REHASH_S, check=True)  # noqa: S603
        if len(os.listdir(folder)) < files_of(certificates):
            raise ValueError("it cannot read all certificates")
        with suppress(OSError):  # another process was faster, or it belongs to others: `_state` tells
            os.rename(folder, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def files_of(certificates: Sized) -> int:
    """How many files the directory has: each certificate, and a link to it under the hash of its name."""
    return 2 * len(certificates)


def _state(path: str) -> tuple[int, ...] | None:
    """What changes if a file is taken out or put in; None if it is no directory of ours alone."""
    with suppress(OSError):
        # Invariant: nobody else can write into it, or he could add an authority.
        found = os.lstat(path)
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077:
            return found.st_dev, found.st_ino, found.st_mtime_ns
    return None
