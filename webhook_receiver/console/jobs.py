"""All jobs, newest first: how many stand in each state, and the ones that were asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlencode

from flask import abort, redirect, render_template, request, url_for
from werkzeug.exceptions import NotFound

from rushes.shared.domain.job import ENDED, Job, State
from rushes.shared.providers import PROVIDERS
from rushes.shared.settings import ADMIN
from rushes.shared.storage.archive import ArchiveUnavailable
from rushes.webhook_receiver.auth import Caller, services
from rushes.webhook_receiver.console import console, content_security_policy, labels
from rushes.webhook_receiver.console.session import visitor
from rushes.webhook_receiver.jobs_api import JOB_ID, mine

PAGE = 40
# Text is looked for in the records themselves, so only the newest are read.
LOOKED_THROUGH = 400
OPEN = tuple(state for state in State if state not in ENDED and state is not State.UNCONFIRMED)
# The four numbers that people look for first.
TILES: list[tuple[str, str, tuple[State, ...], str]] = [
    ("Running", "open", OPEN, "busy"),
    ("Completed", "completed", (State.COMPLETED,), "good"),
    ("Failed", "failed", (State.FAILED,), "bad"),
    ("Unconfirmed", "unconfirmed", (State.UNCONFIRMED,), "warn"),
]
# A link that dies sooner than this is shown as urgent.
URGENT_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Filters:
    """What the query asks for; what is none of our words asks for nothing."""

    state: str
    gateway: str
    tenant: str
    text: str
    before: str

    @classmethod
    def asked(cls, asking: Caller) -> Filters:
        def said(name: str) -> str:
            return request.args.get(name, "").strip()

        return cls(
            said("state") if said("state") in ("open", *State) else "",
            said("gateway") if said("gateway") in PROVIDERS else "",
            said("tenant") if asking.is_admin else "",
            said("text")[:200],
            said("before") if JOB_ID.fullmatch(said("before")) else "",
        )

    @property
    def states(self) -> tuple[State, ...]:
        if not self.state:
            return ()
        return OPEN if self.state == "open" else (State(self.state),)

    def query(self, **changes: str) -> str:
        """The address of the page with these filters, some of them changed."""
        names = ("state", "gateway", "tenant", "text")
        held = {**{name: getattr(self, name) for name in names}, **changes}
        told = urlencode({name: value for name, value in held.items() if value})
        return f"/?{told}" if told else "/"


@console.get("/")
def jobs() -> str:
    """The page that people open first."""
    asking = visitor()
    wanted = Filters.asked(asking)
    _straight_to(wanted.text, asking)
    found, older = looked_up(wanted, asking)
    content_security_policy.show_from(presigned("any"))  # a job that ends while the page is open shows its thumbnail
    return render_template(
        "jobs.html",
        now=services().now(),
        asking=asking,
        wanted=wanted,
        rows=[(job, looks_of(job)) for job in found],
        older=older,
        tiles=tiles(asking, wanted),
        states=labels.STATES,
        gateways=sorted({*services().settings.gateways, *(job.provider for job in found if job.provider)}),
        tenants=sorted({name for name, _ in services().settings.api_keys} - {ADMIN}),
        looked_through=LOOKED_THROUGH,
    )


def _straight_to(text: str, asking: Caller) -> None:
    """A whole id is a job, however old."""
    if JOB_ID.fullmatch(text):
        try:
            found = mine(text, asking)
        except NotFound:
            return
        abort(redirect(url_for("console.job", job_id=found.id)))


def looked_up(wanted: Filters, asking: Caller) -> tuple[list[Job], str | None]:
    """The jobs of the page, and the one before which older ones stand, if any."""
    tenant = wanted.tenant or asking.scope
    limit = LOOKED_THROUGH if wanted.text else PAGE + 1
    found = services().ledger.overview.newest(tenant, limit, wanted.before, wanted.states, wanted.gateway or None)
    if wanted.text:
        return [job for job in found if holds(job, wanted.text)][:PAGE], None
    return found[:PAGE], found[PAGE - 1].id if len(found) > PAGE else None


def holds(job: Job, text: str) -> bool:
    """Whether all words of the text stand somewhere in the job: its request, ids, metadata or error."""
    error = (job.error.code, job.error.message) if job.error else ()
    tasks = [attempt.task_id or "" for attempt in job.attempts]
    told = json.dumps(dict(job.request), ensure_ascii=False)
    held = "\n".join([job.id, job.tenant, told, *tasks, *error]).casefold()
    return all(word in held for word in text.casefold().split())


def tiles(asking: Caller, wanted: Filters) -> list[dict[str, object]]:
    counts = services().ledger.overview.counts(wanted.tenant or asking.scope)
    return [
        {
            "name": name,
            "count": sum(counts[state] for state in states),
            "tone": tone,
            "href": wanted.query(state="" if wanted.state == key else key),
            "chosen": wanted.state == key,
            "parts": _parts(states, counts),
        }
        for name, key, states, tone in TILES
    ]


def _parts(states: Iterable[State], counts: dict[State, int]) -> str:
    """Of which states a number is made, where it is of several."""
    told = [f"{counts[state]} {state.value}" for state in states if counts[state] and state is not State.RUNNING]
    return ", ".join(told) if len(tuple(states)) > 1 else ""


def looks_of(job: Job) -> dict[str, object]:
    """What a row shows of a job: its thumbnail, else the first frame of its clip; and a link that is about to die."""
    thumbnail = picture(job)
    clip = presigned(job.result.key) if job.result and not thumbnail else None
    return {"picture": thumbnail, "clip": clip, "dying": dying(job)}


def picture(job: Job) -> str | None:
    """Where the thumbnail is, if there is one."""
    key = job.result.thumbnail_key if job.result else None
    return presigned(key) if key else None


def presigned(key: str) -> str | None:
    """An address in the bucket that this page may show; None where there are no credentials to sign with."""
    try:
        return content_security_policy.show_from(services().archive.presign(key))
    except ArchiveUnavailable:
        return None


def dying(job: Job) -> tuple[int, bool] | None:
    """When the gateway's link dies, and whether soon, where the clip is not in the bucket yet."""
    link = job.attempt.link if job.attempt else None
    unsaved = job.state is State.ARCHIVING or (job.state is State.FAILED and job.result is None)
    if not unsaved or link is None or not link.expires_at:
        return None
    left_ms = link.expires_at - services().now()
    return (link.expires_at, left_ms < URGENT_MS) if left_ms > 0 or job.state is State.ARCHIVING else None
