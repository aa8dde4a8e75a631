"""Behind reverse proxies: who asks, by which scheme, and under which path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from real_server import serving
from receiver_steps import KEYS, TEXT, Web, parts_over

from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.public_url import RECEIVER_PATHS

PREFIXES = ["/films/rushes", ""]


def web_at(public_url: str = "https://rushes.example", **changes: str | None) -> Web:
    return Web(parts_over(MemoryStore(), RUSHES_PUBLIC_URL=public_url, **changes))


@pytest.fixture
def prefixed() -> Web:
    return web_at("https://rushes.example/films/rushes/")


@pytest.mark.parametrize("passed_on", PREFIXES, ids=["passed on", "stripped"])
def test_under_a_prefix_a_job_is_where_its_location_says(prefixed: Web, passed_on: str) -> None:
    response = prefixed.acme.post(f"{passed_on}/v1/jobs", json=TEXT)

    assert response.status_code == 202
    location = response.headers["Location"]
    assert location == f"/films/rushes/v1/jobs/{response.json['id']}"  # type: ignore[index]
    assert prefixed.acme.get(location).status_code == 200


@pytest.mark.parametrize("passed_on", PREFIXES, ids=["passed on", "stripped"])
def test_under_a_prefix_the_address_that_a_gateway_gets_is_answered(prefixed: Web, passed_on: str) -> None:
    answer = prefixed.nobody.post(f"{passed_on}/callbacks/apimart/job_x/token", json={})

    assert (answer.status_code, answer.json["error"]["code"]) == (404, "not_found")  # type: ignore[index]
    assert prefixed.nobody.post(f"{passed_on}/callbacks/none").json != answer.json


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/films/rushes/healthz", 200),
        ("/healthz", 200),
        ("/films/healthz", 404),
        ("/films/rusheshealthz", 404),
        ("/films/rushes/films/rushes/healthz", 404),
        ("/films/rushes", 302),
    ],
)
def test_only_the_whole_prefix_is_taken_away(prefixed: Web, path: str, status: int) -> None:
    answer = prefixed.nobody.get(path)

    assert answer.status_code == status
    assert answer.headers.get("Location", "/films/rushes/sign-in") == "/films/rushes/sign-in"


def test_a_prefix_is_none_of_the_receivers_own_paths(prefixed: Web) -> None:
    firsts = {rule.rule.split("/")[1] for rule in prefixed.app.url_map.iter_rules()} - {""}

    assert firsts == RECEIVER_PATHS


def test_gunicorn_joins_the_lines_and_believes_no_header_by_itself(tmp_path: Path) -> None:
    lines = {"SCRIPT_NAME": "/evil", "X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}
    with serving(tmp_path / "log", RUSHES_PUBLIC_URL=None) as server:
        cookie = server.call("GET", "/sign-in", **lines).headers["set-cookie"]
        page = server.call("GET", "/", Accept="text/html", **lines)

    assert "Secure" not in cookie
    assert page.headers["location"] == "/sign-in"


def sign_in(web: Web, key: str, **environ: Any) -> int:
    """One try by a browser with no past."""
    client = web.app.test_client()
    token = (
        client.get("/sign-in", environ_overrides=environ)
        .text.partition('name="csrf_token" value="')[2]
        .partition('"')[0]
    )
    form = {"csrf_token": token, "key": key}
    return client.post("/sign-in", data=form, environ_overrides={**environ}).status_code


def through(client: str, peer: str = "10.0.0.1") -> dict[str, str]:
    return {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": f"198.51.100.1, {client}"}


def test_behind_a_trusted_proxy_wrong_keys_count_against_the_client_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rushes.webhook_receiver.console.sign_in.time.time", lambda: 1_800_000_000.0)
    web = web_at(RUSHES_TRUSTED_PROXIES="10.0.0.0/8")

    guesses = [sign_in(web, "wrong", **through("203.0.113.9")) for _ in range(11)]

    assert guesses == [401] * 10 + [429]
    assert sign_in(web, "wrong", **through("203.0.113.10")) == 401
    assert sign_in(web, KEYS["acme"], **through("203.0.113.9")) == 303


def test_from_an_untrusted_peer_no_header_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rushes.webhook_receiver.console.sign_in.time.time", lambda: 1_800_000_000.0)
    web = web_at(RUSHES_TRUSTED_PROXIES="10.0.0.0/8")

    guesses = [sign_in(web, "wrong", **through(f"203.0.113.{n}", peer="192.0.2.1")) for n in range(11)]

    assert guesses[-1] == 429


@pytest.mark.parametrize(("peer", "secure"), [("10.0.0.1", True), ("192.0.2.1", False)])
def test_the_scheme_of_a_trusted_proxy_makes_the_cookie_secure(peer: str, secure: bool) -> None:
    web = web_at("http://rushes.example", RUSHES_TRUSTED_PROXIES="10.0.0.0/8")

    told = {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_PROTO": "https"}
    cookie = web.nobody.get("/sign-in", environ_overrides=told).headers["Set-Cookie"]

    assert ("Secure" in cookie) is secure
