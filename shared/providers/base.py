"""What all gateways have in common: the requests that are sent to them, and how their responses are read.

A provider describes and does no I/O. The `*_request` methods build what is sent, the `read_*` methods say what a
response means. A new gateway is one file with its differences (README.md beside this file).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar
from urllib.parse import quote

from rushes.shared.domain import events
from rushes.shared.domain.balances import Balance
from rushes.shared.domain.events import Event, Reason
from rushes.shared.domain.http_messages import Request, Response
from rushes.shared.domain.job import Link
from rushes.shared.providers.access import Access as Access
from rushes.shared.providers.callback_reports import CallbackHint, CallbackReport
from rushes.shared.providers.error_bodies import (
    ErrorBody,
    effective_status,
    names_task,
    read_error_body,
    read_failure_body,
    read_unreadable,
    submitted_task_id,
)
from rushes.shared.providers.links import clip_at
from rushes.shared.providers.operations import DEFAULTS as DEFAULTS
from rushes.shared.providers.operations import FIRST_LAST as FIRST_LAST
from rushes.shared.providers.operations import IMAGE as IMAGE
from rushes.shared.providers.operations import MOTION as MOTION
from rushes.shared.providers.operations import RUSHES_FIELDS as RUSHES_FIELDS
from rushes.shared.providers.operations import SHOT_DURATION as SHOT_DURATION
from rushes.shared.providers.operations import TEXT as TEXT
from rushes.shared.providers.operations import ModelSupport as ModelSupport
from rushes.shared.providers.operations import needed_fields as needed_fields
from rushes.shared.providers.operations import operation_of as operation_of
from rushes.shared.providers.reading import (
    MESSAGE_CHARS,
    Malformed,
    json_object,
    moved_message,
    percent,
    retry_after_s,
    text_at,
    unwrapped,
    value_at,
)
from rushes.shared.providers.status_word import status_word
from rushes.shared.providers.vocabulary import (
    BY_WORDS,
    GATE_KIND,
    ID_PATHS,
    REDIRECTS,
    STATUS_REASONS,
    STATUSES,
    status_meaning,
)


@dataclass(frozen=True, slots=True)
class Submission:
    """The job's request in our own field names (CONTRACT.md), and what belongs to this submit alone."""

    request: Mapping[str, Any]
    idempotency_key: str
    callback_url: str | None = None
    duration_s: Decimal | None = None


NO_LINK, OF_NO_TASK = "the gateway says completed but gave no link", "the gateway says failed, but of no task"


class Provider:
    """The interface of every gateway. A subclass overrides class attributes and the methods marked as differences."""

    name: ClassVar[str]
    address: ClassVar[str | None] = None
    """The documented base URL, without the path of a call."""
    submit_path: ClassVar[str]
    query_path: ClassVar[str]
    """Contains `{task_id}`."""
    sources: ClassVar[Sequence[tuple[str, str]]] = ()
    """What its file is written by, each with the day on which it was last read (deploy/gateways)."""
    models: ClassVar[Mapping[str, ModelSupport]]
    idempotent: ClassVar[bool] = False
    """Whether a submit that is sent again under the same Idempotency-Key is paid for once."""
    key_query_path: ClassVar[str | None] = None
    """Contains `{key}`: the query by our own id of an attempt, where it can be asked so and accepts each id once."""
    calls_back: ClassVar[bool] = False
    query_batch: ClassVar[int] = 1
    """How many tasks one query may be about (`batch_query_request`, `part_of`)."""
    signs: ClassVar[bool] = False
    """Whether it signs its callbacks under Standard Webhooks, once it was given a secret."""
    tells_cost: ClassVar[bool] = False
    """Whether a finished task says what it cost."""
    bills_output: ClassVar[bool] = False
    """Whether a motion clip is billed by the length of the clip made, not of the reference clip (seeds)."""
    keyed_content: ClassVar[bool] = False
    """Whether clips are at the gateway's own address, and the download needs the key."""
    content_path: ClassVar[str | None] = None
    """Contains `{task_id}`: the path of the clip, where a completed task names no URL."""
    statuses: ClassVar[Mapping[str, str]] = STATUSES
    """The meanings of status words, its own included. An unknown word means running, and is reported."""
    clips: ClassVar[Sequence[str]]
    """Paths of the clip's URL in its responses, by its documents; the first that holds one wins."""
    refusals: ClassVar[Mapping[str, Reason]] = {}
    """Its own error codes of a refused submit, where they say more than the HTTP status."""
    failures: ClassVar[Mapping[str, Reason]] = {}
    """Its own error codes of a failed task."""
    balance_paths: ClassVar[Sequence[str]] = ()
    """Where the balance of our account is asked for; the next path if one is not found."""

    @property
    def key_name(self) -> str:
        return f"{self.name.upper()}_API_KEY"

    # --- which requests it can do

    def why_not(self, request: Mapping[str, Any]) -> str | None:
        """The reason why this gateway cannot do the request, None if it can."""
        support = self.models.get(request["model"])
        if support is None:
            return f"does not offer {request['model']}"
        operation = operation_of(request)
        if operation not in support.operations:
            return f"does not offer {operation.replace('_', ' and ')} with {request['model']}"
        if (mode := request.get("mode", "std")) not in support.modes:
            return f"has no mode {mode} with {request['model']}"
        missing = sorted(needed_fields(request) - support.fields)
        return f"has no way to say {', '.join(missing)}" if missing else self.unsupported_values(request)

    def unsupported_values(self, request: Mapping[str, Any]) -> str | None:
        """Difference: the reason why it refuses the values of fields that it has, None if it takes them."""
        return None

    def guesses(self, request: Mapping[str, Any]) -> list[str]:
        """The fields of the request that would be sent under names which no document of the gateway gives."""
        support = self.models.get(request["model"])
        fields = {"model", *needed_fields(request)}
        if any("duration" in shot for shot in request.get("multi_prompt", ())):
            fields.add(SHOT_DURATION)
        return sorted(fields & support.guessed) if support else []

    @property
    def accountability(self) -> tuple[bool, bool, bool]:
        """Its place among gateways of an equal price: the smaller goes first.

        First those whose lost answers settle themselves, then those that call back, then those that tell the cost.
        """
        return not (self.idempotent or self.askable), not self.calls_back, not self.tells_cost

    def billed_s(self, seconds: Decimal) -> Decimal:
        """Difference: the seconds that it bills for a clip of this length."""
        return seconds

    def can_call(self, url: str) -> bool:
        """Difference: whether it calls back at such an address; another one in a submit would be refused."""
        return self.calls_back

    # --- requests

    def submit_request(self, submission: Submission, access: Access) -> Request:
        """The paid call of a submit."""
        headers = dict(access.bearer)
        if self.idempotent:
            headers["Idempotency-Key"] = submission.idempotency_key
        return Request("POST", self.url(self.path(submission.request), access), headers, self.body(submission))

    def path(self, request: Mapping[str, Any]) -> str:
        """Override: the path of the paid call, if it depends on the request."""
        return self.submit_path

    def url(self, path: str, access: Access) -> str:
        """Override: the URL of a call, if the paths are not the same at each of its addresses."""
        return access.url(path)

    def body(self, submission: Submission) -> dict[str, Any]:
        """Difference: the exact body of the paid call."""
        raise AssertionError(f"{self.name} has no body()")

    def query_request(self, task_id: str, access: Access) -> Request:
        """The call that asks for the state of a task."""
        return self.batch_query_request([task_id], access)

    def batch_query_request(self, task_ids: Sequence[str], access: Access) -> Request:
        """The call that asks for the state of several tasks, at most `query_batch`: their ids with commas between."""
        path = self.query_path.format(task_id=",".join(quote(task_id, safe="") for task_id in task_ids))
        return Request("GET", self.url(path, access), access.bearer)

    def part_of(self, task_id: str, response: Response) -> Response:
        """Override if `query_batch` is over 1: the part of a response that is about one task."""
        return response

    @property
    def askable(self) -> bool:
        """Whether it can be queried by our own id of an attempt (the idempotency key), and accepts each id once."""
        return self.key_query_path is not None

    def key_query_request(self, key: str, access: Access) -> Request | None:
        """The query by our own id of an attempt, None if it cannot be asked so."""
        if self.key_query_path is None:
            return None
        return Request("GET", self.url(self.key_query_path.format(key=quote(key, safe="")), access), access.bearer)

    def read_key_query(self, response: Response, key: str) -> Event:
        """Override if `askable`: Accepted, NotFound (only if the gateway clearly says so), or Unclear."""
        return events.Unclear(f"{self.name} has no query by an id of ours")

    def download_request(self, url: str, access: Access) -> Request:
        """The download of a clip. The key is sent only to the gateway's own origin."""
        needs_key = self.keyed_content and access.owns(url)
        return Request("GET", url, access.bearer if needs_key else {})

    def balance_requests(self, access: Access, now: int) -> list[Request]:
        """The calls that ask for the balance, the next if one answers 404; none if the gateway does not tell it."""
        urls = [access.url_beside(self.submit_path, path) for path in self.balance_paths]
        return [Request("GET", url, access.bearer) for url in urls]

    # --- responses

    def read_submission(self, response: Response, request: Request | None = None) -> Event:
        """Accepted, Refused (surely not accepted), or Lost (not known whether it was accepted).

        With `request`, words in the refusal that only repeat our own call are not read as the gateway's reason.
        """
        payload = json_object(response)
        if response.status in REDIRECTS and not names_task(payload):
            return self.read_redirect(response)
        if payload is None:
            return read_unreadable(response)
        status = effective_status(response.status, payload)
        is_success = 200 <= status < 300
        if is_success and (task_id := self.task_id(payload)):
            return events.Accepted(task_id, self.reserved_usd(payload))
        error, sent = read_error_body(payload), (request.body() or b"").decode() if request else ""
        if reason := self.refusal_reason(response.status, status, error, payload, sent):
            return events.Refused(reason, error.message or f"HTTP {status}", retry_after_s=retry_after_s(response))
        return events.Lost("the answer names no task" if is_success else f"HTTP {status} says neither yes nor no")

    def read_redirect(self, response: Response) -> events.Refused:
        """A redirect of a submit is a refusal: this server did not take the call, and we do not repeat it elsewhere."""
        return events.Refused(Reason.MOVED, moved_message(self.name, response), retry_after_s=retry_after_s(response))

    def refusal_reason(
        self, http_status: int, status: int, error: ErrorBody, payload: Mapping[str, Any], sent: str
    ) -> Reason | None:
        """Why the call was surely not accepted, None if that is not sure."""
        if http_status in STATUS_REASONS:
            return self.reason_for_status(http_status, error, sent)
        # Under any other HTTP status the error must be the gateway's own (not a proxy's), and must name no task: a
        # response that names a task may be of an accepted call.
        if names_task(payload) or not (error.documented or status in STATUS_REASONS):
            return None
        if status >= 300:
            return self.reason_for_status(status, error, sent)
        reason = self.reason_for_status(error.status or 200, error, sent)
        return reason or (Reason.DOWN if error.kind == GATE_KIND else None)

    def reason_for_status(self, status: int, error: ErrorBody, sent: str) -> Reason | None:
        """Why a call was refused with this status and error, None if that is no refusal."""
        by_words = self.refusals.get(error.code) or error.reason(sent)
        return by_words if by_words in BY_WORDS.get(status, ()) else STATUS_REASONS.get(status)

    def task_id(self, payload: Mapping[str, Any]) -> str | None:
        """Difference: the id of the task in the response to a submit."""
        return submitted_task_id(payload)

    def read_query(self, response: Response, access: Access) -> Event:
        """Progressed, Succeeded, Failed, or Unclear (no verdict)."""
        payload = json_object(response)
        if payload is None and response.status in REDIRECTS:
            return events.Unclear(moved_message(self.name, response), Reason.MOVED, retry_after_s(response))
        if payload is None:
            return events.Unclear(f"HTTP {response.status}, not JSON", retry_after_s=retry_after_s(response))
        status = effective_status(response.status, payload)
        if 200 <= status < 300 or (200 <= response.status < 300 and self.holds_ended_task(payload)):
            return self.read_task(payload, access)
        return self.read_query_error(status, payload, response)

    def holds_ended_task(self, payload: Mapping[str, Any]) -> bool:
        """Whether an error response holds an ended task: its code may then be the task's error, not the call's."""
        return isinstance(value_at(payload, "data"), Mapping) and self.read_status(payload) in ("completed", "failed")

    def read_query_error(self, status: int, payload: Mapping[str, Any], response: Response) -> events.Unclear:
        """Unclear: an error response to a query says something of the gateway, and nothing of the task."""
        error = read_error_body(payload)
        message = f"HTTP {status}: {error.message}"[:MESSAGE_CHARS]
        missing = status == 404 or error.code == "task_not_exist"
        return events.Unclear(message, STATUS_REASONS.get(status), retry_after_s(response), missing)

    def read_task(self, payload: Mapping[str, Any], access: Access) -> Event:
        """The event in the body of a task, from a query or a callback."""
        status = self.read_status(payload)
        if status == "completed":
            return self.read_success(payload, access)
        if status == "failed":
            # An envelope's own `error` is of the query, and a wrong verdict may be paid for again elsewhere.
            is_of_task = names_task(payload) or self.status_word({"data": payload.get("data")})
            return self.read_failure(payload, access) if is_of_task else events.Unclear(OF_NO_TASK)
        drift = None if status else self.status_word(payload) or "(none)"
        return events.Progressed(percent(self.read_progress(payload)), drift)

    def read_status(self, payload: Mapping[str, Any]) -> str | None:
        """The meaning of its status word: running, completed or failed. None for an unknown word."""
        word = self.status_word(payload)
        return status_meaning(word, self.statuses) if word else None

    def read_success(self, payload: Mapping[str, Any], access: Access) -> Event:
        """Succeeded if the task names a clip, otherwise Unclear."""
        link = self.read_link(payload, access) or self.content_link(payload, access)
        if link is None:
            return events.Unclear(NO_LINK, finished=True)
        # A cost or a length of zero is a field that the gateway left unset.
        cost_usd, made_s = self.cost_usd(payload, access) or None, self.made_s(payload) or None
        return events.Succeeded(link, cost_usd, made_s, self.reported_task_id(payload), took_s=self.took_s(payload))

    def content_link(self, payload: Mapping[str, Any], access: Access) -> Link | None:
        """The clip at the gateway's own address, None if the gateway has none."""
        task_id = self.reported_task_id(payload)
        return Link(access.url(_fill_path(self.content_path, task_id))) if self.content_path and task_id else None

    def read_failure(self, payload: Mapping[str, Any], access: Access) -> events.Failed:
        """Failed, with one of our reasons."""
        error, cost_usd = self.read_failure_body(payload), self.cost_usd(payload, access)
        by_words = error.reason()
        if by_words is Reason.RATE:  # a throttle concerns calls: a task that failed "at capacity" has failed
            by_words = None
        reason = self.failures.get(error.code) or by_words or Reason.PROVIDER
        message = error.message or error.code or "the gateway gives no reason"
        return events.Failed(reason, message, cost_usd, self.reported_task_id(payload))

    def read_callback(self, payload: Any, access: Access) -> CallbackReport:
        """The task and its event in a callback; raises Malformed if it cannot be read."""
        task = self.task_of_callback(unwrapped(payload))
        return CallbackReport(self.reported_task_id(task), self.read_task(task, access))

    def read_hint(self, payload: Any, access: Access) -> CallbackHint:
        """The hint in a callback; raises Malformed if it cannot be read. The event, which costs more, is not read."""
        task = self.task_of_callback(unwrapped(payload))
        is_finished = self.read_thumbnail(task) is not None and self.read_status(task) == "completed"
        link = self.read_link(task, access) if is_finished else None
        return CallbackHint(self.reported_task_id(task), link.thumbnail_url if link else None)

    def task_of_callback(self, payload: Any) -> Mapping[str, Any]:
        """The body of the task in a callback; raises Malformed if it cannot be read."""
        if not isinstance(payload, Mapping) or not self.status_word(payload):
            raise Malformed("no state in it")
        return payload

    # --- differences in where a task's body has its fields

    def status_word(self, payload: Mapping[str, Any]) -> str | None:
        return status_word(payload)

    def read_progress(self, payload: Mapping[str, Any]) -> Any:
        progress = value_at(payload, "data.progress")
        return value_at(payload, "progress") if progress is None else progress

    def read_link(self, payload: Mapping[str, Any], access: Access) -> Link | None:
        """The clip's URL at one of `clips`, or wherever else in the body URLs of clips usually are."""
        video = clip_at(payload, *self.clips)
        return Link(video) if video else None

    def read_thumbnail(self, payload: Mapping[str, Any]) -> str | None:
        """The URL of the clip's thumbnail."""
        return None

    def read_failure_body(self, payload: Mapping[str, Any]) -> ErrorBody:
        return read_failure_body(payload)

    def reported_task_id(self, payload: Mapping[str, Any]) -> str | None:
        return text_at(payload, *ID_PATHS)

    def cost_usd(self, payload: Mapping[str, Any], access: Access) -> Decimal | None:
        """What it says that the task was billed, US dollars; 0 of a failed task is a refund."""
        return None

    def reserved_usd(self, payload: Mapping[str, Any]) -> Decimal | None:
        """What the response to a submit says that is reserved, US dollars: compared with the estimate, never a cost."""
        return None

    def read_balance(self, payload: Mapping[str, Any], access: Access) -> Balance | None:
        """The balance in the response to `balance_requests`, None if it cannot be read."""
        return None

    def made_s(self, payload: Mapping[str, Any]) -> Decimal | None:
        return None

    def took_s(self, payload: Mapping[str, Any]) -> float | None:
        """Seconds from submit to end by the gateway's own clock, waiting in its queue included."""
        return None


def _fill_path(path: str, task_id: str) -> str:
    return path.format(task_id=quote(task_id, safe=""))
