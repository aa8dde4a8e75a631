"""Parses server-sent events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from rushes.shared.client.documents import Event


def parse(lines: Iterable[bytes]) -> Iterator[Event | None]:
    """The events of a stream, and None for each keep-alive. An event that is cut before its empty line is dropped."""
    fields: dict[str, list[str]] = {}
    for line in lines:
        if line:
            name, _, value = line.decode().partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
            continue
        if "data" in fields:
            yield Event(fields["id"][-1], fields["event"][-1], json.loads("\n".join(fields["data"])))
        else:
            yield None
        fields = {}
