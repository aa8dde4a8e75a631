"""What the receiver is set up with, what it is asked, and how its answers are looked at."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from factories import NOW, job_in
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from rushes.shared import credentials, settings
from rushes.shared.domain.job import Job, State
from rushes.shared.http import HttpClient
from rushes.shared.intake.intake import Intake
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.providers import PROVIDERS
from rushes.shared.services import Services, load_prices
from rushes.shared.storage.archive import Archive
from rushes.shared.storage.journal import Journal
from rushes.shared.storage.presigned_links import PresignedLinks
from rushes.shared.storage.s3_clients import s3_client
from rushes.webhook_receiver.app import create_app

SECRET = "secret-of-tokens"
KEYS = {"acme": "key-of-acme", "other": "key-of-other", "admin": "key-of-admin"}
GATEWAYS = tuple(PROVIDERS)
BUCKET = "clips"
AWS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}

PICTURE, LAST, CLIP = "https://example.com/ref.png", "https://example.com/last.png", "https://example.com/ref-8s.mp4"
TEXT: dict[str, Any] = {"model": "kling-v3", "prompt": "a red kite over the sea"}
TEXT_26: dict[str, Any] = {"model": "kling-v2-6", "prompt": "a red kite over the sea"}
IMAGE: dict[str, Any] = {"model": "kling-v3", "image_url": PICTURE}
MOTION: dict[str, Any] = {
    "model": "kling-v3-motion-control",
    "image_url": PICTURE,
    "video_url": CLIP,
    "character_orientation": "image",
}
MOTION_26: dict[str, Any] = {**MOTION, "model": "kling-v2-6-motion-control"}


def without(body: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in names}


# --- the app and its parts


def environment(**changes: str | None) -> dict[str, str]:
    """A whole environment with all six gateways; None takes a variable away."""
    given = {
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "RUSHES_S3_BUCKET": BUCKET,
        "RUSHES_PUBLIC_URL": "https://rushes.example",
        "RUSHES_SECRET_KEY": SECRET,
        "RUSHES_JOURNAL": "false",  # there is no scheduler here to say that the ledger is whole
        "RUSHES_API_KEYS": ",".join(f"{tenant}:{key}" for tenant, key in KEYS.items()),
        **{f"{name.upper()}_API_KEY": f"key-of-{name}" for name in GATEWAYS},
        "NEWAPI_BASE_URL": "https://newapi.example",
        **changes,
    }
    return {name: value for name, value in given.items() if value is not None}


class Clock:
    """Every look is a millisecond later, so that no two jobs are born at once."""

    def __init__(self) -> None:
        self.at(NOW)

    def at(self, moment: int) -> None:
        self._ticks: Iterator[int] = itertools.count(moment)

    def stand(self, moment: int) -> None:
        """Every look from now on is this moment."""
        self._ticks = itertools.repeat(moment)

    def __call__(self) -> int:
        return next(self._ticks)


@cache
def http_client(allow: tuple[Any, ...]) -> HttpClient:
    return HttpClient(allow)


@cache
def s3() -> Any:
    return s3_client()


def parts_over(store: Any, client: Any = None, **changes: str | None) -> Services:
    """All parts, the ledger over this store; `changes` are variables of the environment."""
    held = settings.load(environment(**changes))
    ledger, prices, out = Ledger(store, held.policy), load_prices(held), http_client(held.egress_allow)
    client = client or s3()
    archive, links = Archive(client, held.bucket, held.prefix), PresignedLinks(client)
    parts = (held, ledger, out, archive, prices, Intake(held, ledger, prices, out), links.fetchable_url, Clock())
    return Services(*parts, Journal(archive))


class Web:
    """The receiver's app, and clients of it that hold a tenant's key."""

    def __init__(self, parts: Services) -> None:
        self.parts = parts
        self.app: Flask = create_app(parts)
        self.acme, self.other, self.admin = self.as_("acme"), self.as_("other"), self.as_("admin")
        self.nobody = self.app.test_client()

    def as_(self, tenant: str) -> FlaskClient:
        client = self.app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {KEYS[tenant]}"
        return client

    def submitted(self, body: dict[str, Any] | None = None, tenant: str = "acme", **headers: str) -> dict[str, Any]:
        """The document of a job that was taken just now."""
        answer = self.as_(tenant).post("/v1/jobs", json=body or TEXT, headers=headers)
        assert answer.status_code == 202, answer.text
        return dict(answer.json or {})

    def standing(self, state: State, plan: dict[str, Any] | None = None, **changes: Any) -> Job:
        """A job that stands there in the ledger, as it usually gets there."""
        made = job_in(state, plan, created_at=self.parts.now(), **changes)
        self.parts.ledger.create(made)
        return self.now(made.id)

    def running(self, provider: str, number: int = 1) -> Job:
        """A job that a gateway has."""
        plan = {"provider": provider, "number": number, "callback": True, "task_id": "task-1"}
        return self.standing(State.RUNNING, plan, route=(provider,))

    def now(self, job_id: str) -> Job:
        found = self.parts.ledger.get(job_id)
        assert found is not None
        return found


def callback_path(job: Job, key: str = SECRET, number: int | None = None) -> str:
    """Where the gateway of the job's newest attempt calls."""
    provider = job.current.provider
    token = credentials.make_token([key], provider, job.id, job.current.number if number is None else number)
    return f"/callbacks/{provider}/{job.id}/{token}"


def secret_in(path: str) -> str:
    """The secret part of a callback's address."""
    return path.rsplit("/", 1)[1].partition("-")[2]


# --- what is said and heard


def refused(answer: TestResponse, status: int, code: str | None = None) -> dict[str, Any]:
    """The error of an answer that must be the contract's envelope."""
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "application/json"
    return error_of(answer.get_data(), code)


def error_of(body: bytes, code: str | None = None) -> dict[str, Any]:
    told = json.loads(body)
    assert set(told) == {"error"}
    error: dict[str, Any] = told["error"]
    assert {"code", "message"} <= set(error) <= {"code", "message", "fields"}
    assert error["code"]
    assert isinstance(error["message"], str)
    assert error["message"]
    assert code in (None, error["code"])
    return error


def fields_of(answer: TestResponse) -> set[str]:
    """The fields that a 422 names."""
    return set(refused(answer, 422)["fields"])


class Counting:
    """A store that counts what is asked of it."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        call: Callable[..., Any] = getattr(self.store, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            self.calls.append(name)
            return call(*arguments, **named)

        return counted


class Away:
    """A store that is out of reach."""

    def __getattr__(self, name: str) -> Any:
        from rushes.shared.ledger.store import LedgerUnavailable

        def lost(*_: Any, **__: Any) -> Any:
            raise LedgerUnavailable("ConnectionError")

        return lost
