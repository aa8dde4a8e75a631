"""From the gateway's link to the user's bucket: the clip, its thumbnail, and the manifest last."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from functools import partial
from typing import Any

import structlog

from rushes.shared.domain import events, schedule
from rushes.shared.domain.events import Event
from rushes.shared.domain.http_messages import Request, Response
from rushes.shared.domain.job import Attempt, Job, Link, Result
from rushes.shared.domain.transitions import transition
from rushes.shared.http import AnswerLost, AnswerRefused, Forbidden, NotSent, ResponseStream, is_whole, origin
from rushes.shared.intake.job_document import document
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.media import formats
from rushes.shared.media.formats import OTHER_VIDEO_FORMATS
from rushes.shared.operations.task_query import ask, result_of
from rushes.shared.providers import PROVIDERS
from rushes.shared.services import Services
from rushes.shared.storage.archive import ArchivedClip, ArchiveUnavailable, ClipSource, InvalidClip, StoredFile
from rushes.worker.step_failures import guarded
from rushes.worker.thread_pools import ThreadPools

log = structlog.get_logger()

# The whole download and upload of one clip.
ARCHIVE_DEADLINE_S = 900
STALL_S = 30
# Larger pieces cost more memory: with 1 MiB each, 16 clips at once took 86 MiB (measured 2026-11).
CHUNK_BYTES = 1 << 16
THUMBNAIL_BYTES, THUMBNAIL_S = 10 << 20, 20
REDIRECTS = 10
# A link that answers so is dead; another may be had by asking the gateway again.
DEAD = frozenset({401, 403, 404, 410})
# A clip that is still no clip after so many downloads will not become one.
INVALID_TRIES = 8


# The contract has two kinds, by what their bytes say.
THUMBNAILS = {"jpeg": ("thumbnail.jpg", "image/jpeg"), "png": ("thumbnail.png", "image/png")}


class LinkDied(Exception):
    """The gateway's link no longer gives the clip."""


class NoThumbnail(Exception):
    """There is no picture to keep beside the clip; the text says why."""


@dataclass(frozen=True, slots=True)
class Copied:
    """A clip that lies in the bucket; its manifest is to follow."""

    event: events.Archived
    files: Sequence[StoredFile]


def archived(
    jobs: Sequence[Job], services: Services, hands: ThreadPools
) -> Iterator[list[tuple[Job, Event | Copied | None]]]:
    """Copy clips side by side and write their manifests together: what came of it, in groups as it comes.

    Where a clip is given back as it was copied, its manifest is to be written alone.
    """
    for group in hands.gather("copy", partial(clip_copied, services=services), jobs):
        copies = [(job, copy) for job, copy in group if isinstance(copy, Copied)]
        yield [(job, copy) for job, copy in group if not isinstance(copy, Copied)]
        yield manifested_all(copies, services)


def clip_copied(job: Job, services: Services) -> Copied | Event | None:
    """What came of the copy of one clip; None where the ledger is needed to know that, and out of reach."""
    try:
        return guarded(job, lambda: copied(job, services), services)
    except LedgerUnavailable as lost:
        log.warning("ledger out of reach", job=job.id, reason=str(lost))
        return None


def copied(job: Job, services: Services) -> Copied | Event:
    """Copy the clip, unless that is done; where its link is dead, ask for a fresh one."""
    folder = services.archive.folder(job.id, job.created_at)
    try:
        return finished_before(job, folder, services) or fetched(job, folder, services)
    except LinkDied as died:
        return renewed(job, services) or given_up(job, died, services)
    except InvalidClip as invalid:
        return invalid_again(job, invalid, services)
    except (Forbidden, AnswerRefused) as refusal:
        return refused(job, refusal, services)
    except (NotSent, AnswerLost) as setback:
        return given_up(job, setback, services)
    except ArchiveUnavailable as unavailable:  # whatever its link is by now: the clip may lie there all the same
        return events.ArchiveFailed("archive_failed", str(unavailable))


def given_up(job: Job, setback: Exception, services: Services) -> Event:
    """It is tried again, unless the link is past its life."""
    if not is_expired(job, services):
        return events.ArchiveFailed("archive_failed", str(setback))
    message = f"the gateway's link died before the clip could be copied: {setback}"
    return events.ArchiveFailed("result_expired", message, final=True)


def invalid_again(job: Job, invalid: InvalidClip, services: Services) -> Event:
    """It is downloaded again, by a fresh link if there is one, unless that was done often enough."""
    final = is_last_try(job)
    fresh = renewed(job, services) if job.setbacks and not final else None
    if isinstance(fresh, events.Succeeded):
        return replace(fresh, bad_download=True)
    return events.ArchiveFailed("result_invalid", str(invalid), final)


def is_last_try(job: Job) -> bool:
    """Whether no further download follows if this one is no whole clip; other setbacks, of S3 say, do not count."""
    return job.current.bad_downloads >= INVALID_TRIES


def refused(job: Job, refusal: Exception, services: Services) -> Event:
    """We do not fetch this link, which is no word of the gateway's; it may give another one while the clip lives."""
    fresh = renewed(job, services) if job.setbacks else None
    if isinstance(fresh, events.Succeeded) and leads_elsewhere(fresh.link, job):
        return fresh
    message = f"we do not fetch the gateway's link: {refusal}"
    return events.ArchiveFailed("archive_failed", message, final=is_expired(job, services), refused=True)


def leads_elsewhere(link: Link, job: Job) -> bool:
    """Whether a link is at another place than the one that we refuse."""
    before = job.current.link
    try:
        return before is None or origin(link.video_url) != origin(before.video_url)
    except Forbidden:
        return False


def finished_before(job: Job, folder: str, services: Services) -> Event | None:
    """A worker that died after the manifest left everything in place."""
    if job.tries < 2 and not job.setbacks:
        return None
    manifest = services.archive.read_json(folder + "manifest.json")
    held = manifest and manifest["job"]["result"]
    if not held:
        return None
    length = held["duration_s"]
    result = Result(**{**held, "duration_s": None if length is None else Decimal(str(length))})
    return events.Archived(result, settled(job, result, services))


def fetched(job: Job, folder: str, services: Services) -> Copied:
    """From the link into the bucket."""
    attempt = job.current
    link = attempt.link or Link("")
    metadata = {"job-id": job.id, "provider": attempt.provider, "task-id": attempt.task_id or ""}
    with ExitStack() as stack:
        stream = opened(attempt, link.video_url, services, stack)
        clip = services.archive.put_clip(folder + "video.mp4", source(stream, is_last_try(job)), metadata)
    picture, remarks = None, container_remarks(clip)
    try:
        picture = thumbnail(link, folder, services)
    except NoThumbnail as reason:
        remarks = (*remarks, ("thumbnail dropped", str(reason)))
    result = described(clip, picture, folder, services)
    event = events.Archived(result, settled(job, result, services), remarks, attempt=attempt.number)
    return Copied(event, [clip.file, *([picture] if picture else [])])


def opened(attempt: Attempt, url: str, services: Services, stack: ExitStack) -> ResponseStream:
    """The answer of a link; http where we may not fetch that (RUSHES_EGRESS_ALLOW) goes over https."""
    request = PROVIDERS[attempt.provider].fetch(url, services.access(attempt.provider, attempt))
    try:
        download = services.http_client.stream(request, deadline_s=ARCHIVE_DEADLINE_S, stall_s=STALL_S)
        return stack.enter_context(download)
    except Forbidden as forbidden:
        if not url.startswith("http:"):
            raise
        try:
            return opened(attempt, over_https(url), services, stack)
        except NotSent as unsent:
            raise Forbidden(f"{forbidden}, and over https: {unsent}") from None


def over_https(url: str) -> str:
    """The same address over https, on its usual port where http's was the usual one."""
    return re.sub(r"^http:(//[^/?#]*?)(:80)?(?=[/?#]|$)", r"https:\1", url)


def container_remarks(clip: ArchivedClip) -> tuple[tuple[str, str], ...]:
    """What is to be known of a clip in a container that no consumer expects; it was paid for, and is kept."""
    if clip.format not in OTHER_VIDEO_FORMATS:
        return ()
    return (("clip kept as it came", f"it is {clip.format}, under the name and type of an MP4"),)


def source(stream: ResponseStream, is_last: bool) -> ClipSource:
    """The bytes of the link, if it still gives any.

    The last chunk of a chunked body proves its end, and at the last try whatever came is taken for the whole: a clip
    that was paid for is not lost because its server never says how long it is.
    """
    if stream.status in DEAD:
        raise LinkDied(f"the link answers HTTP {stream.status}")
    if not is_whole(stream):
        raise AnswerLost(f"the link answers HTTP {stream.status}")
    is_chunked = stream.headers.get("transfer-encoding", "").lower() == "chunked"
    content_type = stream.headers.get("content-type")
    return ClipSource(stream.chunks(CHUNK_BYTES), stream.length_bytes, content_type, is_chunked or is_last)


def thumbnail(link: Link, folder: str, services: Services) -> StoredFile | None:
    """Keep the gateway's picture where it gave one; raises NoThumbnail, and the clip is whole all the same."""
    if link.thumbnail_url is None:
        return None
    request = Request("GET", link.thumbnail_url)
    try:
        response = services.http_client.send(
            request, deadline_s=THUMBNAIL_S, max_bytes=THUMBNAIL_BYTES, redirects=REDIRECTS
        )
        name, content_type = named_thumbnail(response)
        return services.archive.put_bytes(folder + name, response.body, content_type)
    except (NotSent, AnswerLost, ArchiveUnavailable) as lost:
        raise NoThumbnail(str(lost)) from lost


def named_thumbnail(response: Response) -> tuple[str, str]:
    """The name and the type of a picture, by its bytes; raises NoThumbnail."""
    if not is_whole(response):
        raise NoThumbnail(f"its address answered {response.status}")
    found = formats.detect(response.body[: formats.HEAD_BYTES])
    if found not in THUMBNAILS:
        raise NoThumbnail(f"it is {found}, not JPG or PNG")
    return THUMBNAILS[found]


def described(clip: ArchivedClip, picture: StoredFile | None, folder: str, services: Services) -> Result:
    """What lies in the bucket."""
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


def settled(job: Job, result: Result, services: Services) -> Decimal | None:
    """What the clip costs by measured seconds; a gateway's own word goes before it."""
    provider = PROVIDERS[job.current.provider]
    reference = job.inputs.get("video_url", {}).get("duration_s")
    seconds = job.current.made_s or result.duration_s
    if reference and not provider.bills_output:
        seconds = Decimal(reference)
    return services.prices.estimate(provider, job.request, seconds)


def manifested_all(copies: Sequence[tuple[Job, Copied]], services: Services) -> list[tuple[Job, Event | Copied | None]]:
    """Write the manifests of some clips together, as far as that goes."""
    try:
        told = [(copy.event.result.manifest_key, promised(job, copy, services)) for job, copy in copies]
        written = services.archive.put_manifests(told)
    except Exception:  # told where it is written alone
        log.warning("manifests broke together", jobs=len(copies))
        written = [False] * len(copies)
    return [(job, copy.event if done else copy) for (job, copy), done in zip(copies, written, strict=True)]


def manifested(job: Job, copy: Copied, services: Services) -> Event:
    """Write the manifest of one clip."""
    try:
        services.archive.put_manifest(copy.event.result.manifest_key, promised(job, copy, services))
    except ArchiveUnavailable as unavailable:  # it may stand there all the same: the next try looks
        return events.ArchiveFailed("archive_failed", str(unavailable))
    return copy.event


def promised(job: Job, copy: Copied, services: Services) -> dict[str, Any]:
    """The manifest of a job as it will be once it is completed; that it is let be after."""
    return manifest(transition(job, copy.event, services.now(), services.settings.policy), copy.files)


def manifest(job: Job, files: Sequence[StoredFile]) -> dict[str, Any]:
    """The manifest: the job document without a presigned address, and what lies beside it."""
    return {"schema": "rushes.manifest/1", "job": document(job), "files": [asdict(file) for file in files]}


def renewed(job: Job, services: Services) -> Event | None:
    """A fresh link to the clip, if the gateway has one; nothing is generated again by that."""
    answer = result_of(job, ask(job.current, job.current.task_id or "", services))
    if isinstance(answer, events.Succeeded) and worth_trying(answer.link, job, services):
        return replace(answer, attempt=job.current.number)
    return None


# Ever new links that are all dead are asked for as long again as a link lives.
LIVES = 2


def worth_trying(link: Link, job: Job, services: Services) -> bool:
    """Whether it is another link than the dead one, and the clip may still be there."""
    held, life_s = job.current.link, services.settings.policy.result_ttl_s
    gone_at = schedule.after(job.current.ended_at or 0, LIVES * life_s)
    return services.now() < gone_at and (held is None or link.video_url != held.video_url)


def is_expired(job: Job, services: Services) -> bool:
    """Past its life a link is given up, not before."""
    link = job.current.link
    return link is not None and link.expires_at is not None and services.now() >= link.expires_at


def write_manifest(job: Job, services: Services) -> Event:
    """A job that ended without a clip leaves a manifest too."""
    folder = services.archive.folder(job.id, job.created_at)
    try:
        services.archive.put_manifest(folder + "manifest.json", manifest(job, []))
    except ArchiveUnavailable as unavailable:
        return events.ArchiveFailed("archive_failed", str(unavailable))
    return events.Manifested()
