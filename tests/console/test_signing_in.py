"""Who gets into the console, for how long, and what nobody can make them do."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
import structlog
from console_steps import Visitor, visitor
from receiver_steps import KEYS, SECRET, Web, parts_over

from rushes.shared.domain.job import State
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.webhook_receiver.console import session
from rushes.webhook_receiver.console.session import LIFE_S, WRONG_KEYS_A_MINUTE

PAGES = ["/", "/jobs/job_x", "/jobs/job_x/calls"]
ACTIONS = ["cancel", "retry", "resolve", "notify"]


def reset(web: Web, **changes: Any) -> None:
    """The settings of the app changed, as they are after a restart with another environment."""
    held = web.app.extensions["rushes"]
    web.app.extensions["rushes"] = replace(held, settings=replace(held.settings, **changes))
    session.set_up(web.app, web.app.extensions["rushes"].settings.secret_keys)


@pytest.mark.parametrize("path", PAGES)
def test_who_is_not_signed_in_is_sent_to_sign_in_and_back(web: Web, path: str) -> None:
    stranger = Visitor(web.app)

    away = stranger.get(path)
    back = stranger.sign_in(KEYS["acme"], path)

    assert away.status_code == 302
    assert away.headers["Location"].startswith("/sign-in")
    assert back.headers["Location"] == path


@pytest.mark.parametrize("key", ["", "nobody", "key-of-acm", "acme:key-of-acme", "ключ"])
def test_a_wrong_key_lets_nobody_in(web: Web, key: str) -> None:
    stranger = Visitor(web.app)

    answer = stranger.sign_in(key)

    assert answer.status_code == 401
    assert "This is no key of this service" in answer.text
    assert not stranger.is_in()


@pytest.mark.parametrize("onward", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:1", ""])
def test_signing_in_leads_to_no_other_site(web: Web, onward: str) -> None:
    assert Visitor(web.app).sign_in(KEYS["acme"], onward).headers["Location"] == "/"


def test_who_tries_many_keys_has_to_wait_but_never_with_a_right_one(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rushes.webhook_receiver.console.sign_in.time.time", lambda: 1_800_000_000.0)
    guesser = Visitor(web.app)
    with structlog.testing.capture_logs() as lines:
        tried = [guesser.sign_in(f"guess-{number}").status_code for number in range(WRONG_KEYS_A_MINUTE + 2)]

    right = guesser.sign_in(KEYS["acme"]).status_code
    monkeypatch.setattr("rushes.webhook_receiver.console.sign_in.time.time", lambda: 1_800_000_060.0)

    assert tried == [401] * WRONG_KEYS_A_MINUTE + [429] * 2
    assert right == 303
    assert Visitor(web.app).sign_in("guess").status_code == 401
    assert lines == [{"event": "many wrong keys at the console", "client": "127.0.0.1", "log_level": "warning"}]


def test_a_session_dies_with_its_key(web: Web) -> None:
    person = visitor(web)
    others = (("acme", "another-key-of-acme"), ("admin", KEYS["admin"]))

    before = person.is_in()
    reset(web, api_keys=others)

    assert before
    assert not person.is_in()


def test_a_session_lives_on_where_its_key_is_only_held_as_a_hash_or_a_second_one_is_added(web: Web) -> None:
    person = visitor(web)
    hashed = "sha256$" + sha256(KEYS["acme"].encode()).hexdigest()

    reset(web, api_keys=(("acme", "the-new-key"), ("acme", hashed)))

    assert person.is_in()


def test_a_session_lives_through_the_rotation_of_the_secret_and_ends_with_the_old_one(web: Web) -> None:
    person = visitor(web)

    reset(web, secret_keys=("new-secret", SECRET))
    rotating = person.is_in()
    reset(web, secret_keys=("new-secret",))

    assert rotating
    assert not person.is_in()


def test_a_session_ends_after_twelve_hours(web: Web) -> None:
    person = visitor(web)

    with person.client.session_transaction() as held:
        held["at"] -= LIFE_S + 1

    assert not person.is_in()


def test_signing_out_ends_the_session(web: Web) -> None:
    person = visitor(web)

    assert person.send("/sign-out", person.token("/")).status_code == 303
    assert not person.is_in()


@pytest.mark.parametrize(("public_url", "secure"), [("https://rushes.example", True), (None, False)])
def test_the_cookie_is_for_this_site_alone_and_leaves_over_tls_where_there_is_any(
    public_url: str | None, secure: bool
) -> None:
    person = Visitor(Web(parts_over(MemoryStore(), RUSHES_PUBLIC_URL=public_url)).app)
    person.client.environ_base["wsgi.url_scheme"] = "http"

    cookie = person.get("/sign-in").headers["Set-Cookie"]

    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert ("Secure" in cookie) is secure


def test_the_cookie_holds_no_key(web: Web) -> None:
    person = visitor(web)

    with person.client.session_transaction() as held:
        told = str(dict(held))

    assert KEYS["acme"] not in told
    assert sha256(KEYS["acme"].encode()).hexdigest() not in told


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("token", ["", "made-up", "another's"])
def test_a_form_without_the_visitors_own_token_changes_nothing(web: Web, action: str, token: str) -> None:
    job = web.standing(State.UNCONFIRMED)
    person, anothers = visitor(web), visitor(web).token("/")
    person.page("/")  # it has a token of its own

    sent = anothers if token == "another's" else token
    answer = person.send(f"/jobs/{job.id}/{action}", sent, action="fail", looked_up="yes")

    assert answer.status_code == 403
    assert "too old to be sent" in answer.text
    assert web.now(job.id) == job


def test_the_token_may_come_as_a_header(web: Web) -> None:
    job, person = web.standing(State.QUEUED), visitor(web)

    answer = person.client.post(f"/jobs/{job.id}/cancel", headers={"X-CSRF-Token": person.token("/")})

    assert answer.status_code == 303
    assert web.now(job.id).state is State.CANCELED


def test_a_script_that_is_signed_out_hears_so_in_the_envelope(web: Web) -> None:
    answer = Visitor(web.app).get("/", headers={"Accept": "application/json"})

    assert answer.status_code == 401
    assert answer.json
    assert "Sign in again" in answer.json["error"]["message"]


def test_a_key_of_the_api_in_a_header_opens_no_page(web: Web) -> None:
    assert web.acme.get("/").status_code == 302


def test_a_session_opens_no_door_of_the_api(web: Web) -> None:
    assert visitor(web).get("/v1/jobs").status_code == 401
