"""The broker's address in Celery's own settings; that they work is tried in tests/infrastructure."""

from __future__ import annotations

from typing import Any

import pytest

from rushes.shared import settings
from rushes.worker import broker

LEAST = {"REDIS_URL": "redis://h", "RUSHES_S3_BUCKET": "clips", "RUSHES_SECRET_KEY": "secret", "RUSHES_API_KEYS": "a:k"}


def options(url: str) -> dict[str, Any]:
    return broker.options(settings.load({**LEAST, "RUSHES_BROKER_URL": url}))


@pytest.mark.parametrize("url", ["rediss://h", "redis://h?ssl=true", "rediss+sentinel://h/main"])
def test_over_tls_kombu_asks_who_is_there_as_redis_py_does(url: str) -> None:
    assert options(url)["broker_use_ssl"] == {"ssl_cert_reqs": "required"}


def test_a_sentinel_that_is_away_is_not_waited_for() -> None:
    held = options("sentinel://h/main")["broker_transport_options"]["sentinel_kwargs"]
    assert held["retry"].get_retries() == 0
    assert held["socket_timeout"] <= 5


def test_the_time_limits_of_the_address_hold_and_ours_where_it_has_none() -> None:
    held = options("redis://h?socket_timeout=9&client_name=us")["broker_transport_options"]
    assert (held["socket_timeout"], held["socket_connect_timeout"], held["client_name"]) == (9, 2, "us")


@pytest.mark.parametrize("url", ["amqp://u:p@h//", "amqp://a;amqp://b", "redis://a;redis://b", "memory://"])
def test_what_kombu_alone_knows_is_left_to_it(url: str) -> None:
    assert options(url)["broker_url"] == url


@pytest.mark.parametrize("url", ["amqp://u:s3cr3t/@h", "redis://a;redis://:s3cr3t/@b", "redis://a;redis://b?s3cr3t=1"])
def test_an_address_that_kombu_does_not_take_is_told_in_one_line_without_its_password(url: str) -> None:
    with pytest.raises(settings.SettingsError) as told:
        broker.check(settings.load({**LEAST, "RUSHES_BROKER_URL": url}))
    assert str(told.value).startswith("settings: RUSHES_BROKER_URL: kombu does not accept it")
    assert "s3cr3t" not in str(told.value)
