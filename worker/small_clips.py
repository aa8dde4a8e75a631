"""Copies small clips together in one thread: a thread for each costs more than the copy, as all need the interpreter.

What is not plain is copied alone (archive.py): another status, a redirect, a thumbnail, an invalid clip, an object that
is in the bucket already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from threading import BoundedSemaphore

import structlog

from rushes.shared.domain import events
from rushes.shared.domain.events import Event
from rushes.shared.domain.http_messages import Request, Response
from rushes.shared.domain.job import Job, Link
from rushes.shared.http import AnswerLost, is_whole
from rushes.shared.services import AccountMissing, Services
from rushes.shared.storage.archive import VIDEO, ArchivedClip, ClipSource, InvalidClip, StoredFile
from rushes.shared.storage.clip_check import ClipReader
from rushes.worker.archive import CopiedClip, clip_metadata, copied_clip, download_request

log = structlog.get_logger()

# They are held in memory, so they must be small, and few: 16 MiB in a process at the most.
MAX_BYTES, MAX_CLIPS, MAX_BATCHES = 512 << 10, 16, 2
# A batch waits so long for another one to end. What waits longer is copied alone.
WAIT_S = 0.5
# A slower download is made again alone.
DEADLINE_S = 20.0
# Over TLS a connection takes 130 KiB; with four of them a core was left idle for a tenth of the time (2026-12).
CONNECTIONS = 8

Copies = list[tuple[Job, CopiedClip | None]]
"""Jobs with their copies; None for those that are to be copied alone."""


class ClipSizes:
    """Which gateways make small clips, as far as their last ones tell."""

    def __init__(self) -> None:
        self._are_small: dict[str, bool] = {}
        self.batches = BoundedSemaphore(MAX_BATCHES)
        """Those who copy clips now."""

    def learn(self, provider: str, size_bytes: int) -> None:
        """Note the size of a clip. Sizes differ, so only one of half the limit counts as small."""
        self._are_small[provider] = size_bytes <= MAX_BYTES // 2

    def is_small(self, job: Job) -> bool:
        """Whether the clip of this job is expected to be small."""
        return self._are_small.get(job.current.provider, False)


SIZES = ClipSizes()


def is_plain(job: Job) -> bool:
    """Whether the clip is likely small, and there is nothing to look for before its copy or beside it."""
    link = job.current.link
    is_first_try = job.tries < 2 and not job.setbacks
    return is_first_try and link is not None and link.thumbnail_url is None and SIZES.is_small(job)


def copy_together(jobs: Sequence[Job], services: Services) -> Iterator[Copies]:
    """Copy clips into the bucket; yields them in groups, each once. Raises nothing."""
    waiting = dict(enumerate(jobs))
    batches = SIZES.batches
    if batches.acquire(timeout=WAIT_S):
        try:
            yield from _copy(waiting, services)
        except Exception:  # none of them is lost: each is copied alone
            log.exception("clips broke together", jobs=len(waiting))
        finally:
            batches.release()
    if waiting:
        yield [(job, None) for job in waiting.values()]


def _copy(waiting: dict[int, Job], services: Services) -> Iterator[Copies]:
    """Copy the first MAX_CLIPS of the jobs that wait. Each is taken out once it is known what came of it."""
    requests = _requests(waiting, services)
    downloads = services.http_client.send_all(
        [request for _, request in requests], deadline_s=DEADLINE_S, max_bytes=MAX_BYTES, at_once=CONNECTIONS
    )
    for group in downloads:
        responses = {requests[index][0]: response for index, response in group}
        copies = _store([(waiting[place], response) for place, response in responses.items()], services)
        for place in responses:
            del waiting[place]
        yield copies


def learn(outcomes: Iterable[tuple[Job, Event | CopiedClip | None]]) -> None:
    """Note the sizes of clips that were copied alone."""
    for job, outcome in outcomes:
        event = outcome.event if isinstance(outcome, CopiedClip) else outcome
        if isinstance(event, events.Archived):
            SIZES.learn(job.current.provider, event.result.size)


def _requests(jobs: Mapping[int, Job], services: Services) -> list[tuple[int, Request]]:
    """The downloads, each with the place of its job."""
    requests = []
    for place, job in list(jobs.items())[:MAX_CLIPS]:
        with suppress(AccountMissing):  # the copy alone says so
            requests.append((place, download_request(job.current, (job.current.link or Link("")).video_url, services)))
    return requests


def _store(downloads: Sequence[tuple[Job, Response | AnswerLost | None]], services: Services) -> Copies:
    """Put the clips that came whole into the bucket."""
    for job, response in downloads:
        if isinstance(response, AnswerLost):  # it is too large, or its server too slow to keep others waiting
            SIZES.learn(job.current.provider, MAX_BYTES)
    folders = {job.id: services.archive.folder(job.id, job.created_at) for job, _ in downloads}
    clips = [
        (job, response.body, f"{folders[job.id]}video.mp4", reader)
        for job, response in downloads
        if isinstance(response, Response) and (reader := _read_whole(response))
    ]
    written = services.archive.put_all(
        [(key, body, VIDEO, {**clip_metadata(job), "sha256": reader.sha256}) for job, body, key, reader in clips]
    )
    copies: dict[str, CopiedClip] = {}
    for (job, _, key, reader), is_new in zip(clips, written, strict=True):
        if is_new:
            clip = ArchivedClip(StoredFile(key, reader.size, reader.sha256, VIDEO), reader.info, reader.format)
            copies[job.id] = copied_clip(job, clip, None, (), folders[job.id], services)
    return [(job, copies.get(job.id)) for job, _ in downloads]


def _read_whole(response: Response) -> ClipReader | None:
    """What has read a clip to its end; None if it is not certainly whole, and does not prove that by its content."""
    if not is_whole(response) or "content-encoding" in response.headers:
        return None
    is_chunked = "chunked" in response.headers.get("transfer-encoding", "").lower()
    # libcurl has compared the body with the length that was announced.
    length_bytes = len(response.body) if "content-length" in response.headers and not is_chunked else None
    reader = ClipReader(ClipSource(iter([response.body]), length_bytes, None, is_chunked))
    try:
        while reader.has_more():
            reader.take(reader.size)
    except InvalidClip:
        return None
    return reader
