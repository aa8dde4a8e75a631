"""What every gateway has in common: the questions put to it, and how its answers are read.

A provider describes; it never reaches out. `submission` and `query` say what to send, `read_*` what an answer means.
A new gateway is one file with its differences (README.md beside this file).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from rushes.shared.domain import events
from rushes.shared.domain.events import Event, Reason
from rushes.shared.domain.http_messages import Request, Response
from rushes.shared.domain.job import Link
from rushes.shared.providers.complaints import Complaint, complaint, effective_status, names_task
from rushes.shared.providers.links import clip_at
from rushes.shared.providers.reading import (
    MESSAGE_CHARS,
    NOTHING,
    Malformed,
    at,
    parsed,
    percent,
    retry_after_s,
    text_at,
    word_at,
)
from rushes.shared.providers.vocabulary import GATE_KIND, ID_PATHS, STATUS_PATHS, STATUSES, status_meaning, telltale


@dataclass(frozen=True, slots=True)
class Access:
    """Where a gateway is and the key that opens it."""

    base_url: str
    key: str

    def url(self, path: str) -> str:
        """The address of a call; the first steps of its path (`/v1`, `/api/v1`) may stand in the base already."""
        scheme, _, rest = self.base_url.rstrip("/").partition("://")
        host, slash, below = rest.partition("/")
        steps, below = path.split("/"), slash + below
        for first in ("/".join(steps[:3]), "/".join(steps[:2])):
            below = below.removesuffix(first)
        return f"{scheme}://{host}{below}{path}"

    def owns(self, url: str) -> bool:
        """Whether an address is of the gateway's own origin; the key goes nowhere else."""
        origin = _origin(url)
        return origin is not None and origin == _origin(self.base_url)

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


def _origin(url: str) -> tuple[str, str | None, int | None] | None:
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        return None
    # Readers of URLs disagree on which host these mean.
    return None if {"@", "\\"} & set(parts.netloc) else (parts.scheme, parts.hostname, port)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request in canonical words (CONTRACT.md), and what belongs to this submit alone."""

    request: Mapping[str, Any]
    key: str
    callback_url: str | None = None
    duration_s: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """What a gateway does with one canonical model: its name there, the operations, the fields it can say."""

    model: str
    operations: frozenset[str]
    fields: frozenset[str]


@dataclass(frozen=True, slots=True)
class Heard:
    """What a callback says: which task, and what happened to it."""

    task_id: str | None
    event: Event


MOTION, TEXT, IMAGE, FIRST_LAST = "motion", "text", "image", "first_last"
# Said by saying nothing.
NEUTRAL: Mapping[str, Any] = {"watermark": False, "sound": False}
# Not for the gateway at all.
OURS = frozenset({"model", "provider", "max_cost_usd", "callback_url", "metadata"})

# What an HTTP status of a definite answer says. 408, 409, 5xx but 503 and all else is no answer at all.
STATUS_REASONS: Mapping[int, Reason] = {
    400: Reason.INPUT,
    401: Reason.KEY,
    402: Reason.BALANCE,
    403: Reason.PROVIDER,
    404: Reason.PROVIDER,
    405: Reason.PROVIDER,
    413: Reason.INPUT,
    415: Reason.INPUT,
    422: Reason.INPUT,
    429: Reason.RATE,
    503: Reason.DOWN,
}
# What the words of an error may say in place of its status: gateways tell of an empty account, a policy or a throttle
# under any of the first line, and inside a 200. Under a 5xx only a throttle is a refusal. A timeout (408, 504, 52x) and
# a conflict (409) are none in any words: the call may have gone through before.
ANY_REASON, THROTTLE = frozenset(Reason), frozenset({Reason.RATE})
BY_WORDS: Mapping[int, frozenset[Reason]] = {
    **dict.fromkeys((200, 400, 403, 422, 429), ANY_REASON),
    **dict.fromkeys((500, 502, 503, 529), THROTTLE),
}
REDIRECTS = frozenset({301, 302, 303, 307, 308})
NO_LINK = "the gateway says completed but gave no link"


def operation_of(request: Mapping[str, Any]) -> str:
    """Which operation a canonical request is for."""
    if request["model"].endswith("motion-control"):
        return MOTION
    if request.get("last_image_url"):
        return FIRST_LAST
    return IMAGE if request.get("image_url") else TEXT


class Provider:
    """The door every gateway has. Class attributes and the methods marked as differences are overridden."""

    name: ClassVar[str]
    address: ClassVar[str | None] = None
    """The documented base URL, without the path of a call."""
    submit_path: ClassVar[str]
    query_path: ClassVar[str]
    """With `{task_id}` in it."""
    offers: ClassVar[Mapping[str, Offer]]
    idempotent: ClassVar[bool] = False
    """Whether a submit may be sent again under the same key without being paid for twice."""
    calls_back: ClassVar[bool] = False
    bills_output: ClassVar[bool] = False
    """Whether a motion clip is billed by what was made, and not by the reference that the gateway measures (seeds)."""
    keyed_content: ClassVar[bool] = False
    """Whether the clip is behind the gateway's own address and needs the key."""
    content_path: ClassVar[str | None] = None
    """With `{task_id}` in it: where a clip is whose task completed without naming an address."""
    statuses: ClassVar[Mapping[str, str]] = STATUSES
    """Status words: those of all gateways, and its own on top. Others mean still running, and are told of."""
    clips: ClassVar[Sequence[str]]
    """Where its documents say that the address of a clip stands, the first place first."""
    refusals: ClassVar[Mapping[str, Reason]] = {}
    """Its own codes of a refused submit, where they say more than the HTTP status."""
    failures: ClassVar[Mapping[str, Reason]] = {}
    """Its own codes of a failed task."""

    @property
    def key_name(self) -> str:
        return f"{self.name.upper()}_API_KEY"

    # --- what it can do

    def unable(self, request: Mapping[str, Any]) -> str | None:
        """Why this gateway cannot do the request; None where it can."""
        offer = self.offers.get(request["model"])
        if offer is None:
            return f"does not offer {request['model']}"
        operation = operation_of(request)
        if operation not in offer.operations:
            return f"does not offer {operation.replace('_', ' and ')} with {request['model']}"
        unsaid = sorted(needed(request) - offer.fields)
        return f"has no way to say {', '.join(unsaid)}" if unsaid else self.limits(request)

    def limits(self, request: Mapping[str, Any]) -> str | None:
        """Difference: what it refuses although it has the fields."""
        return None

    def billed_s(self, seconds: Decimal) -> Decimal:
        """Difference: the seconds it bills for a clip of so many."""
        return seconds

    # --- what to send

    def submission(self, ask: Ask, access: Access) -> Request:
        """The paid call."""
        headers = dict(access.bearer)
        if self.idempotent:
            headers["Idempotency-Key"] = ask.key
        return Request("POST", access.url(self.submit_path), headers, self.body(ask))

    def body(self, ask: Ask) -> dict[str, Any]:
        """Difference: the exact body of the paid call."""
        raise AssertionError(f"{self.name} does not say how it is asked")

    def query(self, task_id: str, access: Access) -> Request:
        """The question how a task stands."""
        return Request("GET", access.url(_filled(self.query_path, task_id)), access.bearer)

    def fetch(self, url: str, access: Access) -> Request:
        """The download of a clip; the key only to the gateway's own origin."""
        keyed = self.keyed_content and access.owns(url)
        return Request("GET", url, access.bearer if keyed else {})

    # --- what an answer means

    def read_submission(self, response: Response, request: Request | None = None) -> Event:
        """Accepted, Refused (surely not accepted), or Lost (nobody knows).

        Words of the `request` that a refusal only repeats are not taken for the gateway's own.
        """
        payload = parsed(response)
        if response.status in REDIRECTS and not names_task(payload):
            return self.moved(response)
        if payload is None:
            return events.Lost(f"HTTP {response.status} says neither yes nor no")
        status = effective_status(response.status, payload)
        is_success = 200 <= status < 300
        if is_success and (task_id := self.task_id(payload)):
            return events.Accepted(task_id)
        error, sent = complaint(payload), (request.body() or b"").decode() if request else ""
        if reason := self.refusal(response.status, status, error, payload, sent):
            return events.Refused(reason, error.message or f"HTTP {status}", retry_after_s=retry_after_s(response))
        return events.Lost("the answer names no task" if is_success else f"HTTP {status} says neither yes nor no")

    def moved(self, response: Response) -> events.Refused:
        """A redirect of a submit: it is not followed with a paid call, and who answers so has not taken the call."""
        there = shown_address(response.headers.get("location", ""))
        message = (
            f"HTTP {response.status}: the address of {self.name} has moved{f' to {there}' if there else ''};"
            f" {self.name.upper()}_BASE_URL must name the new one"
        )
        return events.Refused(Reason.MOVED, message, retry_after_s=retry_after_s(response))

    def refusal(
        self, http_status: int, status: int, error: Complaint, payload: Mapping[str, Any], sent: str
    ) -> Reason | None:
        """Why the call was surely not accepted; None where that is not sure."""
        if http_status in STATUS_REASONS:
            return self.reason(http_status, error, sent)
        # Anything but a definite status must be the gateway's own word, and no task may stand beside it.
        if names_task(payload) or not (error.documented or status in STATUS_REASONS):
            return None
        if status >= 300:
            return self.reason(status, error, sent)
        reason = self.reason(error.status or 200, error, sent)
        return reason or (Reason.DOWN if error.kind == GATE_KIND else None)

    def reason(self, status: int, error: Complaint, sent: str) -> Reason | None:
        """What an error under this status says of the call; None where it is no refusal."""
        by_words = self.refusals.get(error.code) or error.reason(sent)
        return by_words if by_words in BY_WORDS.get(status, ()) else STATUS_REASONS.get(status)

    def task_id(self, payload: Mapping[str, Any]) -> str | None:
        """Difference: where the answer to a submit names the task."""
        return text_at(payload, "id", "task_id", "data.task_id", "data.0.task_id", "data.id")

    def read_query(self, response: Response, access: Access) -> Event:
        """Progressed, Succeeded, Failed, or Unclear (no verdict)."""
        payload = parsed(response)
        if payload is None:
            return events.Unclear(f"HTTP {response.status}, not JSON", retry_after_s=retry_after_s(response))
        status = effective_status(response.status, payload)
        if 200 <= status < 300 or (200 <= response.status < 300 and self.tells_end(payload)):
            return self.read_task(payload, access)
        return self.no_verdict(status, payload, response)

    def tells_end(self, payload: Mapping[str, Any]) -> bool:
        """Whether an error envelope holds a task that has ended: its code may then be the task's, not the call's."""
        return isinstance(at(payload, "data"), Mapping) and self.meaning(payload) in ("completed", "failed")

    def no_verdict(self, status: int, payload: Mapping[str, Any], response: Response) -> events.Unclear:
        """What an error answer to a query says of the gateway; of the task it says nothing."""
        error = complaint(payload)
        message = f"HTTP {status}: {error.message}"[:MESSAGE_CHARS]
        missing = status == 404 or error.code == "task_not_exist"
        return events.Unclear(message, STATUS_REASONS.get(status), retry_after_s(response), missing)

    def read_task(self, payload: Mapping[str, Any], access: Access) -> Event:
        """What the body of a task says, by poll or by callback."""
        meaning = self.meaning(payload)
        if meaning == "completed":
            return self.success(payload, access)
        if meaning == "failed":
            return self.failure(payload)
        drift = None if meaning else self.status_word(payload) or "(none)"
        return events.Progressed(percent(self.progress(payload)), drift)

    def meaning(self, payload: Mapping[str, Any]) -> str | None:
        """What its status word means: running, completed, failed; None for a word that no document knows."""
        word = self.status_word(payload)
        return status_meaning(word, self.statuses) if word else None

    def success(self, payload: Mapping[str, Any], access: Access) -> Event:
        """Succeeded, if there is a video to fetch."""
        link = self.link(payload, access) or self.content(payload, access)
        if link is None:
            return events.Unclear(NO_LINK, finished=True)
        # A clip of no length, or for nothing, is a field that was not filled in.
        cost_usd, made_s = self.cost_usd(payload) or None, self.made_s(payload) or None
        return events.Succeeded(link, cost_usd, made_s, self.reported_id(payload), took_s=self.took_s(payload))

    def content(self, payload: Mapping[str, Any], access: Access) -> Link | None:
        """The gateway's own address of a clip."""
        task_id = self.reported_id(payload)
        return Link(access.url(_filled(self.content_path, task_id))) if self.content_path and task_id else None

    def failure(self, payload: Mapping[str, Any]) -> events.Failed:
        """Why the task failed, in our words."""
        code, message = self.failure_words(payload)
        by_words = telltale(code, message)
        if by_words is Reason.RATE:  # that is said of calls: a task that failed "at capacity" has failed
            by_words = None
        reason = self.failures.get(code) or by_words or Reason.PROVIDER
        return events.Failed(
            reason, message or code or "the gateway gives no reason", task_id=self.reported_id(payload)
        )

    def read_callback(self, payload: Any, access: Access) -> Heard:
        """What a callback says; raises Malformed where it cannot be read."""
        if not isinstance(payload, Mapping) or not self.status_word(payload):
            raise Malformed("no state in it")
        return Heard(self.reported_id(payload), self.read_task(payload, access))

    # --- differences in where a task's body keeps things

    def status_word(self, payload: Mapping[str, Any]) -> str | None:
        return word_at(payload, *STATUS_PATHS)

    def progress(self, payload: Mapping[str, Any]) -> Any:
        inner = at(payload, "data.progress")
        return at(payload, "progress") if inner is None else inner

    def link(self, payload: Mapping[str, Any], access: Access) -> Link | None:
        """Where the clip is: at one of `clips`, or wherever else clips stand in an answer."""
        video = clip_at(payload, *self.clips)
        return Link(video) if video else None

    def failure_words(self, payload: Mapping[str, Any]) -> tuple[str, str]:
        error = complaint(payload)
        return error.code or error.kind, error.message

    def reported_id(self, payload: Mapping[str, Any]) -> str | None:
        return text_at(payload, *ID_PATHS)

    def cost_usd(self, payload: Mapping[str, Any]) -> Decimal | None:
        return None

    def made_s(self, payload: Mapping[str, Any]) -> Decimal | None:
        return None

    def took_s(self, payload: Mapping[str, Any]) -> float | None:
        """From the submit to the end by the gateway's own clock; not how long it worked, which leaves out the queue."""
        return None


def shown_address(url: str) -> str:
    """An address without what may be secret in it; '' where it is none."""
    try:
        parts = urlsplit(url)
        host = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}" if parts.hostname else ""
    except ValueError:
        return ""
    return f"{host}{parts.path}"[:200]


def _filled(path: str, task_id: str) -> str:
    return path.format(task_id=quote(task_id, safe=""))


def needed(request: Mapping[str, Any]) -> set[str]:
    """The fields of a request that a gateway has to be told."""
    return {
        name
        for name, value in request.items()
        if name not in OURS and value not in NOTHING and NEUTRAL.get(name, ...) != value
    }
