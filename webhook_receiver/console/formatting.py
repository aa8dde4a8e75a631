"""How times, money and states are written on a page."""

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

# The pages of the navigation: name, path, and the key that leads there after a `g`.
PAGES = [
    ("Jobs", "/", "j"),
    ("Batches", "/batches", "b"),
    ("New", "/new", "n"),
    ("Gateways", "/gateways", "g"),
    ("Spend", "/spend", "s"),
    ("Alerts", "/alerts", "a"),
]
UNITS = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")]


def prose(text: str) -> Markup:
    """Text whose parts in backticks become code."""
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if odd % 2 else escape(part) for odd, part in enumerate(text.split("`"))
    )


@console.app_context_processor
def helpers() -> dict[str, object]:
    """Functions and values for every template."""
    return {
        "PAGES": PAGES,
        "root": request.script_root,
        "is_current_page": is_current_page,
        "done_text": lambda: labels.DONE_TEXTS.get(request.args.get("done", "")),
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
        "unsettled_usd": unsettled_usd,
        "clip_length": clip_length,
        "state_label": labels.state_label,
    }


def is_current_page(path: str) -> bool:
    """Whether the page belongs to this entry of the navigation."""
    at = request.path
    return at == "/" or at.startswith(("/jobs/", "/bulk")) if path == "/" else at == path or at.startswith(f"{path}/")


def when(at: int | None, now: int | None = None) -> Markup | str:
    """A time as "… ago" or "in …"; its title holds the exact time."""
    if not at:
        return "-"
    now = services().now() if now is None else now
    away = span(abs(at - now) / 1000, units=1 if at < now else 2)
    text = "just now" if abs(at - now) < 1000 else f"in {away}" if at > now else f"{away} ago"
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(moment(at), text)


def clock(at: int | None) -> Markup | str:
    """A time of day, UTC; its title holds the date too."""
    if not at:
        return "-"
    text = datetime.fromtimestamp(at / 1000, UTC).strftime("%H:%M:%S")
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(moment(at), text)


def day(at: int) -> str:
    """The date of a time, UTC."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%-d %b %Y")


def span(seconds: float, units: int = 2) -> str:
    """A duration in its largest units."""
    parts: list[str] = []
    left = int(seconds)
    for size_s, unit in UNITS:
        count, left = divmod(left, size_s)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(part for part in parts[:units] if not part.startswith("0 ")) or "0 s"


def cents(amount: Decimal) -> Markup:
    """Dollars rounded to the cent, for columns and totals; the title holds the exact amount."""
    rounded = amount.quantize(Decimal("0.01"), ROUND_HALF_UP)
    text = f"${rounded:,}" if rounded or not amount else "<$0.01"
    return Markup('<span class="num" title="{}">{}</span>').format(usd(amount), text)


def usd(amount: Decimal | str | None, unknown: str = "unknown") -> str:
    """Dollars with at least two decimals, and as many more as the amount has."""
    if amount is None:
        return unknown
    dollars, _, decimals = (money.text(Decimal(amount)) or "0").partition(".")
    return f"${dollars}.{decimals:0<2}"


def unsettled_usd(job: Job) -> Decimal:
    """What calls without a known cost may have cost, by their estimates."""
    return money.committed(attempt for attempt in job.attempts if attempt.cost_usd is None)


def clip_length(job: Job) -> str | None:
    """The length of the clip, or the length that the request asks for."""
    made_s = job.result.duration_s if job.result else None
    seconds = made_s or job.request.get("duration")
    return f"{float(seconds):.3g} s" if seconds else None


def redacted(value: object) -> str:
    """Indented JSON, or a text as it is; without keys and without the signed part of links."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return SECRET.sub(lambda match: f"{match[1]}?…" if match[1] else "…", text)
