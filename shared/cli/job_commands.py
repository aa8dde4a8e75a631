"""Commands on jobs: submit, show, wait, decide."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, TextIO

import click

from rushes.shared.cli.job_options import completions, job_options, request_of
from rushes.shared.cli.output import json_option, print_result, print_table
from rushes.shared.cli.progress import changes, handle_ctrl_c, wait_for_end
from rushes.shared.client import ApiError, Client, Job, Unreachable

TIMEOUT = click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0), help="Wait at most this long, in seconds."
)
KEY = click.option("--idempotency-key", help="A request that is sent again with the same key gives the same job.")


def complete_job_id(ctx: click.Context, param: click.Parameter, typed: str) -> list[str]:
    """Ids of the newest jobs that complete what was typed; none if the service does not answer."""
    with suppress(ApiError, Unreachable):
        return [job["id"] for job in Client.connect().page(limit=100)["data"] if job["id"].startswith(typed)]
    return []


JOB = click.argument("job_id", shell_complete=complete_job_id)


@click.command()
@job_options
@click.option("--wait", is_flag=True, help="Wait for the job's end, with a progress bar.")
@TIMEOUT
@KEY
@json_option
def submit(file: TextIO | None, wait: bool, timeout_s: float | None, idempotency_key: str | None, **flags: Any) -> None:
    """Submit a job from FILE (JSON) or from flags; prints its id."""
    client = Client.connect()
    job = client.submit(request_of(file, flags), idempotency_key)
    if wait:
        wait_for_end(client, job["id"], timeout_s)
    else:
        print_result(job, job["id"])


@click.command()
@JOB
@TIMEOUT
@json_option
def watch(job_id: str, timeout_s: float | None) -> None:
    """Wait for a job's end, with a progress bar; then prints the job."""
    wait_for_end(Client.connect(), job_id, timeout_s)


@click.command()
@JOB
@TIMEOUT
@json_option
def events(job_id: str, timeout_s: float | None) -> None:
    """Print a line for each change of a job, until its end; with --json each line is the job."""
    client = Client.connect()
    client.get(job_id)
    with handle_ctrl_c(job_id):
        for job in changes(client, job_id, timeout_s):
            print_result(
                job, f"{job['updated_at']}  {job['status']:11}  {job['progress']:3} %  {job['provider'] or '-'}"
            )


@click.command("list")
@click.option("--status", shell_complete=completions("status"), help="One status, or several separated by commas.")
@click.option("--provider", shell_complete=completions("provider"))
@click.option("--limit", default=20, show_default=True)
@click.option("--cursor", help="`next_cursor` of the previous page.")
@json_option
def list_jobs(**query: Any) -> None:
    """List jobs, newest first."""
    page = Client.connect().page(**query)
    names = ("id", "status", "model", "provider", "progress", "cost USD", "created")
    print_table(page, names, [_row(job) for job in page["data"]])


def _row(job: Job) -> tuple[Any, ...]:
    cost = job["cost_usd"] or (f"~{job['estimated_cost_usd']}" if job["estimated_cost_usd"] else "unknown")
    model, progress = job["request"]["model"], f"{job['progress']} %"
    created = f"{job['created_at'][:16].replace('T', ' ')}Z"
    return job["id"], job["status"], model, job["provider"], progress, cost, created


@click.command()
@JOB
@json_option
def show(job_id: str) -> None:
    """Print a job as JSON."""
    print_result(Client.connect().get(job_id))


@click.command()
@JOB
@KEY
@json_option
def retry(job_id: str, idempotency_key: str | None) -> None:
    """Submit the request of a failed job again, as a new job; prints its id."""
    new_job = Client.connect().retry(job_id, idempotency_key)
    print_result(new_job, new_job["id"])


@click.command()
@JOB
@json_option
def cancel(job_id: str) -> None:
    """Cancel a job that was not sent to a gateway yet."""
    job = Client.connect().cancel(job_id)
    print_result(job, f"{job['id']} is {job['status']}")


@click.command()
@JOB
@click.argument("action", type=click.Choice(["resubmit", "fail", "adopt"]))
@click.argument("task_id", required=False)
@json_option
def resolve(job_id: str, action: Any, task_id: str | None) -> None:
    """Decide about an unconfirmed submit; `adopt` needs the id of the gateway's task."""
    job = Client.connect().resolve(job_id, action, task_id)
    print_result(job, f"{job['id']} is {job['status']}")


@click.command()
@job_options
@json_option
def estimate(file: TextIO | None, **flags: Any) -> None:
    """Show what each gateway would be sent and what it would cost; nothing is spent."""
    estimates = Client.connect().estimates(request_of(file, flags))
    rows = []
    for item in estimates:
        sent = item["why_not"] or json.dumps(item["would_send"], ensure_ascii=False)
        detail = " ".join((*item["notes"], sent))
        able = "yes" if item["able"] else "no"
        rows.append((item["provider"], able, item["estimated_cost_usd"] or "unknown", detail))
    print_table(estimates, ("gateway", "able", "USD", "why not / what would be sent"), rows)


COMMANDS = (submit, list_jobs, show, watch, events, retry, cancel, resolve, estimate)
