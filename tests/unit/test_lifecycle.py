from __future__ import annotations

import json

from click.testing import CliRunner

from rushes.shared.cli.main import main


def test_the_rules_for_the_bucket_are_printed_with_its_prefix() -> None:
    environ = {"RUSHES_S3_PREFIX": "clips/", "RUSHES_ERASE_AFTER_DAYS": "29.5"}
    rules = json.loads(CliRunner().invoke(main, ["lifecycle"], env=environ).output)["Rules"]

    assert {rule["Filter"]["Prefix"]: rule["Expiration"] for rule in rules} == {
        "clips/jobs/": {"Days": 31},
        "clips/inputs/": {"Days": 31},
        "clips/journal/": {"Days": 30},
    }
    assert all(rule["AbortIncompleteMultipartUpload"] and rule["NoncurrentVersionExpiration"] for rule in rules)


def test_without_an_erasure_no_clip_expires() -> None:
    rules = json.loads(CliRunner().invoke(main, ["lifecycle"], env={}).output)["Rules"]
    jobs = next(rule for rule in rules if rule["Filter"]["Prefix"] == "jobs/")

    assert jobs["Expiration"] == {"ExpiredObjectDeleteMarker": True}
