"""What goes over the wire to a gateway and comes back, as plain values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

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
        try:
            return json.loads(self.body)
        except UnicodeDecodeError:
            return json.loads(self._text())

    def _text(self) -> str:
        named = CHARSET.search(self.headers.get("content-type", ""))
        with suppress(LookupError):  # no charset that Python knows
            return self.body.decode(named[1] if named else "utf-8", "replace")
        return self.body.decode("utf-8", "replace")
