"""Reads error bodies in any of the documented forms, and tells whether one is surely the gateway's own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rushes.shared.domain import events
from rushes.shared.domain.events import Reason
from rushes.shared.domain.http_messages import Response
from rushes.shared.providers.reading import decimal_at, retry_after_s, text_at, value_at
from rushes.shared.providers.vocabulary import ERROR_KINDS, KLING_CODES, reason_in_words

# Codes of an envelope that is no error.
SUCCESS_CODES = frozenset({None, "0", "200", "success", "succeed", "ok"})
# Names of fields that hold the id of a task, without `_` and in small letters.
TASK_ID_NAMES = frozenset({"id", "taskid", "videoid", "jobid", "generationid"})
# Where the id of a new task may be; `id` comes last, for beside a task's id it is that of a request or of a row.
SUBMIT_IDS = tuple(
    f"{holder}{name}"
    for names in (("task_id", "taskId"), ("id",))
    for holder in ("", "data.", "data.0.", "data.data.", "result.", "task.", "output.")
    for name in names
)
BARE_ID = re.compile(r"(?=.*\d)[\w.:-]{8,200}", re.ASCII)
DEPTH = 8
MESSAGES = ("message", "msg", "error_message", "detail")
ENVELOPE_MESSAGES = (
    *("msg", "message", "error", "detail", "error_msg", "errors.0.message", "errors.0.detail", "errors.0", "title"),
    *("data.message", "data.msg", "result.message", "result.msg"),
)
# Beside the state of a task; `message` is last, for in an envelope it is often of the query.
FAILURE_MESSAGES = (
    *("task_status_msg", "fail_reason", "failure_reason", "failMsg", "fail_msg", "failReason", "error"),
    *("error_message", "errorMessage", "error_msg", "err_msg", "reason", "status_msg", "detail", "errors.0.message"),
    *("message", "msg"),
)
FAILURE_CODES = ("failCode", "fail_code", "error_code", "errorCode")
SUCCESS_MESSAGES = frozenset({"success", "succeed", "ok", "成功"})
# What an error's own code says under another HTTP status. A code of 4xx that is not here says no more than a 400.
CODE_REASONS = {401: Reason.KEY, 402: Reason.BALANCE, 429: Reason.RATE, 503: Reason.DOWN}


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """An error body: `code` and `kind` as the gateway writes them, `message` for people."""

    code: str = ""
    kind: str = ""
    message: str = ""
    documented: bool = False
    """Whether it has a form of the gateways' documents. An error of a proxy in front of them has not."""
    cause: ErrorBody | None = None
    """The error body of the vendor behind the gateway, if the message holds it as JSON."""

    @property
    def status(self) -> int | None:
        """The HTTP status that its code or kind stands for, None if neither is known."""
        if self.code.isdecimal() and 400 <= int(self.code[:9]) < 600:
            return int(self.code)
        return ERROR_KINDS.get(self.code.lower()) or ERROR_KINDS.get(self.kind.lower())

    def reason(self, sent: str = "") -> Reason | None:
        """The reason by its codes and words. `sent` is the body of our call, whose words it may repeat."""
        chain = (self, self.cause) if self.cause else (self,)
        by_code = next((KLING_CODES[error.code] for error in chain if error.code in KLING_CODES), None)
        texts = [text for error in chain for text in (error.code, error.kind, error.message)]
        by_words = by_code or reason_in_words(*texts, sent=sent)
        return by_words or next((CODE_REASONS[error.status] for error in chain if error.status in CODE_REASONS), None)


def read_error_body(payload: Mapping[str, Any]) -> ErrorBody:
    """Read an error body, whichever part of the payload holds it."""
    error = next(
        value
        for value in (value_at(payload, "data.error"), value_at(payload, "error"), payload)
        if isinstance(value, Mapping)
    )
    message = text_at(error, *MESSAGES) or text_at(payload, *ENVELOPE_MESSAGES) or ""
    return ErrorBody(
        code=text_at(error, "code") or "",
        kind=text_at(error, "type") or "",
        message=message,
        documented=bool(message) and _is_documented(payload),
        cause=_read_cause(message),
    )


def read_failure_body(payload: Mapping[str, Any]) -> ErrorBody:
    """Why a task failed: an error object or text beside its state, or the vendor's words for it."""
    task = value_at(payload, "data.0") or value_at(payload, "data")
    holders = (task, value_at(task, "result"), value_at(payload, "result"), payload)
    for holder in (holder for holder in holders if isinstance(holder, Mapping)):
        error = holder.get("error")
        if isinstance(error, Mapping):
            code, message = text_at(error, "code", "type") or "", text_at(error, *MESSAGES) or ""
        else:
            message = text_at(holder, *FAILURE_MESSAGES) or ""
            code = text_at(holder, *FAILURE_CODES) or ""
        if (code or message) and message.lower() not in SUCCESS_MESSAGES:
            return ErrorBody(code, "", message, cause=_read_cause(message))
    return ErrorBody()


def _is_documented(payload: Mapping[str, Any]) -> bool:
    """`{"error": {…}}`, `{"success": false, …}`, or `{"code", "message" | "msg"}` without data."""
    if isinstance(payload.get("error"), Mapping):
        return True
    if payload.get("data") not in (None, {}, [], ""):
        return False
    if payload.get("success") is False:
        return True
    code = text_at(payload, "code")
    return bool(text_at(payload, "message", "msg")) and (code.lower() if code else None) not in SUCCESS_CODES


def _read_cause(message: str) -> ErrorBody | None:
    """new-api passes on a vendor's whole error body inside its message (fail_to_fetch_task)."""
    start = message.find("{")
    if start < 0:
        return None
    try:
        payload, _ = json.JSONDecoder().raw_decode(message, start)
    except (ValueError, RecursionError):
        return None
    return read_error_body(payload) if isinstance(payload, Mapping) else None


def read_unreadable(response: Response) -> events.Lost | events.Refused:
    """What a response to a submit without a JSON object means: nothing. But a 429 says by itself what it is.

    It is of whoever counts calls before they are let in, and often a page of HTML or empty.
    """
    if response.status == 429 and not _may_hold_json(response.body):
        return events.Refused(Reason.RATE, "HTTP 429", retry_after_s=retry_after_s(response))
    return events.Lost(f"HTTP {response.status} says neither yes nor no")


def _may_hold_json(body: bytes) -> bool:
    """Whether JSON may stand in a body, be it cut short: then it may have named a task, which was paid for."""
    try:
        text = body.decode("utf-8-sig").lstrip()
    except UnicodeDecodeError:  # another charset, or packed
        return True
    return not text.startswith("<") and ("{" in text or "[" in text)


def submitted_task_id(payload: Mapping[str, Any]) -> str | None:
    """The id of the task in the response to a submit; `data` itself may be the id."""
    data = payload.get("data")
    bare = data if isinstance(data, str) and BARE_ID.fullmatch(data) else None
    return text_at(payload, *SUBMIT_IDS) or bare


def names_task(payload: Any) -> bool:
    """Whether anything in a response may be the id of a task."""
    return any(
        name.lower().replace("_", "") in TASK_ID_NAMES and text_at({"id": value}, "id") is not None
        for name, value in _walk_pairs(payload, DEPTH)
    )


def _walk_pairs(value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    inner: list[Any] = []
    if isinstance(value, dict):
        yield from value.items()
        inner = list(value.values())
    elif isinstance(value, list):
        inner = value
    for item in inner if depth else ():
        yield from _walk_pairs(item, depth - 1)


def effective_status(status: int, payload: Mapping[str, Any]) -> int:
    """The HTTP status, or the error code (400 to 599) inside a 2xx response."""
    code = decimal_at(payload, "code")
    return int(code) if 200 <= status < 300 and code is not None and 400 <= code < 600 else status
