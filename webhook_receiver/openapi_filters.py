"""The filters of jobs in a query and in a body, as /openapi.json describes them; intake/job_filters.py reads them."""

from __future__ import annotations

from typing import Any

from rushes.shared.domain.bulk import Action
from rushes.shared.domain.job import State
from rushes.shared.intake.job_filters import ERROR_CODES, EXAMPLE
from rushes.shared.intake.schema import BATCH_CHARS, MODELS
from rushes.shared.providers import PROVIDERS
from rushes.webhook_receiver import openapi_responses
from rushes.webhook_receiver.list_query import PAGE, PAGE_MAX
from rushes.webhook_receiver.openapi import query

WHEN: dict[str, Any] = {"anyOf": [{"type": "string", "format": name} for name in ("date", "date-time")]}
FILTERS: list[dict[str, Any]] = [
    query("status", "Only jobs in these states.", type="array", items={"type": "string", "enum": [*State]}),
    query("provider", "Only jobs at this gateway.", type="string", enum=[*PROVIDERS]),
    query("model", "Only jobs of this model.", type="string", enum=[*MODELS]),
    query("error", "Only jobs that ended with this error code.", type="string", enum=[*ERROR_CODES]),
    query("batch", "Only jobs with this word.", type="string", maxLength=BATCH_CHARS),
    query("metadata.KEY", "Only jobs whose metadata have this value under KEY; any number of keys.", type="string"),
    query("from", f"Only jobs accepted since this day or moment: {EXAMPLE}.", **WHEN),
    query("to", "Only jobs accepted on this day at the latest, or before this moment.", **WHEN),
]
PARAMETERS = [
    *FILTERS,
    query("limit", "Jobs on a page.", type="integer", minimum=1, maximum=PAGE_MAX, default=PAGE),
    query("cursor", "`next_cursor` of the page before.", type="string", pattern=openapi_responses.JOB_ID),
]
STATUS = f"({'|'.join(State)})"
FILTER: dict[str, Any] = {
    "type": "object",
    "description": "The filters of GET /v1/jobs, at least one of them; several statuses are separated by commas.",
    "minProperties": 1,
    "properties": {
        "status": {"type": "string", "pattern": f"^{STATUS}(,{STATUS})*$"},
        "provider": {"type": "string", "enum": [*PROVIDERS]},
        "model": {"type": "string", "enum": [*MODELS]},
        "error": {"type": "string", "enum": [*ERROR_CODES]},
        "batch": {"type": "string", "minLength": 1, "maxLength": BATCH_CHARS},
        "from": WHEN,
        "to": WHEN,
    },
    "patternProperties": {r"^metadata\..": {"type": "string", "minLength": 1, "maxLength": 4096}},
    "additionalProperties": False,
}
BULK_REQUEST: dict[str, Any] = {
    "type": "object",
    "required": ["action", "filter"],
    "properties": {
        "action": {"type": "string", "enum": [*Action]},
        "filter": FILTER,
        "dry_run": {"type": "boolean", "default": False},
    },
    "additionalProperties": False,
}
