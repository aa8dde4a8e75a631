"""What goes over the wire to a gateway and comes back, as plain values."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

GZIP, MAX_INFLATED_BYTES = b"\x1f\x8b", 1 << 20
CHARSET = re.compile(r"charset=[\"']?([\w.:-]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP call to make; `json` is the body, sent as UTF-8 JSON, or `raw` is, as it is."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Mapping[str, Any] | None = None
    raw: bytes | None = None

    def body(self) -> bytes | None:
        """The exact bytes that are sent, or None for a call without a body."""
        if self.json is None:
            return self.raw
        return json.dumps(self.json, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP answer, read whole; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON; raises ValueError where it is not.

        In another charset than JSON's own the one that the content type names is read; of what cannot be read so, only
        the letters are lost.
        """
        body = self.body
        if body.startswith(GZIP):  # some proxies compress and do not say so
            body = _inflated(body)
        try:
            return json.loads(body)
        except UnicodeDecodeError:
            return json.loads(self._text(body))

    def _text(self, body: bytes) -> str:
        named = CHARSET.search(self.headers.get("content-type", ""))
        with suppress(LookupError):  # no charset that Python knows
            return body.decode(named[1] if named else "utf-8", "replace")
        return body.decode("utf-8", "replace")


def _inflated(body: bytes) -> bytes:
    inflator = zlib.decompressobj(zlib.MAX_WBITS | 16)
    with suppress(zlib.error):
        return inflator.decompress(body, MAX_INFLATED_BYTES)
    return body
