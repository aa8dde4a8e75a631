"""The erase step: what an ended job has in bucket, journal and quarantine goes; its manifest says only that it was."""

from __future__ import annotations

from rushes.shared.domain import events, schedule
from rushes.shared.domain.erasure import journal_times
from rushes.shared.domain.events import Event
from rushes.shared.domain.job import Job
from rushes.shared.intake.job_document import moment
from rushes.shared.services import Services
from rushes.shared.storage.archive import ArchiveUnavailable

OBJECTS = ("video.mp4", "thumbnail.jpg", "thumbnail.png")
VERSIONS_REMAIN = "older versions of its objects may remain in the bucket: see `rushes lifecycle`"


def erase(job: Job, services: Services) -> Event:
    """Erase the job outside of the ledger, where its content is gone already. It can be done again from any point.

    The manifest comes first: whoever restores a lost ledger sees by it that the job has ended.
    """
    if job.result and job.result.bucket != services.archive.bucket:
        return events.ErasureDelayed(f"its clip is in the bucket {job.result.bucket}, which is not RUSHES_S3_BUCKET")
    try:
        at = services.now()
        is_all = services.archive.replace_manifest(manifest_key(job, services), erased_manifest(job, at))
        is_all &= clear_objects(job, services)
        for since, until in journal_times(job):
            is_all &= services.journal.erase(job.id, since, until, at)
        services.ledger.quarantine.drop_all(job.id)
        if job.batch_id:
            services.ledger.batches.erase_content(job.batch_id)
    except ArchiveUnavailable as unavailable:
        return events.ErasureDelayed(str(unavailable))
    return events.Erased(at, None if is_all else VERSIONS_REMAIN)


def manifest_key(job: Job, services: Services) -> str:
    folder = services.archive.folder(job.id, job.created_at)
    return job.result.manifest_key if job.result else f"{folder}manifest.json"


def erased_manifest(job: Job, at: int) -> dict[str, object]:
    document = {"id": job.id, "status": job.state.value, "erased_at": moment(at)}
    return {"schema": "rushes.manifest/1", "job": document, "files": []}


def clear_objects(job: Job, services: Services) -> bool:
    """Delete clip and thumbnail; False if older versions of them may remain."""
    folder = services.archive.folder(job.id, job.created_at)
    keys = {folder + name for name in OBJECTS}
    if job.result:
        keys |= {job.result.key, *([job.result.thumbnail_key] if job.result.thumbnail_key else [])}
    remaining = [key for key in sorted(keys) if not services.archive.erase(key)]
    return not remaining


def before_leaving(job: Job, services: Services) -> Event | None:
    """What comes before a job leaves the ledger: its planned erasure; None if nothing does."""
    after_s = services.settings.policy.erase_after_s
    if job.erase_asked_at is None and after_s is not None:
        is_due = services.now() >= schedule.after(job.ended_at or 0, after_s)
        # A job that ended before RUSHES_ERASE_AFTER_DAYS was set is due by the retention, and waits on.
        return events.ErasureRequested("RUSHES_ERASE_AFTER_DAYS") if is_due else events.ErasureDelayed()
    if job.erased_at is None:
        return None
    try:  # a worker that was frozen while it copied the clip may have gone on after the erasure
        clear_objects(job, services)
    except ArchiveUnavailable as unavailable:
        return events.ErasureDelayed(str(unavailable))
    return None
