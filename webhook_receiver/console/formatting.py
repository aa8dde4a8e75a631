"""How moments, money and states are written on a page."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal

from flask import request
from markupsafe import Markup, escape

from rushes.shared.domain import money
from rushes.shared.domain.job import Job
from rushes.shared.intake.job_document import moment
from rushes.shared.operations.task_query import SECRET
from rushes.webhook_receiver.auth import services
from rushes.webhook_receiver.console import console, labels, session

PAGES = [("Jobs", "/"), ("New", "/new"), ("Gateways", "/gateways"), ("Spend", "/spend")]
UNITS = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")]


def prose(text: str) -> Markup:
    """Text with what stands in backticks as code."""
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if odd % 2 else escape(part) for odd, part in enumerate(text.split("`"))
    )


@console.app_context_processor
def helpers() -> dict[str, object]:
    """What every template may use."""
    return {
        "PAGES": PAGES,
        "here": here,
        "said": lambda: labels.SAID.get(request.args.get("said", "")),
        "signed_in": session.signed_in,
        "csrf_token": session.csrf_token,
        "when": when,
        "clock": clock,
        "day": day,
        "prose": prose,
        "span": span,
        "usd": usd,
        "cents": cents,
        "spent": money.spent,
        "open_usd": open_usd,
        "length": length,
        "state_of": labels.state_of,
    }


def here(path: str) -> bool:
    """Whether the page stands under this entry of the navigation."""
    at = request.path
    return at == "/" or at.startswith("/jobs/") if path == "/" else at == path or at.startswith(f"{path}/")


def when(at: int | None, now: int | None = None) -> Markup | str:
    """A moment as how long ago or ahead it is; the title tells it exactly."""
    if not at:
        return "-"
    now = services().now() if now is None else now
    away = span(abs(at - now) / 1000, units=1 if at < now else 2)
    told = "just now" if abs(at - now) < 1000 else f"in {away}" if at > now else f"{away} ago"
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(moment(at), told)


def clock(at: int | None) -> Markup | str:
    """A moment by the clock, UTC; the title tells the day too."""
    if not at:
        return "-"
    told = datetime.fromtimestamp(at / 1000, UTC).strftime("%H:%M:%S")
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(moment(at), told)


def day(at: int) -> str:
    """The day of a moment, UTC."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%-d %b %Y")


def span(seconds: float, units: int = 2) -> str:
    """A length of time in its largest units."""
    said: list[str] = []
    left = int(seconds)
    for size_s, unit in UNITS:
        count, left = divmod(left, size_s)
        if count or said:
            said.append(f"{count} {unit}")
    return " ".join(part for part in said[:units] if not part.startswith("0 ")) or "0 s"


def cents(amount: Decimal) -> Markup:
    """Dollars rounded to the cent, for columns and totals; the title tells them exactly."""
    rounded = amount.quantize(Decimal("0.01"), ROUND_HALF_UP)
    told = f"${rounded:,}" if rounded or not amount else "<$0.01"
    return Markup('<span class="num" title="{}">{}</span>').format(usd(amount), told)


def usd(amount: Decimal | str | None, unknown: str = "unknown") -> str:
    """Dollars with at least two decimals and no more than the price has."""
    if amount is None:
        return unknown
    whole, _, decimals = (money.text(Decimal(amount)) or "0").partition(".")
    return f"${whole}.{decimals:0<2}"


def open_usd(job: Job) -> Decimal:
    """What may have been spent on calls that are not settled, by their estimates."""
    return money.committed(attempt for attempt in job.attempts if attempt.cost_usd is None)


def length(job: Job) -> str | None:
    """How long the clip is, or will be where the request says so."""
    made_s = job.result.duration_s if job.result else None
    seconds = made_s or job.request.get("duration")
    return f"{float(seconds):.3g} s" if seconds else None


def redacted(told: object) -> str:
    """JSON for people, or a text as it is, without keys and without the signed part of links."""
    text = told if isinstance(told, str) else json.dumps(told, indent=2, ensure_ascii=False)
    return SECRET.sub(lambda found: f"{found[1]}?…" if found[1] else "…", text)
