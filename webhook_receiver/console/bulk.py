"""Bulk actions from the list's own filter: counted and confirmed first, then a page with their progress."""

from __future__ import annotations

import secrets

from flask import abort, redirect, render_template, request
from werkzeug.wrappers import Response

from rushes.shared.domain.bulk import STATES, Action
from rushes.shared.intake.intake import Unacceptable, digest
from rushes.shared.intake.job_filters import filter_values
from rushes.shared.operations.bulk import forecast
from rushes.webhook_receiver.auth import services
from rushes.webhook_receiver.bulk_api import abort_bulk, begin_once, visible_bulk
from rushes.webhook_receiver.console import console
from rushes.webhook_receiver.console.list_filters import Filters
from rushes.webhook_receiver.console.session import require_sign_in

SHOWN = 100
REFRESH_S = 1
# Verb, what happens, and whether there is no way back.
ACTIONS: dict[Action, tuple[str, str, bool]] = {
    Action.CANCEL: ("Cancel", "Jobs that no gateway has yet are canceled, at no cost.", False),
    Action.RETRY: ("Retry", "Each failed job is tried again as a new job.", False),
    Action.NOTIFY: ("Notify again", "The callers of ended jobs are notified once more.", False),
    Action.ERASE: ("Erase", "Clips, prompts and metadata of ended jobs go for good. There is no way back.", True),
}


def offered_actions(filters: Filters) -> list[tuple[str, str]]:
    """The actions that can do something to jobs that fit the filter: key and verb; none for a text or no filter."""
    if filters.text or filters.problems or filters.wanted.is_empty:
        return []
    states = filters.wanted.possible_states
    return [(action.value, verb) for action, (verb, _, _) in ACTIONS.items() if states & STATES[action]]


@console.get("/bulk")
def bulk_page() -> str:
    """The bulk actions of 30 days."""
    found = services().ledger.bulk_actions.newest(require_sign_in().scope, SHOWN)
    return render_template("bulk_list.html", now=services().now(), found=found, filter_values=filter_values)


@console.get("/bulk/new")
def new_bulk() -> str:
    """What a bulk action on the list's filter would do, and the button that begins it."""
    visitor = require_sign_in()
    filters, action = _asked_for(Filters.from_query(visitor))
    verb, effect, is_final = ACTIONS[action]
    return render_template(
        "bulk_new.html",
        filters=filters,
        action=action,
        verb=verb,
        effect=effect,
        is_final=is_final,
        forecast=forecast(action, filters.wanted, filters.tenant or visitor.scope, services()),
        shown_filter={**filter_values(filters.wanted), **({"tenant": filters.tenant} if filters.tenant else {})},
        path=filters.path("/bulk", action=action.value),
        once=secrets.token_urlsafe(16),
    )


@console.post("/bulk")
def begin_bulk() -> Response:
    """Begin the bulk action; a form that is sent twice begins one."""
    visitor = require_sign_in()
    filters, action = _asked_for(Filters.from_query(visitor))
    if ACTIONS[action][2] and not request.form.get("sure"):
        raise Unacceptable("invalid_request", "Tick the box: what is erased cannot be brought back.", 422)
    once, scope = request.form.get("once") or None, filters.tenant or None
    about = digest([action.value, filter_values(filters.wanted), scope])
    begun, _ = begin_once(action, filters.wanted, visitor, once and f"console:{once}", about, scope)
    return redirect(f"{request.script_root}/bulk/{begun.id}", 303)


@console.get("/bulk/<bulk_id>")
def one_bulk(bulk_id: str) -> str:
    """A bulk action, its progress, and what came of its jobs."""
    shown = visible_bulk(bulk_id, require_sign_in())
    return render_template(
        "bulk.html",
        now=services().now(),
        bulk=shown,
        verb=ACTIONS[shown.action][0],
        shown_filter=filter_values(shown.wanted),
        refresh_s=REFRESH_S if shown.ended_at is None else 60,
    )


@console.post("/bulk/<bulk_id>/abort")
def abort_one(bulk_id: str) -> Response:
    """Abort a bulk action."""
    abort_bulk(visible_bulk(bulk_id, require_sign_in()))
    return redirect(f"{request.script_root}/bulk/{bulk_id}?done=aborted", 303)


def _asked_for(filters: Filters) -> tuple[Filters, Action]:
    """The filters and the action of this request; 404 for an unknown action, and 422 where every job would be meant."""
    if request.args.get("action") not in [*Action]:
        abort(404)
    if filters.wanted.is_empty or filters.problems or filters.text:
        raise Unacceptable("invalid_request", "Filter the list first; a text is no filter for this.", 422)
    return filters, Action(request.args["action"])
