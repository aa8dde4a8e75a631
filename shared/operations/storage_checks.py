"""The doctor's checks of the bucket: what archiving does there is done once, on objects of this check."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.request import getproxies

from rushes.shared.domain.http_messages import Request
from rushes.shared.http import AnswerLost, HttpClient, NotSent
from rushes.shared.ledger.shared_clock import wall_clock
from rushes.shared.operations.connection_diagnosis import Cause, Diagnosis, diagnose, endpoints
from rushes.shared.operations.finding import BAD, OK, WARN, Finding
from rushes.shared.services import archive_over
from rushes.shared.settings import Settings, SettingsError
from rushes.shared.storage.archive import Archive, ArchiveUnavailable
from rushes.shared.storage.bucket import Bucket
from rushes.shared.storage.bucket_probe import WRITTEN, ProbeResult, probe_bucket
from rushes.shared.storage.curl_put import ANY_ADDRESS
from rushes.shared.storage.errors import Denied, NotOffered
from rushes.shared.storage.presigned_links import PresignedLinks
from rushes.shared.storage.s3_clients import BucketInfo, BucketRegions, S3ClientFactory, read_bucket_info

# S3 refuses a request whose clock is 15 minutes off; presigned links are dated too.
SKEW_WARN_S, SKEW_BAD_S = 30, 300
# A person waits for each call.
TIMEOUT_S = 5.0

POLICY = "grant the rights in deploy/iam-policy.json"
OVERWRITES = "a late archive could overwrite an earlier one: use a store that supports If-None-Match"
IGNORES = "it overwrites the object in spite of If-None-Match"
NTP = "synchronize the clock by NTP"
TLS_ADVICE: Mapping[Cause, str] = {
    Cause.AUTHORITY: "trust its authority: AWS_CA_BUNDLE or RUSHES_CA_FILE",
    Cause.NO_TLS: "write http:// in AWS_ENDPOINT_URL_S3, or use the port with TLS",
    Cause.NEEDS_TLS: "write https:// in AWS_ENDPOINT_URL_S3",
    **dict.fromkeys((Cause.NAME, Cause.REFUSED, Cause.SILENT), "check AWS_ENDPOINT_URL_S3, AWS_REGION and the network"),
}
# What to do about a refusal, by a part of its text.
ADVICE_BY_TEXT: Mapping[str, str] = {
    "RequestTimeTooSkewed": NTP,
    "InvalidAccessKeyId": "check AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "check AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "renew the session token of AWS",
    "does not exist": "create the bucket, or correct RUSHES_S3_BUCKET",
    "Unable to locate credentials": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role",
    "AuthorizationHeaderMalformed": "set AWS_REGION to the region of the bucket",
    "credentials may not": POLICY,
}


@dataclass(frozen=True, slots=True)
class Trial:
    """One call: what a person calls it, how bad its failure is, and what to do about it."""

    operation: str
    verdict: str
    advice: str
    wrong: str = "it answers as if it could, and does not"
    """What is wrong where S3 refused nothing."""


TRIALS: Mapping[str, Trial] = {
    "writes": Trial("write an object", BAD, POLICY, "an object that nobody wrote is there"),
    "conditional_put": Trial(
        "refuse a second write of the same object",
        BAD,
        OVERWRITES,
        "it overwrites the object in spite of If-None-Match",
    ),
    "parts": Trial("complete an upload in parts", BAD, POLICY),
    "conditional_complete": Trial("refuse an upload in parts over the same object", BAD, OVERWRITES, IGNORES),
    "copies": Trial("copy it onto itself", WARN, f"{POLICY}: otherwise long clips have no sha256 in their metadata"),
    "reads": Trial("read it back", BAD, POLICY, "what is read is not what was written"),
    "metadata": Trial(
        "read its metadata back",
        WARN,
        "without metadata a clip that is archived again is read back whole",
        "the metadata are not those that were written",
    ),
    "links": Trial(
        "fetch it by a presigned link",
        WARN,
        "callers fetch clips by such links, and gateways fetch inputs: check the bucket's address",
        "the link does not give the object",
    ),
    "lists": Trial(
        "list objects",
        WARN,
        "grant s3:ListBucket: without it the journal cannot be compared with the ledger, and submits are held at a"
        " first start, after Redis was lost and after it was restarted",
    ),
    "lists_uploads": Trial(
        "list unfinished uploads",
        WARN,
        "grant s3:ListBucketMultipartUploads: otherwise they stay, and cost money, until a lifecycle rule aborts them",
    ),
    "tells_missing": Trial(
        "tell a missing object from one that may not be read",
        WARN,
        "grant s3:ListBucket: otherwise an object that may not be read counts as missing, and is written again",
        "it answers as if an object that does not exist were there",
    ),
    "deletes": Trial(
        "delete it", WARN, "only this check deletes objects; without the right its object stays in the bucket"
    ),
}
NO_LISTING = (
    "the store does not offer it: add a lifecycle rule that aborts unfinished uploads, or they stay and cost money"
)
ODD_MISSING = "it must answer 404, or 403 without s3:ListBucket: otherwise no archive knows whether its clip is there"


def check_bucket(settings: Settings) -> Iterator[Finding]:
    """Check that archiving works, by operations on objects of this check."""
    s3 = S3ClientFactory(settings.ca_file)
    try:
        client: Any = s3.client(timeout_s=TIMEOUT_S, max_attempts=1)
        authorities = s3.authorities
    except SettingsError as error:
        yield Finding("s3.problem", BAD, str(error).removeprefix("settings: "), "see deploy/env.example")
        return
    if not getproxies() and (diagnosis := _diagnose(client, authorities)):
        yield Finding("s3.problem", BAD, f"S3 was not reached: {diagnosis.text}", diagnosis.advice)
        return
    region = BucketRegions(s3).region(settings.bucket)
    regional: Any = s3.client(region, timeout_s=TIMEOUT_S, max_attempts=1)
    bucket = Bucket(lambda: regional, settings.bucket, settings.s3_extra_args)
    links = PresignedLinks(regional)
    results = probe_bucket(
        bucket, settings.prefix, lambda key: _is_fetchable(links.presign(bucket.name, key, 60), authorities)
    )
    yield from _trials(results, settings)
    if results.writes:
        yield _archive(archive_over(s3, links, settings), bucket, settings.prefix)
    yield from _facts(read_bucket_info(regional, settings.bucket), results, region, client.meta.region_name)


def _diagnose(client: Any, authorities: str) -> Diagnosis | None:
    try:
        found = endpoints(client.meta.endpoint_url, authorities)
    except ValueError:
        return None
    return next(filter(None, (diagnose(endpoint, TLS_ADVICE) for endpoint in found)), None)


def _facts(facts: BucketInfo, results: ProbeResult, region: str | None, configured: str | None) -> Iterator[Finding]:
    """What the bucket tells besides; of one that refuses every write only a clock that is off is of interest."""
    skew = _clock(facts, wall_clock())
    if results.writes:
        yield from (_region(region, configured), skew, _leftovers(facts))
    elif skew.verdict == BAD:
        yield skew


def _is_fetchable(link: str, authorities: str) -> bool:
    """Whether a presigned link gives the object without credentials."""
    with suppress(NotSent, AnswerLost):
        response = HttpClient(ANY_ADDRESS, authorities=authorities).send(Request("GET", link), deadline_s=10)
        return response.status == 200 and response.body in WRITTEN
    return False


def _archive(archive: Archive, bucket: Bucket, prefix: str) -> Finding:
    """Write as the processes do, where they can with libcurl's signature."""
    key = f"{prefix}jobs/.probe-{uuid.uuid4().hex}"
    try:
        archive.put_bytes(key, b"1", "text/plain")
        bucket.delete(key)
    except Denied:  # of the deletion; the trial of it tells
        pass
    except ArchiveUnavailable as refusal:
        return Finding("s3.archive", BAD, f"cannot archive an object: {refusal}", _advice(str(refusal), POLICY))
    return Finding("s3.archive", OK, "can archive an object as the workers do")


def _trials(results: ProbeResult, settings: Settings) -> Iterator[Finding]:
    """The operations that were tried; none follows a write that failed."""
    for name, trial in TRIALS.items():
        if getattr(results, name):
            yield Finding(f"s3.{name}", OK, f"can {trial.operation}")
        else:
            yield _failed(name, trial, results, settings)
        if name == "writes" and settings.s3_extra_args:
            yield Finding("s3.extra_args", OK, f"objects are written with {', '.join(settings.s3_extra_args)}")
        if not results.writes:
            problem = results.problem or "S3 gives no reason"
            yield Finding("s3.problem", BAD, problem, _advice(problem, "deploy/iam-policy.json"))
            return


def _failed(name: str, trial: Trial, results: ProbeResult, settings: Settings) -> Finding:
    refusal = results.refusals.get(name)
    verdict, operation, advice = trial.verdict, trial.operation, trial.advice
    if name == "lists" and settings.journal:
        verdict = BAD
    if name == "tells_missing" and not isinstance(refusal, Denied):
        verdict, advice = BAD, ODD_MISSING
    if name == "lists_uploads" and isinstance(refusal, NotOffered):
        advice = NO_LISTING
    if results.writes_without_condition and not results.writes:
        operation, advice = "write an object under If-None-Match, only without", OVERWRITES
    elif refusal:
        advice = _advice(str(refusal), advice) if not isinstance(refusal, Denied) else advice
    return Finding(f"s3.{name}", verdict, f"cannot {operation}: {refusal or trial.wrong}", advice)


def _advice(problem: str, otherwise: str) -> str:
    return next((advice for text, advice in ADVICE_BY_TEXT.items() if text in problem), otherwise)


def _region(region: str | None, configured: str | None) -> Finding:
    if region in (None, configured):
        return Finding("s3.region", OK, f"links are signed for {configured}")
    what = f"the bucket is in {region}, not in {configured}: links are signed for {region}"
    return Finding("s3.region", WARN, what, f"set AWS_REGION={region}, and no process has to ask for it at its start")


def _clock(facts: BucketInfo, now: int) -> Finding:
    try:
        ahead_s = now / 1000 - parsedate_to_datetime(facts.date or "").timestamp()
    except ValueError:
        return Finding("s3.clock", WARN, "S3 does not give its time", NTP)
    skew_s = abs(ahead_s)
    verdict = BAD if skew_s > SKEW_BAD_S else WARN if skew_s > SKEW_WARN_S else OK
    what = f"our clock is {skew_s:.0f} s {'ahead of' if ahead_s > 0 else 'behind'} S3's"
    return Finding("s3.clock", verdict, what, "" if verdict == OK else NTP)


def _leftovers(facts: BucketInfo) -> Finding:
    if facts.aborts_uploads:
        return Finding("s3.lifecycle", OK, "a rule aborts unfinished uploads")
    is_known = facts.aborts_uploads is not None
    what = "no rule aborts unfinished uploads" if is_known else "its lifecycle rules could not be read"
    return Finding("s3.lifecycle", WARN, what, "add a rule with AbortIncompleteMultipartUpload after one day")
