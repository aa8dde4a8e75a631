"""The filters of the console's list of jobs, as its form sends them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from flask import request

from rushes.shared.domain.job import ENDED, State
from rushes.shared.domain.job_filter import JobFilter
from rushes.shared.intake.intake import Unacceptable
from rushes.shared.intake.job_filters import parse_filter
from rushes.webhook_receiver.auth import Caller
from rushes.webhook_receiver.jobs_api import JOB_ID

OPEN = tuple(state for state in State if state not in ENDED and state is not State.UNCONFIRMED)
# The fields of the form, and the filters of the API that they are.
API_NAMES = {"gateway": "provider", "model": "model", "error": "error", "batch": "batch", "from": "from", "to": "to"}
FIELDS = ("state", *API_NAMES, "metadata", "tenant", "text")
# The fields that are folded away until one of them is used.
FOLDED = ("model", "error", "batch", "metadata", "from", "to")


@dataclass(frozen=True)
class Filters:
    """The fields of the form, what they mean, and which of them mean nothing: those are left out."""

    values: Mapping[str, str]
    wanted: JobFilter
    problems: Mapping[str, str]
    before: str

    @classmethod
    def from_query(cls, visitor: Caller) -> Filters:
        """The filters of this request; a tenant can be chosen by an administrator only."""
        values = {name: request.args.get(name, "").strip()[:5000] for name in FIELDS}
        values["text"] = values["text"][:200]
        if not visitor.is_admin:
            values["tenant"] = ""
        wanted, problems = _parsed(_api_values(values))
        if values["metadata"] and "=" not in values["metadata"]:
            problems["metadata"] = "Give key=value."
        values |= dict.fromkeys(problems, "")
        before = request.args.get("before", "").strip()
        return cls(values, wanted, problems, before if JOB_ID.fullmatch(before) else "")

    @property
    def state(self) -> str:
        return self.values["state"]

    @property
    def tenant(self) -> str:
        return self.values["tenant"]

    @property
    def text(self) -> str:
        return self.values["text"]

    @property
    def is_folded(self) -> bool:
        """Whether the fields that few need can be folded away."""
        return not any(self.values[name] for name in FOLDED) and not self.problems

    def page_url(self, **changes: str) -> str:
        """The path of the page with these filters, some of them changed."""
        return self.path("/", **changes)

    def path(self, page: str, **changes: str) -> str:
        """The path of a page with these filters in its query."""
        query = urlencode({name: value for name, value in {**self.values, **changes}.items() if value})
        return f"{page}?{query}" if query else page


def _api_values(values: Mapping[str, str]) -> dict[str, str]:
    """The fields as filters of the API."""
    state, (key, equals, value) = values["state"], values["metadata"].partition("=")
    parameters = {name: values[field] for field, name in API_NAMES.items()}
    parameters["status"] = ",".join(OPEN) if state == "open" else state
    if equals:
        parameters[f"metadata.{key.strip()}"] = value.strip()
    return parameters


def _parsed(parameters: Mapping[str, str]) -> tuple[JobFilter, dict[str, str]]:
    """The filter, and what is wrong with which field of the form."""
    try:
        return parse_filter(parameters), {}
    except Unacceptable as refused:
        wrong = {name: str(texts[0]) for name, texts in (refused.fields or {}).items()}
        rest, _ = _parsed({name: value for name, value in parameters.items() if name not in wrong})
        fields = {"provider": "gateway", "status": "state"}
        return rest, {fields.get(name, name.partition(".")[0]): text for name, text in wrong.items()}
