"""Faults that can be switched on at a gateway, each for one request, a number of them, or until cleared.

A fault strikes at a stage: `submit`, `query` and `balance` are calls, `accept` marks the task that is being accepted,
`result` is a query that finds its task finished, `download` is a fetch of the clip. A request meets one fault of a
stage at most, the oldest first.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rushes.deploy.sandbox.gateways.billing import Billing
from rushes.deploy.sandbox.gateways.request_rules import Refusal
from rushes.deploy.sandbox.gateways.server import HangUp, Piece, Response

CALLS = ("submit", "query", "balance")
ANYWHERE = (*CALLS, "download")

# Fault → the stages where it can strike, its usual one first.
STAGES: Mapping[str, tuple[str, ...]] = {
    "answer_lost": CALLS,
    "bad_json": ("query", "submit", "balance"),
    "compressed": ("download",),
    "cost_off": ("accept",),
    "cost_untold": ("result",),
    "empty_url": ("result",),
    "error_in_200": ("submit", "query"),
    "expired_link": ("result",),
    "fail_task": ("accept",),
    "forged_first": ("accept",),
    "hang": ANYWHERE,
    "html_502": ANYWHERE,
    "http_500": ANYWHERE,
    "no_balance": ("submit", "query"),
    "no_callback": ("accept",),
    "not_found": ("query",),
    "odd_link": ("result",),
    "rate_limited": CALLS,
    "redirect": ANYWHERE,
    "refuse_503": ANYWHERE,
    "shows_late": ("accept",),
    "slow": ANYWHERE,
    "throttled": CALLS,
    "truncated_clip": ("download",),
    "unauthorized": CALLS,
    "unknown_status": ("query",),
    "vendor_word": ("result",),
}

# These strike a submit after it was accepted and billed, unless `accepted` says otherwise.
AFTER_ACCEPT = ("answer_lost", "bad_json")

HTML_502 = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><h1>502 Bad Gateway</h1></body>\r\n</html>\r\n"
)
CUT_JSON = b'{"code": 200, "data": {"id": "ta'


class CannedResponse(Exception):
    """Send exactly this response, whatever the gateway would have sent."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


class Unknown(Exception):
    """The control API was asked for a fault that does not exist, or not at that stage."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One armed fault; `times` is how often it will still strike, -1 until cleared."""

    gateway: str
    fault: str
    stage: str
    times: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """Whether a submit is accepted and billed before this fault strikes it."""
        return bool(self.options.get("accepted", self.fault in AFTER_ACCEPT))

    def is_for(self, api_key: str) -> bool:
        """Whether it strikes an account; with the option `api_key` it strikes that one only."""
        return bool(api_key == self.options.get("api_key", api_key))

    def document(self) -> dict[str, Any]:
        """The fault as the control API takes and shows it."""
        fields = {"gateway": self.gateway, "fault": self.fault, "stage": self.stage, "times": self.times}
        return {**self.options, **fields}

    def strike(self) -> None:
        """Apply the fault to a call: wait, or raise a Refusal, a CannedResponse or HangUp."""
        if self.fault in STRIKES:
            STRIKES[self.fault](self.options)


def _hang_up(options: Mapping[str, Any]) -> None:
    raise HangUp


def _wait(options: Mapping[str, Any]) -> None:
    time.sleep(float(options.get("seconds", 5)))


def _hang(options: Mapping[str, Any]) -> None:
    _wait({"seconds": 600, **options})
    raise HangUp


def _canned(status: int, body: bytes, kind: str) -> Callable[[Mapping[str, Any]], None]:
    def strike(options: Mapping[str, Any]) -> None:
        raise CannedResponse(Response(status, body, {"Content-Type": kind}))

    return strike


def _refusal(status: int, message: str, slug: str, http: int = 0) -> Callable[[Mapping[str, Any]], None]:
    """Refuse in the gateway's own form; `status`, `message` and `code` may be given with the fault."""

    def strike(options: Mapping[str, Any]) -> None:
        retry_after = options.get("retry_after", 2 if status == 429 else None)
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        words = options.get("message", message), options.get("code", slug)
        raise Refusal(int(options.get("status", status)), *words, headers=headers, http=http)

    return strike


def _redirect(options: Mapping[str, Any]) -> None:
    location = options.get("location", "https://moved.example/v2/videos")
    raise CannedResponse(Response(int(options.get("status", 301)), b"", {"Location": location}))


STRIKES: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
    "answer_lost": _hang_up,
    "bad_json": _canned(200, CUT_JSON, "application/json"),
    "error_in_200": _refusal(400, "the prompt is not taken", "invalid_request", http=200),
    "hang": _hang,
    "html_502": _canned(502, HTML_502, "text/html"),
    "http_500": _refusal(500, "internal server error", "internal_error"),
    "no_balance": _refusal(402, "insufficient balance", "insufficient_user_quota"),
    "rate_limited": _refusal(429, "too many requests", "rate_limit_exceeded"),
    "redirect": _redirect,
    "refuse_503": _refusal(503, "service temporarily unavailable", "service_unavailable"),
    "slow": _wait,
    "throttled": _refusal(400, "parallel task over resource pack limit", "task_failed"),
    "unauthorized": _refusal(401, "invalid API key", "invalid_api_key"),
}


# How an address may be written in a response, by name.
SHAPES: Mapping[str, Callable[[str], Any]] = {
    "json": lambda url: json.dumps([url]),
    "nested": lambda url: [[url]],
    "newline": lambda url: f"{url}\n",
    "object": lambda url: {"cover_url": f"{url}.jpg", "watermark_url": f"{url}&marked", "url": url},
    "space": lambda url: f" {url} ",
    "upper": lambda url: url.replace("http", "HTTP", 1),
}


def reshaped(body: Any, options: Mapping[str, Any]) -> Any:
    """A response body with its addresses in another shape, or replaced by another address (`url`)."""
    if isinstance(body, str) and body.startswith("http"):
        return SHAPES.get(options.get("shape", ""), str)(options.get("url", body))
    if isinstance(body, list):
        return [reshaped(entry, options) for entry in body]
    if isinstance(body, dict):
        return {name: reshaped(value, options) for name, value in body.items()}
    return body


def cut(piece: Piece, how: str) -> Piece:
    """Half of a piece: `cut` announces the whole length, `undeclared` announces none, `short` announces the half."""
    half = piece.size_bytes // 2
    announced_bytes = half if how == "short" else piece.size_bytes
    return Piece(piece.path, piece.start, announced_bytes, half, announces_length=how != "undeclared")


def read(document: Mapping[str, Any], gateways: tuple[str, ...]) -> Fault:
    """The fault that a control request asks for; raises Unknown for a fault that does not exist."""
    fields = {"times": 1, **document}
    gateway, fault = fields.pop("gateway", ""), fields.pop("fault", "")
    if gateway not in gateways or fault not in STAGES:
        raise Unknown(f"gateway is one of {', '.join(gateways)}; fault is one of {', '.join(STAGES)}")
    stage, times = fields.pop("stage", STAGES[fault][0]), fields.pop("times")
    if stage not in STAGES[fault] or not isinstance(times, int) or times < -1 or times == 0:
        raise Unknown(f"{fault} strikes at {' or '.join(STAGES[fault])}; times is -1 or a count")
    return Fault(gateway, fault, stage, times, fields)


class Faults:
    """The armed faults; they outlive a restart."""

    def __init__(self, billing: Billing, gateways: tuple[str, ...]) -> None:
        self._billing = billing
        self._lock = threading.Lock()
        self._armed = [read(document, gateways) for document in billing.stored_faults()]

    def arm(self, fault: Fault) -> None:
        """Let the fault strike from the next request on."""
        with self._lock:
            self._keep([*self._armed, fault])

    def clear(self, gateway: str = "") -> None:
        """Switch off every fault, or those of one gateway."""
        with self._lock:
            self._keep([fault for fault in self._armed if gateway not in ("", fault.gateway)])

    def armed(self) -> list[Fault]:
        """The faults that are still armed, oldest first."""
        return list(self._armed)

    def take(self, gateway: str, stage: str, api_key: str) -> Fault | None:
        """The fault that strikes this account here now; it is counted down."""
        if not self._armed:
            return None
        with self._lock:
            for n, fault in enumerate(self._armed):
                if (fault.gateway, fault.stage) == (gateway, stage) and fault.is_for(api_key):
                    self._keep([*self._armed[:n], *_once_less(fault), *self._armed[n + 1 :]])
                    return fault
        return None

    def _keep(self, armed: list[Fault]) -> None:
        self._armed = armed
        self._billing.store_faults(fault.document() for fault in armed)


def _once_less(fault: Fault) -> list[Fault]:
    if fault.times < 0:
        return [fault]
    left = fault.times - 1
    return [Fault(fault.gateway, fault.fault, fault.stage, left, fault.options)] if left > 0 else []
