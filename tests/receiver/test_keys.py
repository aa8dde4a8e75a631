"""A key may be held as its hash, which opens nothing; and a key may ask so often a minute."""

from __future__ import annotations

from hashlib import sha256

import pytest
from receiver_steps import TEXT, Web, callback_path, environment, parts_over, refused
from test_doors import KEYED

from rushes.shared import settings
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.webhook_receiver.rate_limits import RateLimits


def hashed(key: str) -> str:
    return "sha256$" + sha256(key.encode()).hexdigest()


def status(web: Web, key: str) -> int:
    return web.nobody.get("/v1/jobs", headers={"Authorization": f"Bearer {key}"}).status_code


@pytest.fixture(scope="module")
def held() -> Web:
    keys = f"acme:{hashed('new-key')},acme:old-key,other:{hashed('clé')}"
    return Web(parts_over(MemoryStore(), RUSHES_API_KEYS=keys))


def test_a_hashed_key_lets_in_beside_a_plain_one(held: Web) -> None:
    assert [status(held, key) for key in ("new-key", "old-key")] == [200, 200]


@pytest.mark.parametrize(
    "key", [hashed("new-key"), hashed("old-key"), hashed("new-key")[7:], "new-key ", "NEW-KEY", "sha256$"]
)
def test_a_hash_is_no_key(held: Web, key: str) -> None:
    assert status(held, key.replace(" ", "x")) == 401


def test_the_hashed_keys_name_is_the_tenant(held: Web) -> None:
    job = held.nobody.post(
        "/v1/jobs", json={"model": "kling-v3", "prompt": "a kite"}, headers={"Authorization": "Bearer new-key"}
    )

    assert job.json is not None
    assert job.json["tenant"] == "acme"


@pytest.mark.parametrize(
    "key", ["sha256", "sha256$", "sha256$abc", hashed("k").upper(), hashed("k")[:-1], hashed("k") + "0", "sha256:abc"]
)
def test_what_only_begins_like_a_hash_stops_the_process(key: str) -> None:
    with pytest.raises(settings.SettingsError, match="RUSHES_API_KEYS: give a hashed key as"):
        settings.load(environment(RUSHES_API_KEYS=f"acme:{key}"))


# --- how often


SECOND_NS = 1_000_000_000


def test_a_minutes_requests_may_come_at_once_and_then_evenly() -> None:
    rates, now = RateLimits(60), 5 * SECOND_NS

    assert [rates.wait_s("acme", now) for _ in range(61)] == [0] * 60 + [1]
    assert [rates.wait_s("acme", now + SECOND_NS) for _ in range(2)] == [0, 1]
    assert [rates.wait_s("acme", now + 61 * SECOND_NS) for _ in range(61)] == [0] * 60 + [1]


def test_a_refused_request_does_not_put_the_next_one_off() -> None:
    rates = RateLimits(1)

    assert rates.wait_s("acme", 0) == 0
    assert [rates.wait_s("acme", n * SECOND_NS) for n in (0, 30, 59, 60)] == [60, 30, 1, 0]


def test_each_tenant_has_its_own_rate() -> None:
    rates = RateLimits(1)

    assert [rates.wait_s(tenant, 0) for tenant in ("acme", "other", "acme")] == [0, 0, 60]


@pytest.fixture
def slow() -> Web:
    return Web(parts_over(MemoryStore(), RUSHES_REQUESTS_PER_MINUTE="3"))


def test_who_asks_too_often_is_told_when_to_come_back(slow: Web) -> None:
    assert [slow.acme.get("/v1/jobs").status_code for _ in range(3)] == [200] * 3

    answer = slow.acme.post("/v1/jobs", json=TEXT)

    refused(answer, 429, "rate_limited")
    assert 0 < int(answer.headers["Retry-After"]) <= 20
    assert slow.other.get("/v1/jobs").status_code == 200
    assert slow.admin.get("/v1/jobs").json == {"data": [], "next_cursor": None}


def test_every_call_with_a_key_counts(slow: Web) -> None:
    for path in ("/v1/gateways", "/v1/jobs/job_1", "/v1/usage"):
        assert slow.acme.get(path).status_code != 429

    for method, path in KEYED:
        if "resume" not in path:
            refused(slow.acme.open(path.format(id="job_1"), method=method), 429, "rate_limited")


def test_callbacks_and_strangers_are_not_counted(slow: Web) -> None:
    job = slow.running("evolink")

    for _ in range(5):
        assert slow.nobody.post(callback_path(job), json={"status": "processing"}).status_code == 200
        assert status(slow, "no-key") == 401
        assert slow.nobody.get("/healthz").status_code == 200
    assert slow.acme.get("/v1/jobs").status_code == 200


@pytest.mark.parametrize("rate", ["0", "-1", "many", "1.5"])
def test_a_rate_that_is_none_stops_the_process(rate: str) -> None:
    with pytest.raises(settings.SettingsError, match="RUSHES_REQUESTS_PER_MINUTE"):
        settings.load(environment(RUSHES_REQUESTS_PER_MINUTE=rate))
