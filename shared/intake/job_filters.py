"""The filters of GET /v1/jobs as a caller writes them: in a query, in the body of a bulk action, in a form."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from rushes.shared.domain.job import State
from rushes.shared.domain.job_filter import JobFilter
from rushes.shared.domain.labels import METADATA
from rushes.shared.intake.intake import Unacceptable
from rushes.shared.intake.schema import BATCH_CHARS, MODELS, is_valid_utf8
from rushes.shared.providers import PROVIDERS

NAMES = ("status", "provider", "model", "error", "batch", "from", "to")
ERROR_CODES = (
    *("input_rejected", "no_provider", "insufficient_balance", "content_policy", "provider_error", "rate_limited"),
    *("budget_exceeded", "start_deadline_passed", "timed_out", "submit_unconfirmed"),
    *("result_expired", "result_invalid", "archive_failed"),
)
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
EXAMPLE = "2026-12-01 or 2026-12-01T08:00:00Z"
# No job is older than the one, or younger than the other.
FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)


def parse_filter(values: Mapping[str, Any], where: str = "query", strict: bool = False) -> JobFilter:
    """The filter that these values name; empty ones are none. Raises Unacceptable 422 that names the wrong fields.

    `strict` refuses empty values, for one that is lost on the way must not make an action wider, and names that are no
    filters; in a query the others are `limit` and `cursor`.
    """
    problems: dict[str, list[str]] = {}

    def read(name: str, reader: Callable[[Any], Any]) -> Any:
        if values.get(name) in (None, "", []):
            if strict and name in values:
                problems[name] = ["Empty."]
            return None
        try:
            return reader(values[name])
        except ValueError as problem:
            problems[name] = [str(problem)]

    pairs = {name.removeprefix(METADATA): read(name, _text(4096)) for name in values if _is_metadata(name)}
    wanted = JobFilter(
        states=read("status", _states) or frozenset(),
        provider=read("provider", _one_of(PROVIDERS)),
        model=read("model", _one_of(MODELS)),
        error=read("error", _one_of(ERROR_CODES)),
        batch=read("batch", _text(BATCH_CHARS)),
        metadata={name: value for name, value in pairs.items() if value is not None},
        since=read("from", lambda text: _moment(text, last=False)),
        until=read("to", lambda text: _moment(text, last=True)),
    )
    if strict:
        problems.update({name: ["Unknown filter."] for name in values if name not in NAMES and not _is_metadata(name)})
    if problems:
        raise Unacceptable("invalid_request", f"The {where} does not fit: {', '.join(problems)}.", 422, problems)
    return wanted


def filter_values(wanted: JobFilter) -> dict[str, str]:
    """The values that `parse_filter` reads again as this filter."""
    moments = {"from": wanted.since, "to": wanted.until}
    values = {
        "status": ",".join(state.value for state in State if state in wanted.states),
        **{name: getattr(wanted, name) for name in ("provider", "model", "error", "batch")},
        **{METADATA + name: value for name, value in wanted.metadata.items()},
        **{name: _iso(at) for name, at in moments.items() if at is not None},
    }
    return {name: value for name, value in values.items() if value}


def _is_metadata(name: str) -> bool:
    return name.startswith(METADATA) and name != METADATA


def _states(value: Any) -> frozenset[State]:
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) and name in (*State, "") for name in names):
        raise ValueError(f"Not one of {', '.join(State)}.")
    return frozenset(State(name) for name in names if name)


def _one_of(names: Any) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in names:
            raise ValueError(f"Not one of {', '.join(names)}.")
        return value

    return read


def _text(max_chars: int) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or len(value) > max_chars or not is_valid_utf8(value):
            raise ValueError(f"Not a text of 1 to {max_chars} characters.")
        return value

    return read


def _moment(value: Any, last: bool) -> int:
    """A day or a moment in ms. As the `last`: the end of that day, or that moment, which is itself excluded."""
    try:
        is_day = DAY.fullmatch(value)
        moment = datetime.combine(date.fromisoformat(value), time(), UTC) if is_day else datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError
        moment = min(max(moment, FIRST), LAST) + timedelta(days=bool(is_day and last))
        return round(moment.timestamp() * 1000)
    except (ValueError, TypeError):
        raise ValueError(f"Not a day or a moment with its offset, such as {EXAMPLE}.") from None


def _iso(at: int) -> str:
    text = datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
