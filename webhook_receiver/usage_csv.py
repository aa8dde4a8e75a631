"""Usage as CSV: the entries of `GET /v1/usage`, one row each, always under the same header."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from rushes.shared.compact_json import compact
from rushes.shared.domain import money

CSV = "text/csv"
PLAIN = (
    *("day", "tenant", "provider", "jobs", "completed", "failed", "seconds", "estimated_cost_usd", "cost_usd"),
    *("reported_cost_usd", "wasted_cost_usd", "unpriced_jobs"),
)
# Of the jobs alone whose bill differs from the estimate; `differences` has them by kind of work, as JSON.
DIFFERING = ("differing_jobs", "differing_estimated_cost_usd", "differing_billed_cost_usd", "differences")
COLUMNS = (*PLAIN, *DIFFERING)
# A spreadsheet takes a cell that begins so for a formula (OWASP, CSV injection): such text is marked as text.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def usage_csv(entries: Iterable[Mapping[str, Any]]) -> str:
    """The entries as CSV (RFC 4180); without entries the header alone."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for entry in entries:
        writer.writerow([_cell(value) for value in (*(entry[name] for name in PLAIN), *_differing(entry))])
    return file.getvalue()


def _differing(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    kinds = entry["differences"]
    sums = [
        money.text(sum((Decimal(kind[name]) for kind in kinds), Decimal(0)))
        for name in ("estimated_cost_usd", "billed_cost_usd")
    ]
    return sum(kind["jobs"] for kind in kinds), *sums, compact(kinds)


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
