"""Trusted authorities as a directory that OpenSSL looks into: a connection loads the one authority that it needs.

From a file each handle of libcurl loads all of them and keeps them: 0.65 MiB and 4 ms of CPU for certifi's 118, and a
busy worker has 70 handles (libcurl 8.23, OpenSSL 3.6, 2026-11). OpenSSL finds a file by the hash of the issuer's name:
openssl-rehash(1).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import ssl
import stat
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

CERTIFICATE = re.compile(r"-----BEGIN (?:X509 )?CERTIFICATE-----[\w+/=\s]+-----END (?:X509 )?CERTIFICATE-----")
ANY_BLOCK = "-----BEGIN "
# A handle that loads fewer of them costs no more than a directory does.
MIN_CERTIFICATES = 16
# Tags of DER (X.690), and by the tag of a text how OpenSSL reads it.
OID, UTF8, SEQUENCE, VERSION = 0x06, 0x0C, 0x30, 0xA0
LATIN = dict.fromkeys((0x13, 0x14, 0x16, 0x1A), "latin-1")
TEXTS = {UTF8: "utf-8", 0x1C: "utf-32-be", 0x1E: "utf-16-be", **LATIN}
BLANKS = re.compile(r"[ \t\n\v\f\r]+")


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

    It has to where the directory cannot be written, or a part of the file cannot be read.
    """
    try:
        return _directory(Path(bundle).read_text(encoding="ascii", errors="ignore"))
    except (OSError, ValueError, IndexError):
        return None


def _directory(bundle: str) -> AuthorityDirectory | None:
    certificates = CERTIFICATE.findall(bundle)
    if len(certificates) < MIN_CERTIFICATES:
        return None
    if len(certificates) != bundle.count(ANY_BLOCK):
        raise ValueError("the file holds more than plain certificates")
    digest = hashlib.sha256("\n".join(certificates).encode()).hexdigest()
    # One for all processes of a user, and after a kill the next one finds it.
    path = os.path.join(tempfile.gettempdir(), f"rushes-authorities-{os.geteuid()}-{digest[:32]}")
    if _state(path) and len(os.listdir(path)) < len(certificates):
        shutil.rmtree(path)  # something was taken out of it
    if _state(path) is None:
        _write(path, certificates)
    if (state := _state(path)) is None:
        raise FileExistsError(path)
    return AuthorityDirectory(path, state)


def _write(path: str, certificates: list[str]) -> None:
    """Write all files, then give the directory its name: who finds it finds all of them."""
    folder = tempfile.mkdtemp(prefix="rushes-authorities-")
    for name, certificate in _files(certificates):
        Path(folder, name).write_text(certificate + "\n", encoding="ascii")
    try:
        os.rename(folder, path)
    except OSError:  # another process was faster
        shutil.rmtree(folder, ignore_errors=True)


def _files(certificates: list[str]) -> Iterator[tuple[str, str]]:
    counts: Counter[str] = Counter()
    for certificate in certificates:
        name = name_hash(ssl.PEM_cert_to_DER_cert(certificate.replace("X509 ", "")))
        yield f"{name}.{counts[name]}", certificate
        counts[name] += 1


def _state(path: str) -> tuple[int, ...] | None:
    """What changes if a file is taken out or put in; None if it is no directory of ours alone."""
    with suppress(OSError):
        # Invariant: nobody else can write into it, or he could add an authority.
        found = os.lstat(path)
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077:
            return found.st_dev, found.st_ino, found.st_mtime_ns
    return None


# --- DER


def name_hash(certificate: bytes) -> str:
    """The hash of a certificate's subject by which OpenSSL looks for it; raises ValueError, IndexError.

    X509_NAME_hash: of the name's canonical form: texts as UTF-8 in lower case, their blanks single, none at the ends.
    """
    fields = list(_elements(_first(_first(certificate))))
    subject = fields[5 if fields[0][0] == VERSION else 4][1]
    names = ((tag, sorted(map(_canonical, _contents(attributes)))) for tag, attributes in _elements(subject))
    canonical = b"".join(_element(tag, b"".join(attributes)) for tag, attributes in names)
    return hashlib.sha1(canonical, usedforsecurity=False).digest()[3::-1].hex()


def _canonical(attribute: bytes) -> bytes:
    (_, oid), (tag, value) = _elements(attribute)
    if tag in TEXTS:
        text = BLANKS.sub(" ", value.decode(TEXTS[tag]).strip(" \t\n\v\f\r"))
        tag, value = UTF8, text.encode().lower()  # of bytes only A to Z are made small, as OpenSSL does
    return _element(SEQUENCE, _element(OID, oid) + _element(tag, value))


def _first(der: bytes) -> bytes:
    return next(_elements(der))[1]


def _contents(der: bytes) -> list[bytes]:
    return [content for _, content in _elements(der)]


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tags and contents that stand one behind the other."""
    place = 0
    while place < len(der):
        tag, size = der[place], der[place + 1]
        place += 2
        if size & 0x80:
            width = size & 0x7F
            size = int.from_bytes(der[place : place + width])
            place += width
        if place + size > len(der):
            raise ValueError("it is cut short")
        yield tag, der[place : place + size]
        place += size


def _element(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    width = (size.bit_length() + 7) // 8
    return bytes([tag, 0x80 | width]) + size.to_bytes(width) + content
