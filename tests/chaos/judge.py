"""What must be so, whatever happened: the ledger, the bucket and the gateways' books held against each other."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import batch_orders
import bulk_orders
from ledger_steps import contents
from model_gateways import Task, clip_of
from simulation import Simulation, Violation

from rushes.shared.domain import batch, counters, fair_shares, schedule
from rushes.shared.domain.job import Attempt, AttemptStatus, Job, State
from rushes.shared.domain.moves.running import UNKNOWN_TASK_ANSWERS
from rushes.shared.intake.job_document import document
from rushes.shared.ledger import keys
from rushes.shared.ledger.writes import COUNTERS

IN_DOUBT = (AttemptStatus.SUBMITTING, AttemptStatus.UNCONFIRMED, AttemptStatus.RUNNING)
# apimart tells what a task cost, the others are in the price table; the vendor behind newapi gives no prices at all.
PRICED = ("apimart", "apimodels", "kling")
# What must have happened for a job to fail so.
CAUSES: dict[str, set[str]] = {
    "submit_unconfirmed": {"away", "lost", "outage", "doubtful"},
    "timed_out": {"endless"},
    "input_rejected": {"refused"},
    "insufficient_balance": {"refused"},
    "rate_limited": {"refused"},
    "provider_error": {"refused", "failed", "down"},
    "content_policy": {"refused", "failed"},
    "budget_exceeded": {"budget"},
}


class Judge:
    """Watches the bills as they are written, and passes judgement at the end."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        simulation.on_bill = self.bill

    # --- at each bill

    def bill(self, task: Task, job: Job | None) -> None:
        """A paid call was written down before, once, and no other that may have been paid stands beside it."""
        mine = [a for a in job.attempts if a.provider == task.gateway] if job else []
        billed = {
            other.attempt
            for other in self.simulation.gateways.tasks
            if job and other.job_id == job.id and other is not task
        }
        free = [attempt for attempt in mine if attempt.number not in billed and attempt.paid]
        if not free or job is None:
            self.simulation.broke(
                f"{task.id} is paid for and was not written down before, or was paid for already: {mine}"
            )
            return
        task.attempt, task.job_id = free[-1].number, job.id
        if not self._journalled(job.id, task.attempt):
            self.simulation.broke(f"{task.id} is paid for and is not in the journal")
        for wanted in self.simulation.batches:
            if wanted.budget_usd and batch_orders.held_usd(self.simulation, wanted) > wanted.budget_usd:
                self.simulation.broke(f"{task.id} brings {wanted.marker} over its budget")
        doubtful = [a for a in job.attempts if a.number in billed and a.status in IN_DOUBT]
        if doubtful and not self.simulation.fault_plan.resubmit:
            self.simulation.broke(f"{task.id} is paid for while {doubtful} may be")

    def _journalled(self, job_id: str, attempt: int) -> bool:
        pieces = [body for key, body in self.simulation.bucket.writes if "journal/" in key]
        lines = [json.loads(line) for piece in pieces for line in piece.splitlines()]
        return any((line["kind"], line["job"], line["attempt"]) == ("intent", job_id, attempt) for line in lines)

    # --- at the end

    def pass_judgement(self) -> Counter[str]:
        """Raises Violation with everything that is wrong; answers what became of the jobs."""
        simulation = self.simulation
        wrong = [*simulation.violations, *self._wrong()]
        if wrong:
            told = [f"{j.id} {j.state.value} {j.history}" for j in simulation.jobs_seen.values()]
            raise Violation("\n".join([f"seed {simulation.seed}", *wrong, *told, *simulation.trace[-400:]]))
        return Counter(self._verdict(job) for job in simulation.jobs_seen.values())

    def _verdict(self, job: Job) -> str:
        return "held" if job.error and job.error.code == "submit_unconfirmed" else job.state.value

    def _wrong(self) -> Iterator[str]:
        orders = {order.marker: order for order in self.simulation.orders}
        for marker, order in orders.items():
            job = self.simulation.job_of(marker)
            if job is None or job.id != order.id:
                yield f"{marker} is lost"
                continue
            yield from (f"{marker}: {what}" for what in self._wrong_with(job, marker))
        for job in self.simulation.jobs_seen.values():
            if job.retry_of:
                yield from (f"a retry: {what}" for what in self._wrong_with(job, job.request["prompt"]))
        for bulk in self.simulation.bulks:
            yield from bulk_orders.wrong_with(self.simulation, bulk)
        for wanted in self.simulation.batches:
            yield from batch_orders.wrong_with(self.simulation, wanted)
        yield from whole(self.simulation.parts.raw_store, list(self.simulation.jobs_seen.values()))

    def _wrong_with(self, job: Job, marker: str) -> Iterator[str]:
        yield from self._wrong_end(job, marker)
        yield from self._wrong_bills(job)
        yield from self._wrong_objects(job)
        yield from self._wrong_notices(job)

    def _wrong_end(self, job: Job, marker: str) -> Iterator[str]:
        if self.simulation.ends[job.id] != 1:
            yield f"finalized {self.simulation.ends[job.id]} times"
        causes = self.simulation.excuses[job.id] | self.simulation.excuses[marker]
        causes |= {"budget"} if job.batch_budget_usd else set()
        if self.simulation.gateways.doubts[marker]:
            causes |= {"doubtful"}
        if job.error and not causes & CAUSES.get(job.error.code, set()):
            yield f"it failed with {job.error} for no cause: {causes}"
        if job.error and job.error.code == "submit_unconfirmed":
            yield from self._wrongly_held(job)
        if job.state is State.CANCELED and any(a.status in (*IN_DOUBT, AttemptStatus.COMPLETED) for a in job.attempts):
            yield "canceled, although a gateway may have it"

    def _wrongly_held(self, job: Job) -> Iterator[str]:
        """A callback that came through settles what is in doubt, unless the gateway goes on denying the task."""
        if job.current.askable:
            yield f"held, although {job.current.provider} can be asked for it"
        task = self._task_of(job, job.current)
        if task and task.denied < UNKNOWN_TASK_ANSWERS and self.simulation.happened[f"heard of {task.id}"]:
            yield f"held, although the callback of {task.id} came through"

    def _task_of(self, job: Job, attempt: Attempt) -> Task | None:
        found = (t for t in self.simulation.gateways.tasks if t.job_id == job.id and t.attempt == attempt.number)
        return next(found, None)

    def _wrong_bills(self, job: Job) -> Iterator[str]:
        bills = [task for task in self.simulation.gateways.tasks if task.job_id == job.id]
        for number, count in Counter(task.attempt for task in bills).items():
            if count > 1:
                yield f"attempt {number} was paid for {count} times"
        by_number = {attempt.number: attempt for attempt in job.attempts}
        for task in bills:
            attempt = by_number.get(task.attempt)
            if attempt is None or not attempt.paid:
                yield f"{task.id} is paid for and not in the ledger: {attempt}"
            elif attempt.task_id not in (task.id, None):
                yield f"{task.id} is known as {attempt.task_id}"
        if job.state is State.COMPLETED and job.current.cost_usd is None and job.current.provider in PRICED:
            yield "its cost is not settled"

    def _wrong_objects(self, job: Job) -> Iterator[str]:
        bucket = self.simulation.bucket
        folder = self.simulation.services.archive.folder(job.id, job.created_at)
        held = {key.removeprefix(folder): held for key, held in bucket.objects.items() if key.startswith(folder)}
        written = [key.removeprefix(folder) for key, _ in bucket.writes if key.startswith(folder)]
        for name, count in Counter(written).items():
            if count > 1:
                yield f"{name} was written {count} times"
        manifest = json.loads(held["manifest.json"].body) if "manifest.json" in held else None
        if manifest is None:
            yield "it has no manifest"
        else:
            yield from _wrong_manifest(job, manifest)
        if job.state is State.COMPLETED:
            yield from self._wrong_clip(job, held.get("video.mp4"), written)

    def _wrong_clip(self, job: Job, held: Any, written: list[str]) -> Iterator[str]:
        task = self.simulation.gateways.task(job.current.task_id)
        if held is None or task is None or job.result is None:
            yield f"completed, without a clip, a task or a result: {job.current}"
            return
        if task.job != job.request["prompt"] or held.body != clip_of(task.id):
            yield f"the clip's bytes are not those of {task.id}"
        if hashlib.sha256(held.body).hexdigest() != job.result.sha256:
            yield "the result tells another sha256"
        if written[-1] != "manifest.json":
            yield f"the manifest was not written last: {written}"

    def _wrong_notices(self, job: Job) -> Iterator[str]:
        if job.callback_url is None:
            return
        told = self.simulation.gateways.notices[job.id]
        if not told:
            yield "its caller never heard of the end"
        if len({(notice["webhook-id"], notice["type"]) for notice in told}) > 1:
            yield f"its caller heard different things: {told}"


def _wrong_manifest(job: Job, manifest: dict[str, Any]) -> Iterator[str]:
    told, now = manifest["job"], document(job)
    for name in ("id", "status", "provider", "result", "cost_usd", "error"):
        if told[name] != now[name]:
            yield f"the manifest says {name} {told[name]}, the ledger {now[name]}"
    if len(manifest["files"]) != (1 if job.state is State.COMPLETED else 0):
        yield f"the manifest names {manifest['files']}"


def whole(store: Any, jobs: list[Job]) -> Iterator[str]:
    """What is wrong where not every job is in one place and one index, or the counters are not as counted anew."""
    held = contents(store)
    where: defaultdict[str, list[str]] = defaultdict(list)
    for name in held:
        if name.startswith(("{rushes}:due:", "{rushes}:leased:", "{rushes}:index:")):
            for member in held[name]:
                where[member].append(name)
    for job in jobs:
        index = f"{{rushes}}:index:{job.tenant}:{job.state.value}:{job.account_label or '-'}"
        standing = (*map(keys.due, schedule.places(job)[:1]), *map(keys.leased, schedule.leasing(job)))
        places = [{index}] if schedule.rests(job) else [{index, place} for place in standing]
        if set(where[job.id]) not in places:
            yield f"{job.id} stands in {where[job.id]}, not in one of {places}"
    yield from _wrong_accounts(held, jobs)
    yield from _wrong_counters(held, jobs)


def _wrong_accounts(held: dict[str, Any], jobs: list[Job]) -> Iterator[str]:
    """What the claim knows of jobs is known of those in line alone, and charged to those that are handed out there."""
    queued = {job.id: fair_shares.ticket(job) for job in jobs if job.state is State.QUEUED}
    if held.get(keys.QUEUED, {}) != queued:
        yield f"in line are {queued}, the claim knows of {held.get(keys.QUEUED)}"
    charged = {member for name in held if name.startswith("{rushes}:charged:") for member in held[name]}
    if not charged <= queued.keys():
        yield f"{charged - queued.keys()} are on an account and not in line"


def _wrong_counters(held: dict[str, Any], jobs: list[Job]) -> Iterator[str]:
    expected: Counter[tuple[str, str]] = Counter()
    for job in jobs:
        for line, count in counters.entries(job).items():
            if line[0] in COUNTERS:
                expected[COUNTERS[line[0]](line)] += count
    names = ("{rushes}:inflight", "{rushes}:held:", "{rushes}:usage:")
    tables = [n for n in held if n.startswith(names) or (n.startswith("{rushes}:batch:") and n.endswith(":counts"))]
    own = {batch.STOPPED, batch.ENDED_AT}  # of a batch; no job counts for them
    counted = {(n, field): int(count) for n in tables for field, count in held[n].items() if field not in own}
    for line in {*expected, *counted}:
        if expected[line] != counted.get(line, 0):
            yield f"{line} is {counted.get(line, 0)}, counted anew {expected[line]}"
