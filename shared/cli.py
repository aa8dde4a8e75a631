"""`rushes`: the Jobs API from a shell, and the stack on one machine."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from shared import __version__
from shared.client import ApiError, Client, Unreachable

console = Console()
FAILED, REFUSED, UNREACHABLE = 1, 2, 3


class Group(click.Group):
    """Errors of the service are lines, not tracebacks; scripts can tell them by the exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ApiError as error:
            click.echo(f"error: {error.code}: {error}", err=True)
            ctx.exit(REFUSED)
        except Unreachable as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(UNREACHABLE)


@click.group(cls=Group)
@click.version_option(__version__)
def main() -> None:
    """AI-video jobs, paid for once: from enqueue to your own S3 bucket."""


FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@main.command()
@click.option("--image", type=FILE, help="A picture of yours (JPG or PNG).")
@click.option("--video", type=FILE, help="A reference clip of yours (MP4 or MOV, 3 to 30 s).")
@click.option("--out", type=click.Path(path_type=Path), default=Path("rushes-demo"), show_default=True)
def demo(image: Path | None, video: Path | None, out: Path) -> None:
    """Everything embedded, one job through each gateway's sandbox."""
    from deploy.sandbox import demo as stage

    sys.exit(0 if stage.run(image, video, out, console) else FAILED)


@main.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path(".rushes"), show_default=True)
@click.option(
    "--inputs", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Files offered as inputs."
)
@click.option("--quiet", is_flag=True, help="Keep the processes' lines in the log file only.")
def up(data: Path, inputs: Path | None, quiet: bool) -> None:
    """The same stack, kept up until Ctrl-C."""
    from deploy.sandbox.stack import USUAL, Stack

    outputs: list[TextIO] = [] if quiet else [sys.stdout]
    with Stack(data, USUAL, inputs=inputs, outputs=outputs) as stack:
        click.echo(f"\nRushes is up: {stack.url}\n")
        click.echo(f"  export RUSHES_URL={stack.url} RUSHES_API_KEY={stack.secrets.demo_key}\n")
        click.echo(f"  admin key   {stack.secrets.admin_key}")
        click.echo(f"  inputs      {stack.inputs_url}/sample.jpg and sample.mp4")
        click.echo(f"  gateways    {stack.gateways_url}/_sandbox/tasks, /bills, /faults (deploy/sandbox/README.md)\n")
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            signal.pause()
        except KeyboardInterrupt:
            console.print("Stopping…")


# The request's fields that have a flag of their own; the rest are given in a file.
FLAGS: dict[str, Callable[[str], Any]] = {
    "model": str,
    "prompt": str,
    "negative-prompt": str,
    "image-url": str,
    "last-image-url": str,
    "video-url": str,
    "character-orientation": str,
    "mode": str,
    "duration": int,
    "aspect-ratio": str,
    "provider": str,
    "max-cost-usd": str,
    "callback-url": str,
}


def job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """A FILE.json and a flag for each simple field; a flag goes before the file."""
    for name, kind in reversed(FLAGS.items()):
        command = click.option(f"--{name}", type=kind)(command)
    command = click.option("--sound/--no-sound", default=None)(command)
    return click.argument("file", type=click.File(), required=False)(command)


def request_of(file: TextIO | None, flags: dict[str, Any]) -> dict[str, Any]:
    """The request that a file and flags make together."""
    try:
        body = json.load(file) if file else {}
    except (ValueError, RecursionError):
        raise click.UsageError(f"{file.name if file else ''} is not JSON") from None
    if not isinstance(body, dict):
        raise click.UsageError("the file is not a JSON object")
    return {**body, **{name: value for name, value in flags.items() if value is not None}}


@main.command()
@job_options
@click.option("--wait", is_flag=True, help="Stay until the job's end, with a progress bar.")
@click.option("--idempotency-key", help="The same key and body give the same job.")
def submit(file: TextIO | None, wait: bool, idempotency_key: str | None, **flags: Any) -> None:
    """Enqueue a job from FILE.json or from flags."""
    client = Client.connect()
    job = client.submit(request_of(file, flags), idempotency_key)
    if wait:
        ended(progress(client, job["id"]))
    else:
        click.echo(job["id"])


@main.command("list")
@click.option("--status")
@click.option("--provider")
@click.option("--limit", default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def list_jobs(status: str | None, provider: str | None, limit: int, as_json: bool) -> None:
    """Jobs, newest first."""
    page = Client.connect().page(status=status, provider=provider, limit=limit)
    if as_json:
        click.echo(json.dumps(page, ensure_ascii=False))
        return
    table = Table()
    for name in ("id", "status", "model", "provider", "progress", "cost USD", "created"):
        table.add_column(name, overflow="fold", no_wrap=name == "id")
    for job in page["data"]:
        cost = job["cost_usd"] or (f"~{job['estimated_cost_usd']}" if job["estimated_cost_usd"] else "unknown")
        row = (job["id"], job["status"], job["request"]["model"], job["provider"] or "-", f"{job['progress']} %")
        table.add_row(*row, cost, job["created_at"])
    console.print(table)


@main.command()
@click.argument("job_id")
def show(job_id: str) -> None:
    """One job, as JSON."""
    click.echo(json.dumps(Client.connect().get(job_id), ensure_ascii=False, indent=2))


@main.command()
@click.argument("job_id")
def watch(job_id: str) -> None:
    """Follow a job to its end."""
    ended(progress(Client.connect(), job_id))


@main.command()
@click.argument("job_id")
def retry(job_id: str) -> None:
    """A new job with a failed one's request."""
    click.echo(Client.connect().retry(job_id)["id"])


@main.command()
@job_options
@click.option("--json", "as_json", is_flag=True)
def estimate(file: TextIO | None, as_json: bool, **flags: Any) -> None:
    """What each gateway would be sent, and for how much."""
    found = Client.connect().estimates(request_of(file, flags))
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    table = Table()
    for name in ("gateway", "able", "USD", "why not / what it would be sent"):
        table.add_column(name, overflow="fold")
    for quote in found:
        said = quote["why_not"] or json.dumps(quote["would_send"], ensure_ascii=False)
        table.add_row(
            quote["provider"], "yes" if quote["able"] else "no", quote["estimated_cost_usd"] or "unknown", said
        )
    console.print(table)


def progress(client: Client, job_id: str) -> dict[str, Any]:
    """The job's way as a bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"), TimeElapsedColumn())
    job = client.get(job_id)  # a refusal is told before there is a bar
    with Progress(*columns, console=Console(stderr=True)) as bar:
        row = bar.add_task(job_id, total=100, state="…")
        for job in client.follow(job_id):
            bar.update(row, completed=job["progress"], state=f"{job['status']} {job['provider'] or ''}")
    return job


def ended(job: dict[str, Any]) -> None:
    """Print how a job ended; exit 0 only where its clip is archived."""
    click.echo(json.dumps(job, ensure_ascii=False, indent=2))
    if job["status"] != "completed":
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
