"""The only way in for new jobs: the Jobs API, Celery and the console all call it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import Any

from marshmallow import ValidationError

from rushes.shared.compact_json import compact
from rushes.shared.domain import schedule, trace_context
from rushes.shared.domain.ids import new_id
from rushes.shared.domain.job import Job, Note, moment_ms
from rushes.shared.http import HttpClient, NotSent
from rushes.shared.intake.estimates import Estimate, gateway_estimates
from rushes.shared.intake.schema import MOTION_MODELS, is_valid_utf8, validated
from rushes.shared.ledger.idempotency import Conflict, NotWhole
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.providers.prices import PriceTable
from rushes.shared.settings import Settings

KEY_CHARS = 255
ADDRESSES = ("image_url", "last_image_url", "video_url", "callback_url")


class Unacceptable(Exception):
    """The request is refused: the contract's error code, a message, the HTTP status, and the problems by field."""

    def __init__(self, code: str, message: str, status: int, fields: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.fields = code, message, status, fields

    def envelope(self) -> dict[str, Any]:
        """The contract's error envelope."""
        error = {"code": self.code, "message": self.message}
        return {"error": {**error, "fields": dict(self.fields)} if self.fields else error}


LEDGER_INCOMPLETE = Unacceptable(
    "unavailable", "The ledger is being compared with the journal; nothing was accepted. Try again in a moment.", 503
)
CONFLICT = Unacceptable("idempotency_conflict", "This Idempotency-Key came with another body before.", 409)


@dataclass(frozen=True, slots=True)
class Receipt:
    """An accepted job; `replayed` if it had been accepted before under the same idempotency key."""

    job: Job
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Intake:
    """Accepts requests. Raises Unacceptable or LedgerUnavailable; then nothing was accepted."""

    settings: Settings
    ledger: Ledger
    prices: PriceTable
    http_client: HttpClient
    fresh: Callable[[], bool] = lambda: True
    """Whether the journal is empty. Then nothing was ever paid for, and an empty ledger has lost nothing."""

    def accept(self, body: Any, tenant: str, key: str | None, now: int, traceparent: str | None = None) -> Receipt:
        """Create a job, once per idempotency key. It is due at once, or at its `not_before`.

        It belongs to the caller's trace.
        """
        self.check_key(key)
        try:
            request = self.request(body)
            job = self.job(request, self.able_estimates(request, tenant), tenant, now, trace_context.parse(traceparent))
        except Unacceptable:  # the same request may have been accepted before, when other gateways were enabled
            if first := self.first_job(tenant, key, digest(body), now):
                return Receipt(first, replayed=True)
            raise
        return self.create(job, key, digest(body))

    def create(self, job: Job, key: str | None, body_digest: str) -> Receipt:
        """Create a job, or return the first one of its idempotency key. Raises Unacceptable 409 if the body differs.

        Raises Unacceptable 503 while the ledger may have lost the key's first job and the journal is not read yet.
        """
        try:
            first = self._created(job, key, body_digest)
        except Conflict:
            raise CONFLICT from None
        except NotWhole:
            raise LEDGER_INCOMPLETE from None
        return Receipt(first, replayed=True) if first else Receipt(job)

    def _created(self, job: Job, key: str | None, body_digest: str) -> Job | None:
        try:
            return self.ledger.create(job, key, body_digest, guarded=bool(key) and self.settings.journal)
        except NotWhole as incomplete:
            if str(incomplete) != "unmarked" or not self.mark_if_new(job.created_at):
                raise
            return self.ledger.create(job, key, body_digest)

    def mark_if_new(self, now: int) -> bool:
        """If nothing was ever paid for, mark the ledger as complete; return whether that is so."""
        # Read before the journal: after a failover in between, the mark names the old server and is not believed.
        server = self.ledger.continuity.server()
        if not self.fresh():
            return False
        self.ledger.continuity.set_mark(server, now)
        return True

    def first_job(self, tenant: str, key: str | None, body_digest: str, now: int) -> Job | None:
        """The job that was accepted under this idempotency key. Raises Unacceptable 409 if its body was another."""
        try:
            return self.ledger.find_by_key(tenant, key, body_digest, now) if key else None
        except Conflict:
            raise CONFLICT from None

    def request(self, body: Any) -> dict[str, Any]:
        """The validated request with its defaults. Raises Unacceptable 422."""
        if not isinstance(body, dict):
            raise Unacceptable("invalid_request", "The body is not a JSON object.", 422)
        try:
            request = validated(body)
        except ValidationError as error:
            raise _invalid(error.messages_dict) from None
        for name in ADDRESSES:
            self.check_address(name, request.get(name))
        return request

    def estimates(self, request: Mapping[str, Any], tenant: str, seconds: Decimal | None) -> list[Estimate]:
        """What the request costs this tenant at each enabled gateway, the able ones first, or why it cannot do it."""
        settings = self.settings
        return gateway_estimates(request, settings.gateways, self.prices, seconds, settings.tenants[tenant])

    def able_estimates(self, request: Mapping[str, Any], tenant: str) -> list[Estimate]:
        """The estimates of gateways that can do it, in the order in which they are tried. Raises Unacceptable 422."""
        estimates = self.estimates(request, tenant, length_s(request))
        able = [estimate for estimate in estimates if estimate.able]
        if not able:
            reasons = [f"{estimate.provider}: {estimate.why_not}" for estimate in estimates] or [
                "no gateway is enabled"
            ]
            raise Unacceptable("no_provider", "No enabled gateway can do this.", 422, {"provider": reasons})
        return able

    def job(self, request: dict[str, Any], estimates: list[Estimate], tenant: str, now: int, trace: str | None) -> Job:
        """A new job, not written down yet."""
        job_id = new_id(now)
        return Job(
            id=job_id,
            tenant=tenant,
            request=request,
            route=tuple(estimate.provider for estimate in estimates),
            estimated_usd=estimates[0].estimated_usd,
            created_at=now,
            updated_at=now,
            due_at=schedule.accepted(job_id, now, moment(request, "not_before")),
            trace=trace,
            history=(Note(now, "queued"),),
        )

    def check_key(self, key: Any) -> None:
        """Raise Unacceptable 422 for an idempotency key that cannot be stored."""
        if key is not None and not (isinstance(key, str) and 0 < len(key) <= KEY_CHARS and is_valid_utf8(key)):
            problem = {"Idempotency-Key": [f"Not a text of 1 to {KEY_CHARS} characters."]}
            raise Unacceptable("invalid_request", "The Idempotency-Key does not fit.", 422, problem)

    def check_address(self, name: str, address: str | None) -> None:
        """Raise Unacceptable 422 for an address that we may not reach."""
        if address is None or address.startswith("s3://"):
            return
        try:
            self.http_client.check_url(address)
        except NotSent as refused:
            raise _invalid({name: [f"Not an address we may reach: {refused}."]}) from None


def _invalid(problems: Mapping[str, Any]) -> Unacceptable:
    names = ", ".join(map(str, problems))
    return Unacceptable("invalid_request", f"The request does not fit: {names}.", 422, problems)


def moment(request: Mapping[str, Any], name: str) -> int | None:
    """A moment of the request, in ms since the epoch."""
    return moment_ms(request[name]) if name in request else None


def length_s(request: Mapping[str, Any]) -> Decimal | None:
    """The length of the clip by the request; None for a motion clip, which is as long as its reference."""
    return None if request["model"] in MOTION_MODELS else Decimal(request["duration"])


def digest(body: Any) -> str:
    """A digest that is equal for equal JSON, however it is spelled: 5.0 is 5, and the order of keys does not matter."""
    # Not our own recursion: the standard library's encoder goes as deep as its decoder did.
    canonical = CANONICAL.encode(PLAIN_NUMBERS.decode(compact(body)))
    return sha256(canonical.encode()).hexdigest()[:32]


def _number(text: str) -> float | int:
    number = float(text)
    return int(number) if number.is_integer() else number


# Made once: json.loads and json.dumps with options make a decoder and an encoder for each text.
PLAIN_NUMBERS = json.JSONDecoder(parse_float=_number)
CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
