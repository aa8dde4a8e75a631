"""Loads botocore's JSON data at a third of its memory.

botocore keeps each object of its files as an OrderedDict, and of endpoints.json the addresses of all 300 services:
14 MiB in each process that has a client for S3. Plain dicts keep their order too, and of the services only those are
kept that a client for S3 or its credentials ask for; botocore derives the address of any other by the rules of its
partition. The documentation of operations and fields is half of a service's file, and nobody reads it here.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from botocore.loaders import JSONFileLoader, Loader, create_loader

# S3, and where credentials come from.
SERVICES = frozenset({"s3", "sts", "sso", "portal.sso", "oidc", "signin"})


class ModelFiles(JSONFileLoader):
    """Reads the same files as its base class."""

    def load_file(self, file_path: str) -> Any:
        """The data of the file at this path without its extension, None if there is none."""
        for extension, read in ((".json", Path.read_bytes), (".json.gz", _read_compressed)):
            path = Path(file_path + extension)
            if path.is_file():
                data = json.loads(read(path), object_hook=_without_documentation)
                return _with_few_services(data) if path.name == "endpoints.json" else data
        return None


def loader(search_path: str | None) -> Loader:
    """Botocore's loader over these files; `search_path` is AWS_DATA_PATH's."""
    models = create_loader(search_path)
    models.file_loader = ModelFiles()
    return models


def _read_compressed(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


def _without_documentation(part: dict[str, Any]) -> dict[str, Any]:
    if isinstance(part.get("documentation"), str):  # and no field of this name
        part["documentation"] = ""  # botocore asks some parts for it
    return part


def _with_few_services(endpoints: Any) -> Any:
    for partition in endpoints["partitions"]:
        partition["services"] = {name: place for name, place in partition["services"].items() if name in SERVICES}
    return endpoints
