"""Files of certificate authorities, joined: boto and libcurl take one file each."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryFile
from typing import IO

from shared.settings import SettingsError

FILES = "/proc/self/fd"
# A joined file lives as long as its process.
OPENED: list[IO[bytes]] = []


def joined(*paths: str) -> str:
    """A path, good in this process and those forked from it, at which all these files are read as one.

    Raises SettingsError.
    """
    try:
        content = b"\n".join(Path(path).read_bytes() for path in paths)
    except OSError as error:
        raise SettingsError(f"settings: RUSHES_CA_FILE: {error.strerror}: {error.filename}") from None
    # Without a name nothing is left behind, whatever ends the process, and nobody else can put another in its place.
    file: IO[bytes] = TemporaryFile() if os.path.isdir(FILES) else NamedTemporaryFile(suffix=".pem")  # noqa: SIM115
    file.write(content)
    file.flush()
    OPENED.append(file)
    return file.name if isinstance(file.name, str) else f"{FILES}/{file.fileno()}"
