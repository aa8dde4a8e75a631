"""Commands on jobs: submit, show, wait, decide."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, TextIO

import click

from rushes.shared.cli import short_forms
from rushes.shared.cli.batch_command import is_batch, wait_for_batch
from rushes.shared.cli.filter_options import filter_options, filters_of, full_page
from rushes.shared.cli.job_options import job_options, request_of
from rushes.shared.cli.output import json_option, print_result
from rushes.shared.cli.progress import changes, handle_ctrl_c, wait_for_end
from rushes.shared.cli.tables import Column, is_whole, print_table, table_options
from rushes.shared.client import ApiError, Client, Estimate, Job, Unreachable

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


@click.command(short_help="Wait for the end of a job or a batch, with a progress bar.")
@JOB
@TIMEOUT
@json_option
def watch(job_id: str, timeout_s: float | None) -> None:
    """Wait for the end of a job or a batch, with a progress bar; then prints the job, or the batch's receipt."""
    follow = wait_for_batch if is_batch(job_id) else wait_for_end
    follow(Client.connect(), job_id, timeout_s)


@click.command(short_help="Print a line for each change of a job, until its end.")
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


JOB_COLUMNS = (
    Column("id"),
    Column("status"),
    Column("model", importance=2),
    Column("gateway", importance=1),
    Column("USD", right=True),
    Column("age", right=True),
)


@click.command("list")
@filter_options
@click.option("--limit", default=20, show_default=True)
@click.option("--cursor", help="`next_cursor` of the previous page.")
@table_options
def list_jobs(limit: int, cursor: str | None, **flags: Any) -> None:
    """List jobs, newest first. Every filter holds over all jobs that the service still knows."""
    page = full_page(Client.connect(), filters_of(flags), limit, cursor)
    rows = [_job_row(job) for job in page["data"]]
    print_table(page, JOB_COLUMNS, rows, empty="There are no such jobs. To submit one: rushes submit --help")


def _job_row(job: Job) -> tuple[Any, ...]:
    status = f"{job['status']} {job['progress']} %" if job["status"] == "running" else job["status"]
    cost, estimated = short_forms.usd(job["cost_usd"]), short_forms.usd(job["estimated_cost_usd"])
    usd = cost or (f"~{estimated}" if estimated else "unknown")
    words = (short_forms.job_id(job["id"]), status, job["request"]["model"], job["provider"], usd)
    return *words, short_forms.age(job["created_at"])


@click.command()
@JOB
@json_option
def show(job_id: str) -> None:
    """Print a job or a batch as JSON."""
    client = Client.connect()
    print_result(client.get_batch(job_id) if is_batch(job_id) else client.get(job_id))


@click.command(short_help="Submit the request of a failed job again, as a new job.")
@JOB
@KEY
@json_option
def retry(job_id: str, idempotency_key: str | None) -> None:
    """Submit the request of a failed job again, as a new job; prints its id."""
    new_job = Client.connect().retry(job_id, idempotency_key)
    print_result(new_job, new_job["id"])


@click.command(short_help="Cancel what was not sent to a gateway yet.")
@JOB
@json_option
def cancel(job_id: str) -> None:
    """Cancel a job that was not sent to a gateway yet; of a batch all such jobs."""
    client = Client.connect()
    if is_batch(job_id):
        batch = client.cancel_batch(job_id)
        print_result(batch, f"{batch['id']}: {batch['counts']['canceled']} canceled")
        return
    job = client.cancel(job_id)
    print_result(job, f"{job['id']} is {job['status']}")


@click.command(short_help="Erase an ended job; its ids, times and costs stay.")
@JOB
@click.confirmation_option(prompt="Its clip, prompts and metadata go for good. Erase it?")
@json_option
def erase(job_id: str) -> None:
    """Erase an ended job; its ids, times and costs stay."""
    job = Client.connect().erase(job_id)
    print_result(job, f"{job['id']} is erased" if job.get("erased_at") else f"{job['id']} is being erased")


@click.command(short_help="Decide about an unconfirmed submit.")
@JOB
@click.argument("action", type=click.Choice(["resubmit", "fail", "adopt"]))
@click.argument("task_id", required=False)
@json_option
def resolve(job_id: str, action: Any, task_id: str | None) -> None:
    """Decide about an unconfirmed submit; `adopt` needs the id of the gateway's task."""
    job = Client.connect().resolve(job_id, action, task_id)
    print_result(job, f"{job['id']} is {job['status']}")


ESTIMATE_COLUMNS = (
    Column("gateway"),
    Column("able"),
    Column("USD", right=True),
    Column("why not, or notes", wraps=True),
    Column("would send", importance=1, wraps=True),
)


@click.command(short_help="Show what each gateway would cost; nothing is spent.")
@job_options
@table_options
def estimate(file: TextIO | None, **flags: Any) -> None:
    """Show what each gateway would cost, and with --wide what it would be sent; nothing is spent."""
    estimates = Client.connect().estimates(request_of(file, flags))
    print_table(estimates, ESTIMATE_COLUMNS, [_estimate_row(item) for item in estimates])


def _estimate_row(item: Estimate) -> tuple[Any, ...]:
    usd = short_forms.usd(item["estimated_cost_usd"]) or "unknown"
    notes = "; ".join(note for note in (item["why_not"], *item["notes"]) if note)
    sent = json.dumps(item["would_send"], ensure_ascii=False) if is_whole() and item["able"] else ""
    return item["provider"], "yes" if item["able"] else "no", usd, notes, sent


COMMANDS = (submit, list_jobs, show, watch, events, retry, cancel, erase, resolve, estimate)
