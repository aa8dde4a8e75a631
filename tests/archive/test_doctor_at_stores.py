"""The doctor at real and odd stores: what it calls ok works, and what does not work it names with what to do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import self_signed
from patience import PATIENCE_S
from strict_bucket import KEY_ID, SECRET
from strict_store import LIST, UPLOADS, StoreBehavior, StrictStore

from rushes.shared.operations import storage_checks
from rushes.shared.operations.finding import BAD, OK, WARN, Finding
from rushes.shared.operations.storage_checks import check_bucket
from rushes.shared.settings import load
from rushes.shared.storage import s3_clients

NEEDED = {"REDIS_URL": "redis://127.0.0.1:1/0", "RUSHES_SECRET_KEY": "secret", "RUSHES_API_KEYS": "acme:key"}
ODD = {"s3.lifecycle": WARN}  # moto's bucket has no rule
Examine = Callable[..., dict[str, Finding]]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("CONFIG_FILE", "SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(f"AWS_{name}", os.devnull)
    for name, value in {"ACCESS_KEY_ID": KEY_ID, "SECRET_ACCESS_KEY": SECRET, "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    for module in (storage_checks, s3_clients):  # a store of tests may be as slow as the machine is busy
        monkeypatch.setattr(module, "TIMEOUT_S", PATIENCE_S)
    return monkeypatch


@pytest.fixture
def examine(endpoint: str, bucket: str, environment: pytest.MonkeyPatch) -> Iterator[Examine]:
    """examine(region=…): what is found at a store with this behavior."""
    servers: list[StrictStore] = []

    def run(**behavior: Any) -> dict[str, Finding]:
        servers.append(StrictStore(endpoint, bucket, StoreBehavior(**{"region": "us-east-1", **behavior})))
        environment.setenv("AWS_ENDPOINT_URL_S3", servers[-1].url)
        return found(bucket)

    yield run
    for server in servers:
        server.__exit__()


def found(bucket: str, **changes: str) -> dict[str, Finding]:
    findings = check_bucket(load({**NEEDED, "RUSHES_S3_BUCKET": bucket, **changes}))
    return {finding.name: finding for finding in findings}


def odd(findings: dict[str, Finding]) -> dict[str, str]:
    return {name: finding.verdict for name, finding in findings.items() if finding.verdict != OK}


def test_a_good_store_is_good_and_nothing_is_left(examine: Examine, s3: Any, bucket: str) -> None:
    findings = examine(capitalizes_metadata=True)

    assert odd(findings) == ODD
    assert findings["s3.archive"].what == "can archive an object as the workers do"
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


@pytest.mark.parametrize(
    ("behavior", "verdicts", "words"),
    [
        (
            {"ignores_conditions": True},
            {"s3.conditional_put": BAD, "s3.conditional_complete": BAD},
            "it overwrites the object in spite of If-None-Match",
        ),
        (
            {"lacks_conditions": True},
            {"s3.writes": BAD, "s3.problem": BAD},
            "cannot write an object under If-None-Match, only without",
        ),
        ({"drops_metadata": True}, {"s3.metadata": WARN}, "the metadata are not those that were written"),
        ({"denied": {LIST}}, {"s3.lists": BAD, "s3.tells_missing": WARN}, "the credentials may not do this"),
        ({"denied": {UPLOADS}}, {"s3.lists_uploads": WARN}, "the credentials may not do this"),
        ({"lists_uploads": False}, {"s3.lists_uploads": WARN}, "NotImplemented"),
        ({"missing_status": 400}, {"s3.tells_missing": BAD}, "cannot tell a missing object"),
        ({"missing_status": 200}, {"s3.tells_missing": BAD}, "as if an object that does not exist were there"),
        ({"body": b"<html>"}, {"s3.reads": BAD, "s3.links": WARN}, "what is read is not what was written"),
        ({"copy_status": 501}, {"s3.copies": WARN}, "cannot copy it onto itself"),
        ({"ahead_s": 100}, {"s3.clock": WARN}, "s behind S3's"),
        ({"ahead_s": -400}, {"s3.clock": BAD}, "s ahead of S3's"),
    ],
    ids=str,
)
def test_what_a_store_does_otherwise_is_named(
    examine: Examine, behavior: dict[str, Any], verdicts: dict[str, str], words: str
) -> None:
    findings = examine(**behavior)

    named = {name: verdict for name, verdict in odd(findings).items() if name not in ODD}
    assert named == verdicts
    assert any(words in findings[name].what for name in verdicts)
    assert all(findings[name].advice for name in verdicts)


def test_a_clock_for_which_the_store_refuses_all_is_named_as_the_cause(examine: Examine) -> None:
    findings = examine(ahead_s=4000)

    assert odd(findings) == {"s3.writes": BAD, "s3.problem": BAD, "s3.clock": BAD}
    assert findings["s3.problem"].advice == findings["s3.clock"].advice == "synchronize the clock by NTP"


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("AWS_SECRET_ACCESS_KEY", "another", "check AWS_SECRET_ACCESS_KEY"),
        ("AWS_ACCESS_KEY_ID", "", "set AWS_ACCESS_KEY_ID"),
    ],
)
def test_credentials_that_are_wrong_are_named(
    examine: Examine, environment: pytest.MonkeyPatch, name: str, value: str, advice: str
) -> None:
    environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
    if value:
        environment.setenv(name, value)
    else:
        environment.delenv(name)
        environment.delenv("AWS_SECRET_ACCESS_KEY")

    assert advice in examine()["s3.problem"].advice


def test_tls_troubles_are_told_by_their_cause(
    endpoint: str, bucket: str, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority, context = self_signed("localhost", tmp_path)
    behavior = StoreBehavior(region="us-east-1")
    with StrictStore(endpoint, bucket, behavior, context) as secure, StrictStore(endpoint, bucket, behavior) as plain:

        def at(url: str, **changes: str) -> dict[str, Finding]:
            environment.setenv("AWS_ENDPOINT_URL_S3", url)
            return found(bucket, **changes)

        name = f"https://localhost:{secure.port}"
        assert odd(at(name, RUSHES_CA_FILE=authority)) == ODD
        problems = {
            "an authority that is not trusted": at(name),
            "not for the name 127.0.0.1": at(f"https://127.0.0.1:{secure.port}", RUSHES_CA_FILE=authority),
            "is called without": at(f"http://localhost:{secure.port}"),
            "does not speak TLS": at(f"https://localhost:{plain.port}"),
            "nothing listens": at("http://localhost:9"),
        }

    for words, findings in problems.items():
        assert list(findings) == ["s3.problem"]
        assert words in findings["s3.problem"].what
        assert findings["s3.problem"].advice
