"""Kling signs its callbacks where it was given a secret: then nothing else is let in at its address."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import pytest
from receiver_steps import Web, callback_path, parts_over
from standardwebhooks import Webhook
from werkzeug.test import TestResponse

from rushes.shared.domain.job import State
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.settings import SettingsError
from rushes.webhook_receiver import callbacks

# PROVIDERS.md 6.6, the official test vector.
SECRET = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="
VECTOR = (
    b'{"id":"1234567890","status":"succeeded","message":"","create_time":1781080778802,"update_time":1781080794151}'
)
VECTOR_HEADERS = {
    "webhook-id": "9876543210",
    "webhook-timestamp": "1781080794",
    "webhook-signature": "v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4=",
}
BODY = json.dumps({"id": "task-1", "status": "processing", "message": ""}).encode()
ANOTHER = f"whsec_{b64encode(b'another secret').decode()}"


@pytest.fixture
def web() -> Web:
    return Web(parts_over(MemoryStore(), KLING_WEBHOOK_SECRET=SECRET))


def signature(body: bytes = BODY, secret: str = SECRET, at: float | None = None) -> dict[str, str]:
    moment = datetime.fromtimestamp(int(time.time() if at is None else at), UTC)
    return {
        "webhook-id": "msg-1",
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg-1", moment, body.decode()),
    }


def call(web: Web, headers: dict[str, str], body: bytes = BODY, provider: str = "kling") -> TestResponse:
    job = web.running(provider)
    return web.nobody.post(callback_path(job), data=body, headers=headers, content_type="application/json")


def test_a_signed_callback_is_taken(web: Web) -> None:
    job = web.running("kling")

    answer = web.nobody.post(callback_path(job), data=BODY, headers=signature(), content_type="application/json")

    assert answer.status_code == 200
    assert web.now(job.id).nudge is not None


def test_the_official_test_vector_is_taken_in_its_five_minutes(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    class Then(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.fromtimestamp(1781080794 + 299, tz)

    monkeypatch.setattr("standardwebhooks.webhooks.datetime", Then)

    assert call(web, VECTOR_HEADERS, VECTOR).status_code == 200


WRONG: dict[str, dict[str, str]] = {
    "none": {},
    "of another secret": signature(secret=ANOTHER),
    "of another body": signature(b"{}"),
    "too old": signature(at=time.time() - 86_400),
    "too new": signature(at=time.time() + 86_400),
    "without an id": {name: held for name, held in signature().items() if name != "webhook-id"},
    "without a time": {name: held for name, held in signature().items() if name != "webhook-timestamp"},
    "with another id": {**signature(), "webhook-id": "msg-2"},
    "no time": {**signature(), "webhook-timestamp": "NaN"},
    "no base64": {**signature(), "webhook-signature": "v1,ä"},
    "no comma": {**signature(), "webhook-signature": "v1"},
    "of another version": {**signature(), "webhook-signature": signature()["webhook-signature"].replace("v1", "v2")},
    "empty": {**signature(), "webhook-signature": "v1,"},
}


@pytest.mark.parametrize("headers", WRONG.values(), ids=WRONG)
def test_a_wrong_or_missing_signature_is_answered_as_an_address_that_is_nobodys(
    web: Web, headers: dict[str, str]
) -> None:
    job = web.running("kling")
    answer = web.nobody.post(callback_path(job), data=BODY, headers=headers, content_type="application/json")
    nobody = web.nobody.post(f"{callback_path(job)}x", data=BODY, headers=signature(), content_type="application/json")

    assert (answer.status_code, answer.json) == (404, nobody.json)
    assert web.now(job.id).nudge is None


def test_a_body_that_is_no_text_is_not_signed(web: Web) -> None:
    assert call(web, signature(), b"\xff\xfe").status_code == 404


def test_one_of_two_signatures_is_enough_while_a_secret_is_rotated(web: Web) -> None:
    both = f"{signature(secret=ANOTHER)['webhook-signature']} {signature()['webhook-signature']}"

    assert call(web, {**signature(), "webhook-signature": both}).status_code == 200


def test_a_right_signature_does_not_make_up_for_a_wrong_token(web: Web) -> None:
    job = web.running("kling")

    answer = web.nobody.post(f"/callbacks/kling/{job.id}/1-{'A' * 32}", data=BODY, headers=signature())

    assert answer.status_code == 404


@pytest.mark.parametrize("provider", ["evolink", "apimart"])
def test_others_sign_nothing_and_are_let_in_by_their_token(provider: str) -> None:
    web = Web(parts_over(MemoryStore(), KLING_WEBHOOK_SECRET=SECRET, EVOLINK_WEBHOOK_SECRET=SECRET))
    body = json.dumps(
        {"id": "task-1", "status": "processing", "data": {"id": "task-1", "status": "processing"}}
    ).encode()

    assert call(web, {}, body, provider).status_code == 200


def test_without_a_secret_an_unsigned_callback_is_a_hint_as_others_are() -> None:
    web = Web(parts_over(MemoryStore()))
    job = web.running("kling")

    answer = web.nobody.post(callback_path(job), data=BODY, content_type="application/json")

    assert answer.status_code == 200
    assert (web.now(job.id).state, web.now(job.id).nudge is not None) == (State.RUNNING, True)


def test_a_signature_is_looked_at_before_the_body_is_read(web: Web) -> None:
    assert call(web, {}, b"not JSON").status_code == 404


@pytest.mark.parametrize("secret", ["whsec_", "whsec_not base64", "whsec_abc"])
def test_a_secret_that_holds_no_key_stops_every_process_and_is_not_told(secret: str) -> None:
    with pytest.raises(SettingsError, match="KLING_WEBHOOK_SECRET") as refused:
        parts_over(MemoryStore(), KLING_WEBHOOK_SECRET=secret)

    assert "base64, as" in str(refused.value)
    assert secret.removeprefix("whsec_") not in str(refused.value) or secret == "whsec_"


def test_the_secret_is_not_shown(web: Web) -> None:
    assert SECRET not in repr(web.parts.settings)
    assert callbacks.is_signed("apimart", BODY, web.parts)
