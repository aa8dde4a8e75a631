"""Error bodies: what they say, in whichever of the documented forms, and whether they are surely the gateway's own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rushes.shared.domain.events import Reason
from rushes.shared.providers.reading import at, decimal_at, text_at
from rushes.shared.providers.vocabulary import ERROR_KINDS, KLING_CODES, telltale

# Codes of an envelope that is no error.
WELL = frozenset({None, "0", "200", "success", "succeed", "ok"})
# Names under which answers hold the id of a task.
IDS = frozenset({"id", "taskid", "videoid", "jobid", "generationid"})
DEPTH = 8


@dataclass(frozen=True, slots=True)
class Complaint:
    """What an error body says: `code` and `kind` in its own words, `message` for people."""

    code: str = ""
    kind: str = ""
    message: str = ""
    documented: bool = False
    """Whether it stands in a form of the gateways' documents, so that no proxy in front of them says it."""
    cause: Complaint | None = None
    """The vendor's own complaint, where the message holds it as JSON."""

    @property
    def status(self) -> int | None:
        """The HTTP status that its code or kind stands for; None where it does not say."""
        if self.code.isdecimal() and 400 <= int(self.code[:9]) < 600:
            return int(self.code)
        return ERROR_KINDS.get(self.code.lower()) or ERROR_KINDS.get(self.kind.lower())

    def reason(self, sent: str = "") -> Reason | None:
        """What its codes and words give away; `sent` is the text of our call, which it may repeat."""
        chain = (self, self.cause) if self.cause else (self,)
        by_code = next((KLING_CODES[error.code] for error in chain if error.code in KLING_CODES), None)
        texts = [text for error in chain for text in (error.code, error.kind, error.message)]
        return by_code or telltale(*texts, sent=sent)


def complaint(payload: Mapping[str, Any]) -> Complaint:
    """What an error body says, wherever it stands."""
    error = next(
        found for found in (at(payload, "data.error"), at(payload, "error"), payload) if isinstance(found, Mapping)
    )
    message = text_at(error, "message", "msg") or text_at(payload, "msg", "message", "error", "detail") or ""
    return Complaint(
        code=text_at(error, "code") or "",
        kind=text_at(error, "type") or "",
        message=message,
        documented=bool(message) and _is_documented(payload),
        cause=_cause(message),
    )


def _is_documented(payload: Mapping[str, Any]) -> bool:
    """`{"error": {…}}`, `{"success": false, …}`, or `{"code", "message" | "msg"}` without data."""
    if isinstance(payload.get("error"), Mapping):
        return True
    if not text_at(payload, "message", "msg") or payload.get("data") not in (None, {}, [], ""):
        return False
    code = text_at(payload, "code")
    return payload.get("success") is False or (code.lower() if code else None) not in WELL


def _cause(message: str) -> Complaint | None:
    """new-api hands a vendor's whole error body on inside its message (fail_to_fetch_task)."""
    start = message.find("{")
    if start < 0:
        return None
    try:
        payload, _ = json.JSONDecoder().raw_decode(message, start)
    except (ValueError, RecursionError):
        return None
    return complaint(payload) if isinstance(payload, Mapping) else None


def names_task(payload: Any) -> bool:
    """Whether the id of a task may stand anywhere in an answer."""
    return any(
        name.lower().replace("_", "") in IDS and text_at({"id": value}, "id") is not None
        for name, value in _pairs(payload, DEPTH)
    )


def _pairs(value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    inner: list[Any] = []
    if isinstance(value, dict):
        yield from value.items()
        inner = list(value.values())
    elif isinstance(value, list):
        inner = value
    for each in inner if depth else ():
        yield from _pairs(each, depth - 1)


def effective_status(status: int, payload: Mapping[str, Any]) -> int:
    """An error code inside an HTTP 2xx counts as the status."""
    code = decimal_at(payload, "code")
    return int(code) if 200 <= status < 300 and code is not None and 400 <= code < 600 else status
