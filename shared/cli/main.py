"""`rushes`: the Jobs API from a shell, and the stack on one machine."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import Console
from rich.table import Table

from rushes.shared import __version__
from rushes.shared.cli import batch_command, bulk_commands, job_commands, service_commands
from rushes.shared.cli.output import (
    EXIT_CODES_HELP,
    FAILED,
    REFUSED,
    UNREACHABLE,
    Group,
    as_json,
    json_option,
    print_result,
)

console = Console()


@click.group(cls=Group, epilog=EXIT_CODES_HELP)
@click.version_option(__version__)
def main() -> None:
    """AI-video jobs, paid for once: from a request to a clip in your own S3 bucket."""


def require_sandbox() -> None:
    """End with one line where the libraries of the extra `sandbox` are not installed."""
    missing = [name for name in ("av", "honcho", "moto") if find_spec(name) is None]
    if missing:
        click.echo(f"error: {', '.join(missing)} not installed: pip install 'rushes[sandbox]'", err=True)
        sys.exit(REFUSED)


@contextmanager
def ended_if_not_ready() -> Iterator[None]:
    """End with what stands in the way where a part of the stack does not start."""
    from rushes.deploy.sandbox.ports import NotReady

    try:
        yield
    except NotReady as problem:
        click.echo(f"error: {problem}", err=True)
        sys.exit(FAILED)


FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@main.command(short_help="Run one job through each gateway's sandbox, all on this machine.")
@click.option("--image", type=FILE, help="Your own picture (JPG or PNG).")
@click.option("--video", type=FILE, help="Your own reference clip (MP4 or MOV, 3 to 30 s).")
@click.option("--out", type=click.Path(path_type=Path), default=Path("rushes-demo"), show_default=True)
@json_option
def demo(image: Path | None, video: Path | None, out: Path) -> None:
    """Start everything on this machine, and run one job through each gateway's sandbox."""
    require_sandbox()
    from rushes.deploy.sandbox import demo as sandbox_demo

    passed = sandbox_demo.run(image, video, out, Console(stderr=True) if as_json() else console)
    if as_json():
        print_result({"passed": passed, "out": str(out)})
    sys.exit(0 if passed else FAILED)


DATA = click.option(
    "--data", type=click.Path(path_type=Path), default=Path(".rushes"), show_default=True, help="Where it is kept."
)


@main.command(short_help="Start the same stack, and keep it running until Ctrl-C.")
@DATA
@click.option(
    "--inputs",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder of files to use as inputs.",
)
@click.option("--verbose", is_flag=True, help="Print the processes' log lines here, too.")
@click.option("--quiet", is_flag=True, hidden=True, help="What is usual now.")
@json_option
def up(data: Path, inputs: Path | None, verbose: bool, quiet: bool) -> None:
    """Start the same stack, and keep it running until Ctrl-C; `rushes logs -f` shows what its processes log."""
    require_sandbox()
    from rushes.deploy.sandbox.stack import ENV_FILE, LOG_FILE, USUAL, Stack

    outputs: list[TextIO] = [sys.stderr if as_json() else sys.stdout] if verbose and not quiet else []
    Console(stderr=True).print("Starting Redis, S3, six sandbox gateways, and Rushes…")
    with ended_if_not_ready(), Stack(data, USUAL, inputs=inputs, outputs=outputs) as stack:
        keys = {"api_key": stack.secrets.demo_key, "admin_key": stack.secrets.admin_key}
        urls = {"inputs_url": stack.inputs_url, "gateways_url": stack.gateways_url}
        elsewhere = "" if data == Path(".rushes") else f" --data {data}"
        welcome = f"""
  log         {data / LOG_FILE} (rushes logs -f{elsewhere})
  inputs      {stack.inputs_url}/sample.jpg and sample.mp4
  gateways    {stack.gateways_url}/_sandbox/tasks, /bills, /faults
  admin key   {stack.secrets.admin_key}

Rushes is up: {stack.url}

  in a browser, sign in with the API key {stack.secrets.demo_key}
  in a shell, with all that the examples need: . {data / ENV_FILE}
  or only:
export RUSHES_URL={stack.url} RUSHES_API_KEY={stack.secrets.demo_key}
"""
        print_result({"url": stack.url, **keys, **urls}, welcome)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            signal.pause()
        except KeyboardInterrupt:
            Console(stderr=True).print("Stopping…")


@main.command(short_help="Print what the processes of `rushes up` log.")
@DATA
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(min=0), default=50, show_default=True, help="So many of the last.")
def logs(data: Path, follow: bool, lines: int) -> None:
    """Print the last lines that the processes of `rushes up` logged."""
    from rushes.shared.cli.log_tail import follow_lines, last_lines

    path = data / "stack.log"
    if not path.exists():
        raise click.UsageError(f"{path} is not there: start the stack with `rushes up`, or name its --data")
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in last_lines(file, lines):
            click.echo(line, nl=False)
        if follow:
            with suppress(KeyboardInterrupt):
                for line in follow_lines(file):
                    click.echo(line, nl=False)


for command in (
    *(*job_commands.COMMANDS, *batch_command.COMMANDS, *bulk_commands.COMMANDS),
    *service_commands.COMMANDS,
):
    main.add_command(command)


@main.command("doctor", short_help="Try settings, Redis, broker, bucket, keys: what is wrong?")
@json_option
def doctor_command() -> None:
    """Check all settings, try Redis, broker and bucket, check the form of keys; exit 1 if anything is bad."""
    from rushes.shared.operations import doctor
    from rushes.shared.operations.finding import BAD

    findings = doctor.examine(os.environ)
    print_result([asdict(finding) for finding in findings], "\n".join(map(doctor.format_finding, findings)))
    sys.exit(FAILED if doctor.worst(findings) == BAD else 0)


@contextmanager
def built_services() -> Iterator[Any]:
    """The services of a process: these commands use ledger and bucket directly, not the API."""
    from rushes.shared import logs
    from rushes.shared.ledger.store import LedgerUnavailable
    from rushes.shared.services import build
    from rushes.shared.settings import SettingsError
    from rushes.shared.storage.archive import ArchiveUnavailable

    logs.configure()
    try:
        yield build(os.environ)
    except (SettingsError, LedgerUnavailable, ArchiveUnavailable) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(UNREACHABLE)


@main.command(short_help="Restore jobs that Redis lost, from the journal in the bucket.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="A UTC day; older entries are not read.")
@click.option("--dry-run", is_flag=True, help="Show what would be restored, and write nothing.")
@click.option("--json", "as_json", is_flag=True)
def recover(since: datetime | None, dry_run: bool, as_json: bool) -> None:
    """Restore jobs that Redis lost, from the journal in the bucket; nothing is paid."""
    from rushes.shared.operations import recovery

    from_ms = int(since.replace(tzinfo=UTC).timestamp() * 1000) if since else 0
    with built_services() as services:
        report = recovery.recover(services, from_ms, dry_run)
    tasks = [job.attempt.task_id if job.attempt else None for job in report.put_back]
    rows = [
        (job.id, job.state.value, job.provider or "-", task or "-")
        for job, task in zip(report.put_back, tasks, strict=True)
    ]
    counts = {"known": report.known, "ended": report.ended, "unreadable": report.unreadable}
    if as_json:
        restored = [dict(zip(("id", "status", "provider", "task_id"), row, strict=True)) for row in rows]
        click.echo(json.dumps({"put_back": restored, "answered": report.answered, **counts, "dry_run": dry_run}))
        return
    show_table("Would be restored" if dry_run else "Restored", ("job", "status", "gateway", "task"), rows)
    totals = {"restored": len(rows), "task id added": len(report.answered), **counts}
    show_table("In the journal", ("", "jobs"), [(name, str(count)) for name, count in totals.items()])


@main.command(short_help="Print lifecycle rules for the bucket.")
@click.option("--prefix", envvar="RUSHES_S3_PREFIX", default="", help="As RUSHES_S3_PREFIX.")
@click.option("--erase-after-days", envvar="RUSHES_ERASE_AFTER_DAYS", type=click.FloatRange(min=0, min_open=True))
def lifecycle(prefix: str, erase_after_days: float | None) -> None:
    """Print lifecycle rules for the bucket, for `aws s3api put-bucket-lifecycle-configuration`.

    They abort uploads that were left half done, and expire old versions and the journal. With RUSHES_ERASE_AFTER_DAYS
    all of a job expires a day later.
    """
    from rushes.shared.storage.lifecycle import rules

    click.echo(json.dumps(rules(prefix, erase_after_days), indent=2))


@main.command(short_help="Compare counters and indexes with all records, and repair.")
@click.option("--repair/--dry-run", default=True, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def audit(repair: bool, as_json: bool) -> None:
    """Check that counters and indexes agree with all records, and repair them; exit 1 if something was not repaired."""
    from rushes.shared.operations.auditor import whole_round

    with built_services() as services:
        findings = whole_round(services, repair)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        rows = [(finding.what, finding.where, "yes" if finding.repaired else "no") for finding in findings]
        show_table(f"{len(rows)} found", ("what", "where", "repaired"), rows)
    sys.exit(0 if all(finding.repaired for finding in findings) else FAILED)


def show_table(title: str, names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for name in names:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


if __name__ == "__main__":
    main()
