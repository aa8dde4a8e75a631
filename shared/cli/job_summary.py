"""How a job ended, in a few lines: what it cost, where the clip lies, and its link."""

from __future__ import annotations

from datetime import datetime

from rushes.shared.cli import short_forms
from rushes.shared.client import Job


def text(job: Job) -> str:
    """The lines for an ended job; a link stands whole on a line of its own."""
    return "\n".join([_end(job), *_details(job)])


def _end(job: Job) -> str:
    parts = [f"{job['id']} {job['status']}"]
    if job["provider"]:
        parts.append(f"at {job['provider']}")
    if job["ended_at"]:
        lasted = datetime.fromisoformat(job["ended_at"]) - datetime.fromisoformat(job["created_at"])
        parts.append(f"after {short_forms.length(lasted.total_seconds())}")
    cost = short_forms.usd(job["cost_usd"])
    return " ".join(parts) + (f", {cost} USD" if cost else "")


def _details(job: Job) -> list[str]:
    result, error = job["result"], job["error"]
    if error:
        return [f"  why    {error['code']}: {error['message']}"]
    if result is None:
        return []
    stored = f"  clip   s3://{result['bucket']}/{result['key']}"
    url = result.get("url")
    return [stored, f"  link   {url}"] if url else [stored]
