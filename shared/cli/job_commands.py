"""Jobs from a shell: enqueue, look, wait, decide."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, TextIO

import click

from rushes.shared.cli.job_options import job_options, offered, request_of
from rushes.shared.cli.output import json_option, tell, tell_table
from rushes.shared.cli.progress import changes, left_alone, see_to_the_end
from rushes.shared.client import ApiError, Client, Job, Unreachable

TIMEOUT = click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), help="Wait at most so many seconds.")
KEY = click.option("--idempotency-key", help="The same key gives the same job, however often it is sent.")


def ids(ctx: click.Context, param: click.Parameter, typed: str) -> list[str]:
    """The newest jobs' ids, to complete what was typed; none where the service does not tell."""
    with suppress(ApiError, Unreachable):
        return [job["id"] for job in Client.connect().page(limit=100)["data"] if job["id"].startswith(typed)]
    return []


JOB = click.argument("job_id", shell_complete=ids)


@click.command()
@job_options
@click.option("--wait", is_flag=True, help="Stay until the job's end, with a progress bar.")
@TIMEOUT
@KEY
@json_option
def submit(file: TextIO | None, wait: bool, timeout_s: float | None, idempotency_key: str | None, **flags: Any) -> None:
    """Enqueue a job from FILE.json or from flags; prints its id."""
    client = Client.connect()
    job = client.submit(request_of(file, flags), idempotency_key)
    if wait:
        see_to_the_end(client, job["id"], timeout_s)
    else:
        tell(job, job["id"])


@click.command()
@JOB
@TIMEOUT
@json_option
def watch(job_id: str, timeout_s: float | None) -> None:
    """Follow a job to its end, with a progress bar; prints it as it ended."""
    see_to_the_end(Client.connect(), job_id, timeout_s)


@click.command()
@JOB
@TIMEOUT
@json_option
def events(job_id: str, timeout_s: float | None) -> None:
    """A line for each change of a job, until its end; with --json the whole job in each."""
    client = Client.connect()
    client.get(job_id)
    with left_alone(job_id):
        for job in changes(client, job_id, timeout_s):
            tell(job, f"{job['updated_at']}  {job['status']:11}  {job['progress']:3} %  {job['provider'] or '-'}")


@click.command("list")
@click.option("--status", shell_complete=offered("status"), help="One, or several with commas between.")
@click.option("--provider", shell_complete=offered("provider"))
@click.option("--limit", default=20, show_default=True)
@click.option("--cursor", help="`next_cursor` of the page before.")
@json_option
def list_jobs(**query: Any) -> None:
    """Jobs, newest first."""
    page = Client.connect().page(**query)
    names = ("id", "status", "model", "provider", "progress", "cost USD", "created")
    tell_table(page, names, [_row(job) for job in page["data"]])


def _row(job: Job) -> tuple[Any, ...]:
    cost = job["cost_usd"] or (f"~{job['estimated_cost_usd']}" if job["estimated_cost_usd"] else "unknown")
    model, progress = job["request"]["model"], f"{job['progress']} %"
    created = f"{job['created_at'][:16].replace('T', ' ')}Z"
    return job["id"], job["status"], model, job["provider"], progress, cost, created


@click.command()
@JOB
@json_option
def show(job_id: str) -> None:
    """One job, as JSON."""
    tell(Client.connect().get(job_id))


@click.command()
@JOB
@KEY
@json_option
def retry(job_id: str, idempotency_key: str | None) -> None:
    """A new job with a failed one's request; prints its id."""
    again = Client.connect().retry(job_id, idempotency_key)
    tell(again, again["id"])


@click.command()
@JOB
@json_option
def cancel(job_id: str) -> None:
    """Take a job back that no gateway has yet."""
    job = Client.connect().cancel(job_id)
    tell(job, f"{job['id']} is {job['status']}")


@click.command()
@JOB
@click.argument("action", type=click.Choice(["resubmit", "fail", "adopt"]))
@click.argument("task_id", required=False)
@json_option
def resolve(job_id: str, action: Any, task_id: str | None) -> None:
    """Decide about an unconfirmed submit; to adopt it, name the gateway's task."""
    job = Client.connect().resolve(job_id, action, task_id)
    tell(job, f"{job['id']} is {job['status']}")


@click.command()
@job_options
@json_option
def estimate(file: TextIO | None, **flags: Any) -> None:
    """What each gateway would be sent, and for how much; nothing is spent."""
    found = Client.connect().estimates(request_of(file, flags))
    rows = []
    for quote in found:
        said = quote["why_not"] or json.dumps(quote["would_send"], ensure_ascii=False)
        rows.append(
            (quote["provider"], "yes" if quote["able"] else "no", quote["estimated_cost_usd"] or "unknown", said)
        )
    tell_table(found, ("gateway", "able", "USD", "why not / what it would be sent"), rows)


COMMANDS = (submit, list_jobs, show, watch, events, retry, cancel, resolve, estimate)
