"""The one door for new jobs: HTTP, Celery and the shell all come in here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import Any

from marshmallow import ValidationError

from rushes.shared.domain import schedule, trace_context
from rushes.shared.domain.ids import new_id
from rushes.shared.domain.job import Job, Note
from rushes.shared.http import HttpClient, NotSent
from rushes.shared.intake.estimates import Quote, quotes
from rushes.shared.intake.schema import MOTION_MODELS, sayable, validated
from rushes.shared.ledger.ledger import Conflict, Ledger, NotWhole
from rushes.shared.providers.prices import PriceTable
from rushes.shared.settings import Settings

KEY_CHARS = 255
ADDRESSES = ("image_url", "last_image_url", "video_url", "callback_url")


class Unacceptable(Exception):
    """The request cannot be taken: the contract's error code, a sentence, and what is wrong with which field."""

    def __init__(self, code: str, message: str, status: int, fields: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.fields = code, message, status, fields

    def envelope(self) -> dict[str, Any]:
        """The contract's error envelope."""
        told = {"code": self.code, "message": self.message}
        return {"error": {**told, "fields": dict(self.fields)} if self.fields else told}


UNWHOLE = Unacceptable(
    "unavailable", "The ledger is being compared with the journal; nothing was accepted. Try again in a moment.", 503
)
CONFLICT = Unacceptable("idempotency_conflict", "This Idempotency-Key came with another body before.", 409)


@dataclass(frozen=True, slots=True)
class Receipt:
    """The job as it was taken; `replayed` where it had been taken before under the same key."""

    job: Job
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Intake:
    """Takes requests; raises Unacceptable, or LedgerUnavailable with nothing taken."""

    settings: Settings
    ledger: Ledger
    prices: PriceTable
    http_client: HttpClient
    fresh: Callable[[], bool] = lambda: True
    """Whether nothing was ever paid for: then an empty ledger has lost nothing."""

    def accept(self, body: Any, tenant: str, key: str | None, now: int, traceparent: str | None = None) -> Receipt:
        """Write a job down, once per idempotency key; it is due at once, and belongs to the caller's trace."""
        self.check_key(key)
        try:
            request = self.request(body)
            job = self._job(request, self.able(request), tenant, now, trace_context.parse(traceparent))
        except Unacceptable:  # today: the same request may have been taken when other gateways were enabled
            if first := self.first(tenant, key, digest(body)):
                return Receipt(first, replayed=True)
            raise
        return self.create(job, key, digest(body))

    def create(self, job: Job, key: str | None, body_digest: str) -> Receipt:
        """Write a job down, or give the first one of its idempotency key; raises Unacceptable 409.

        Or 503, while it is not known whether the key came before: the ledger lost its memory, and the journal is read.
        """
        try:
            first = self._created(job, key, body_digest)
        except Conflict:
            raise CONFLICT from None
        except NotWhole:
            raise UNWHOLE from None
        return Receipt(first, replayed=True) if first else Receipt(job)

    def _created(self, job: Job, key: str | None, body_digest: str) -> Job | None:
        try:
            return self.ledger.create(job, key, body_digest, guarded=bool(key) and self.settings.journal)
        except NotWhole as unknown:
            if str(unknown) != "unmarked" or not self._began_here(job.created_at):
                raise
            return self.ledger.create(job, key, body_digest)

    def _began_here(self, now: int) -> bool:
        """Whether nothing was ever paid for; then this ledger is whole, and nobody has to ask again."""
        server = self.ledger.continuity.server()  # before the look: on another one the mark says nothing
        if not self.fresh():
            return False
        self.ledger.continuity.set_mark(server, now)
        return True

    def first(self, tenant: str, key: str | None, body_digest: str) -> Job | None:
        """The job that was taken under this idempotency key; raises Unacceptable 409 where the body was another."""
        try:
            return self.ledger.find_by_key(tenant, key, body_digest) if key else None
        except Conflict:
            raise CONFLICT from None

    def request(self, body: Any) -> dict[str, Any]:
        """The request as it would be accepted."""
        if not isinstance(body, dict):
            raise Unacceptable("invalid_request", "The body is not a JSON object.", 422)
        try:
            request = validated(body)
        except ValidationError as error:
            raise _invalid(error.messages_dict) from None
        for name in ADDRESSES:
            self._check_address(name, request.get(name))
        return request

    def able(self, request: Mapping[str, Any]) -> list[Quote]:
        """The gateways that can do it, in the order in which they will be tried."""
        given = quotes(request, self.settings.gateways, self.prices, length_s(request))
        able = [quote for quote in given if quote.able]
        if not able:
            reasons = [f"{quote.provider}: {quote.why_not}" for quote in given] or ["no gateway is enabled"]
            raise Unacceptable("no_provider", "No enabled gateway can do this.", 422, {"provider": reasons})
        return able

    def _job(self, request: dict[str, Any], able: list[Quote], tenant: str, now: int, trace: str | None) -> Job:
        job_id = new_id(now)
        return Job(
            id=job_id,
            tenant=tenant,
            request=request,
            route=tuple(quote.provider for quote in able),
            estimated_usd=able[0].estimated_usd,
            created_at=now,
            updated_at=now,
            due_at=schedule.accepted(job_id, now),
            trace=trace,
            history=(Note(now, "queued"),),
        )

    def check_key(self, key: Any) -> None:
        """Raises Unacceptable 422 for an idempotency key that nobody can keep."""
        if key is not None and not (isinstance(key, str) and 0 < len(key) <= KEY_CHARS and sayable(key)):
            problem = {"Idempotency-Key": [f"Not a text of 1 to {KEY_CHARS} characters."]}
            raise Unacceptable("invalid_request", "The Idempotency-Key does not fit.", 422, problem)

    def _check_address(self, name: str, address: str | None) -> None:
        if address is None or address.startswith("s3://"):
            return
        try:
            self.http_client.check_url(address)
        except NotSent as refused:
            raise _invalid({name: [f"Not an address we may reach: {refused}."]}) from None


def _invalid(problems: Mapping[str, Any]) -> Unacceptable:
    names = ", ".join(map(str, problems))
    return Unacceptable("invalid_request", f"The request does not fit: {names}.", 422, problems)


def length_s(request: Mapping[str, Any]) -> Decimal | None:
    """How long the clip will be, where the request says so; a motion clip is as long as its reference."""
    return None if request["model"] in MOTION_MODELS else Decimal(request["duration"])


def digest(body: Any) -> str:
    """The same for the same JSON, however it was written down; 5.0 is the number 5."""
    # No walk of ours: the standard library's encoder goes as deep as its decoder did.
    plain = json.loads(json.dumps(body), parse_float=_number)
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return sha256(canonical.encode()).hexdigest()[:32]


def _number(text: str) -> float | int:
    number = float(text)
    return int(number) if number.is_integer() else number
