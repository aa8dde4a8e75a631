"""The archive step: copies the clip and its thumbnail from the gateway to the bucket, and writes the manifest last."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import Any

import structlog

from rushes.shared.domain import events, schedule
from rushes.shared.domain.events import Event
from rushes.shared.domain.http_messages import Request, Response
from rushes.shared.domain.job import Attempt, Job, Link, Result
from rushes.shared.domain.transitions import transition
from rushes.shared.http import (
    AnswerLost,
    AnswerRefused,
    Forbidden,
    NotSent,
    ResponseStream,
    is_whole,
    may_be_whole,
    origin,
)
from rushes.shared.intake.job_document import document
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.media import formats
from rushes.shared.media.formats import OTHER_VIDEO_FORMATS
from rushes.shared.operations.task_query import check_link, query_task
from rushes.shared.providers import PROVIDERS
from rushes.shared.providers.base import Access
from rushes.shared.services import AccountMissing, Services
from rushes.shared.storage.archive import ArchivedClip, ArchiveUnavailable, ClipSource, InvalidClip, StoredFile
from rushes.worker.step_failures import guard_step
from rushes.worker.thread_pools import ThreadPools

log = structlog.get_logger()

# Of the whole download and upload of one clip.
ARCHIVE_DEADLINE_S = 900
STALL_S = 30
# Larger chunks cost more memory: with 1 MiB each, 16 clips at once took 86 MiB (measured 2026-11).
CHUNK_BYTES = 1 << 16
THUMBNAIL_BYTES, THUMBNAIL_S = 10 << 20, 20
REDIRECTS = 10
# A link with such a status is dead; another query may return a new one.
DEAD_STATUSES = frozenset({401, 403, 404, 410})
# A file that is still no valid clip after this many downloads is given up.
INVALID_TRIES = 8
# The two kinds of the contract, by the format of their bytes.
THUMBNAILS = {"jpeg": ("thumbnail.jpg", "image/jpeg"), "png": ("thumbnail.png", "image/png")}


Remarks = tuple[tuple[str, str], ...]
"""Lines for the history: what, and its detail."""


class LinkDead(Exception):
    """The gateway's link no longer returns the clip."""


class NoThumbnail(Exception):
    """No thumbnail can be archived; the text says why."""


@dataclass(frozen=True, slots=True)
class CopiedClip:
    """A clip that is in the bucket; its manifest is not written yet."""

    event: events.Archived
    files: Sequence[StoredFile]


def archive_clips(
    jobs: Sequence[Job], services: Services, pools: ThreadPools
) -> Iterator[list[tuple[Job, Event | CopiedClip | None]]]:
    """Copy clips in parallel and write their manifests together; yields the outcomes in groups.

    For an outcome that is a CopiedClip, the manifest still has to be written, alone.
    """
    for group in pools.map_in_groups("copy", partial(copy_guarded, services=services), jobs):
        copies = [(job, copy) for job, copy in group if isinstance(copy, CopiedClip)]
        yield [(job, copy) for job, copy in group if not isinstance(copy, CopiedClip)]
        yield write_manifests(copies, services)


def copy_guarded(job: Job, services: Services) -> CopiedClip | Event | None:
    """The outcome of copying one clip; None if the ledger is needed for it and out of reach."""
    try:
        return guard_step(job, lambda: copy_or_renew(job, services), services)
    except LedgerUnavailable as outage:
        log.warning("ledger out of reach", job=job.id, reason=str(outage))
        return None


def copy_or_renew(job: Job, services: Services) -> CopiedClip | Event:
    """Copy the clip unless that is done; if its link is dead, get a new one from the gateway."""
    folder = services.archive.folder(job.id, job.created_at)
    try:
        return find_archived(job, folder, services) or copy_clip(job, folder, services)
    except LinkDead as dead:
        return renew_link(job, services) or copy_failed(job, dead, services)
    except InvalidClip as invalid:
        return clip_invalid(job, invalid, services)
    except (Forbidden, AnswerRefused) as refusal:
        return link_refused(job, refusal, services)
    except (NotSent, AnswerLost) as error:
        return copy_failed(job, error, services)
    except ArchiveUnavailable as unavailable:
        # Never final, even if the link has expired: the clip may be in the bucket nevertheless.
        return events.ArchiveFailed("archive_failed", str(unavailable))


def copy_failed(job: Job, error: Exception, services: Services) -> Event:
    """The event of a failed copy: it is tried again unless the link has expired."""
    if not is_expired(job, services):
        return events.ArchiveFailed("archive_failed", str(error), undelivered=True)
    message = f"the gateway's link expired before the clip could be copied: {error}"
    return events.ArchiveFailed("result_expired", message, final=True)


def clip_invalid(job: Job, invalid: InvalidClip, services: Services) -> Event:
    """The event of an invalid clip: up to INVALID_TRIES downloads are tried, by a new link if there is one."""
    final = is_last_try(job)
    renewed = renew_link(job, services) if job.setbacks and not final else None
    if isinstance(renewed, events.Succeeded):
        return replace(renewed, bad_download=True)
    return events.ArchiveFailed("result_invalid", str(invalid), final, undelivered=True)


def is_last_try(job: Job) -> bool:
    """Whether this is the last download of an invalid clip. Other failures, such as those of S3, do not count."""
    return job.current.bad_downloads >= INVALID_TRIES


def link_refused(job: Job, refusal: Exception, services: Services) -> Event:
    """The event of a link that we do not fetch (an internal address, say): the gateway may return another one."""
    renewed = renew_link(job, services) if job.setbacks else None
    if isinstance(renewed, events.Succeeded) and has_other_origin(renewed.link, job):
        return renewed
    message = f"we do not fetch the gateway's link: {refusal}"
    return events.ArchiveFailed("archive_failed", message, final=is_expired(job, services), refused=True)


def has_other_origin(link: Link, job: Job) -> bool:
    """Whether a link has another origin than the refused one."""
    refused = job.current.link
    try:
        return refused is None or origin(link.video_url) != origin(refused.video_url)
    except Forbidden:
        return False


def find_archived(job: Job, folder: str, services: Services) -> Event | None:
    """Archived, if an earlier try wrote the manifest and its worker died before the ledger was written."""
    if job.tries < 2 and not job.setbacks:
        return None
    manifest = services.archive.read_json(folder + "manifest.json")
    fields = manifest and manifest["job"]["result"]
    if not fields:
        return None
    length = fields["duration_s"]
    result = Result(**{**fields, "duration_s": None if length is None else Decimal(str(length))})
    return events.Archived(result, settled_cost_usd(job, result, services))


def copy_clip(job: Job, folder: str, services: Services) -> CopiedClip:
    """Copy the clip and its thumbnail from the link to the bucket."""
    attempt = job.current
    link = attempt.link or Link("")
    with ExitStack() as stack:
        stream = open_link(attempt, link.video_url, services, stack)
        source = read_source(stream, is_last_try(job))
        clip = services.archive.put_clip(folder + "video.mp4", source, clip_metadata(job))
    picture: StoredFile | None = None
    remarks: Remarks = ()
    try:
        picture = copy_thumbnail(link, folder, services)
    except NoThumbnail as reason:
        remarks = (("thumbnail dropped", str(reason)),)
    return copied_clip(job, clip, picture, remarks, folder, services)


def clip_metadata(job: Job) -> dict[str, str]:
    """The metadata of a clip in the bucket."""
    return {"job-id": job.id, "provider": job.current.provider, "task-id": job.current.task_id or ""}


def copied_clip(
    job: Job, clip: ArchivedClip, picture: StoredFile | None, remarks: Remarks, folder: str, services: Services
) -> CopiedClip:
    """The outcome of a clip that is in the bucket, with its thumbnail if there is one."""
    result = make_result(clip, picture, folder, services)
    cost_usd = settled_cost_usd(job, result, services)
    event = events.Archived(result, cost_usd, (*container_remarks(clip), *remarks), attempt=job.current.number)
    return CopiedClip(event, [clip.file, *([picture] if picture else [])])


def open_link(attempt: Attempt, url: str, services: Services, stack: ExitStack) -> ResponseStream:
    """Open a link. An http link that we may not fetch (RUSHES_EGRESS_ALLOW) is opened over https."""
    request = download_request(attempt, url, services)
    try:
        download = services.http_client.stream(request, deadline_s=ARCHIVE_DEADLINE_S, stall_s=STALL_S)
        return stack.enter_context(download)
    except Forbidden as forbidden:
        if not url.startswith("http:"):
            raise
        try:
            return open_link(attempt, with_https(url), services, stack)
        except NotSent as unsent:
            raise Forbidden(f"{forbidden}, and over https: {unsent}") from None


def download_request(attempt: Attempt, url: str, services: Services) -> Request:
    """The download of a link. A link that needs no key is fetched also where the account is missing: it expires."""
    provider = PROVIDERS[attempt.provider]
    try:
        access = services.access(attempt.provider, attempt)
    except AccountMissing:
        if provider.keyed_content and Access(attempt.base_url, "").owns(url):
            raise
        access = Access(attempt.base_url, "")
    return provider.download_request(url, access)


def with_https(url: str) -> str:
    """The same URL over https; http's default port becomes that of https."""
    return re.sub(r"^http:(//[^/?#]*?)(:80)?(?=[/?#]|$)", r"https:\1", url)


def container_remarks(clip: ArchivedClip) -> Remarks:
    """A remark for the history if the clip is no MP4. It was paid for, so it is kept."""
    if clip.format not in OTHER_VIDEO_FORMATS:
        return ()
    return (("clip kept as it came", f"it is {clip.format}, under the name and type of an MP4"),)


def read_source(stream: ResponseStream, is_last: bool) -> ClipSource:
    """The content of a link; raises LinkDead or AnswerLost.

    The last chunk of a chunked body proves that it is complete. At the last try any content counts as complete: a clip
    that was paid for must not be lost because its server never gives its length.
    """
    if stream.status in DEAD_STATUSES:
        raise LinkDead(f"the link returned HTTP {stream.status}")
    proves_its_length = is_whole(stream)
    if not proves_its_length and not may_be_whole(stream):
        raise AnswerLost(f"the link returned HTTP {stream.status}")
    is_chunked = stream.headers.get("transfer-encoding", "").lower() == "chunked"
    content_type = stream.headers.get("content-type")
    length_bytes = stream.length_bytes if proves_its_length else None
    end_is_certain = (proves_its_length and is_chunked) or is_last
    return ClipSource(stream.chunks(CHUNK_BYTES), length_bytes, content_type, end_is_certain)


def copy_thumbnail(link: Link, folder: str, services: Services) -> StoredFile | None:
    """Archive the gateway's thumbnail if it gave one. Raises NoThumbnail, which does not affect the clip."""
    if link.thumbnail_url is None:
        return None
    request = Request("GET", link.thumbnail_url)
    try:
        response = services.http_client.send(
            request, deadline_s=THUMBNAIL_S, max_bytes=THUMBNAIL_BYTES, redirects=REDIRECTS
        )
        name, content_type = thumbnail_name(response)
        return services.archive.put_bytes(folder + name, response.body, content_type)
    except (NotSent, AnswerLost, ArchiveUnavailable) as error:
        raise NoThumbnail(str(error)) from error


def thumbnail_name(response: Response) -> tuple[str, str]:
    """The name and the content type of a thumbnail, by its bytes; raises NoThumbnail."""
    if not is_whole(response):
        raise NoThumbnail(f"its address answered {response.status}")
    format_name = formats.detect(response.body[: formats.HEAD_BYTES])
    if format_name not in THUMBNAILS:
        raise NoThumbnail(f"it is {format_name}, not JPG or PNG")
    return THUMBNAILS[format_name]


def make_result(clip: ArchivedClip, picture: StoredFile | None, folder: str, services: Services) -> Result:
    """The result of a job: the files in the bucket."""
    file, facts = clip.file, clip.info
    return Result(
        bucket=services.archive.bucket,
        key=file.key,
        manifest_key=folder + "manifest.json",
        size=file.size,
        sha256=file.sha256,
        content_type=file.content_type,
        thumbnail_key=picture.key if picture else None,
        duration_s=facts.duration_s,
        width=facts.width,
        height=facts.height,
    )


def settled_cost_usd(job: Job, result: Result, services: Services) -> Decimal | None:
    """The cost of the clip by its price and its length, used where the gateway reports no cost.

    None without a price, and without a length where the price is a second's: then the estimate stands. A length of
    zero is none: no gateway makes a clip for nothing.
    """
    provider = PROVIDERS[job.current.provider]
    reference = job.inputs.get("video_url", {}).get("duration_s")
    seconds = job.current.made_s or result.duration_s or None
    if reference and not provider.bills_output:
        seconds = Decimal(reference) or seconds
    return services.prices.settle(provider, job.request, seconds)


def write_manifests(
    copies: Sequence[tuple[Job, CopiedClip]], services: Services
) -> list[tuple[Job, Event | CopiedClip | None]]:
    """Write the manifests of some clips together; a clip whose manifest was not written is returned as CopiedClip."""
    try:
        manifests = [(copy.event.result.manifest_key, completed_manifest(job, copy, services)) for job, copy in copies]
        written = services.archive.put_manifests(manifests)
    except Exception:  # the reason is logged when each is written alone
        log.warning("manifests broke together", jobs=len(copies))
        written = [False] * len(copies)
    return [(job, copy.event if is_written else copy) for (job, copy), is_written in zip(copies, written, strict=True)]


def write_clip_manifest(job: Job, copy: CopiedClip, services: Services) -> Event:
    """Write the manifest of one clip."""
    try:
        services.archive.put_manifest(copy.event.result.manifest_key, completed_manifest(job, copy, services))
    except ArchiveUnavailable as unavailable:  # it may have been written nevertheless: the next try reads it
        return events.ArchiveFailed("archive_failed", str(unavailable))
    return copy.event


def completed_manifest(job: Job, copy: CopiedClip, services: Services) -> dict[str, Any]:
    """The manifest of the completed job. It is written before the ledger is, so the job is completed only after it."""
    return manifest_document(transition(job, copy.event, services.now(), services.settings.policy), copy.files)


def manifest_document(job: Job, files: Sequence[StoredFile]) -> dict[str, Any]:
    """The manifest: the job document without a presigned URL, and the files beside it."""
    return {"schema": "rushes.manifest/1", "job": document(job), "files": [file_document(file) for file in files]}


def file_document(file: StoredFile) -> dict[str, Any]:
    """What a manifest says of a file."""
    return {"key": file.key, "size": file.size, "sha256": file.sha256, "content_type": file.content_type}


def renew_link(job: Job, services: Services) -> Event | None:
    """Succeeded with a new link to the clip, None if the gateway has none. It is a query, so nothing is paid again."""
    event = check_link(job, query_task(job.current, job.current.task_id or "", services))
    if isinstance(event, events.Succeeded) and is_new_link(event.link, job, services):
        return replace(event, attempt=job.current.number)
    return None


# New links that are all dead are requested until this many lifetimes of a link have passed.
MAX_LIFETIMES = 2


def is_new_link(link: Link, job: Job, services: Services) -> bool:
    """Whether it differs from the dead link, and the clip may still exist."""
    dead, lifetime_s = job.current.link, services.settings.policy.result_ttl_s
    give_up_at = schedule.after(job.current.ended_at or 0, MAX_LIFETIMES * lifetime_s)
    return services.now() < give_up_at and (dead is None or link.video_url != dead.video_url)


def is_expired(job: Job, services: Services) -> bool:
    """Whether the link has expired; only then it is given up."""
    link = job.current.link
    return link is not None and link.expires_at is not None and services.now() >= link.expires_at


def write_empty_manifest(job: Job, services: Services) -> Event:
    """Write the manifest of a job that ended without a clip."""
    folder = services.archive.folder(job.id, job.created_at)
    try:
        services.archive.put_manifest(folder + "manifest.json", manifest_document(job, []))
    except ArchiveUnavailable as unavailable:
        return events.ArchiveFailed("archive_failed", str(unavailable))
    return events.Manifested()
