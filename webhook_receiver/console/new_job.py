"""The page of a new job: the form, its estimate, and the submit."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from flask import jsonify, redirect, render_template, request
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response as AnyResponse

from rushes.shared.intake.intake import Unacceptable, digest
from rushes.webhook_receiver.auth import services
from rushes.webhook_receiver.console import console, content_security_policy, form_fields
from rushes.webhook_receiver.console.session import require_sign_in
from rushes.webhook_receiver.jobs_api import estimate

# A form with sixteen shots of 2,500 characters of four bytes each, and what is around them.
FORM_BYTES = 512 << 10
FORM_KEY_CHARS = 64


@console.get("/new")
def new() -> str:
    """The form; `operation` and `model` of the query are filled in."""
    require_sign_in()
    operation = request.args.get("operation", "")
    operation = operation if operation in form_fields.OPERATIONS else "text"
    model = request.args.get("model", "")
    enabled = list(services().settings.gateways)
    models = form_fields.offered_models(operation, enabled)
    model = model if model in models else models[0]
    content_security_policy.allow_media(services().archive.presign("inputs"))
    return render_template(
        "new_job.html",
        operations=form_fields.OPERATIONS,
        operation=operation,
        model=model,
        unavailable=form_fields.unavailable_fields(operation, model, "std", False),
        rules=form_fields.form_rules(enabled),
        choices=form_fields.choices,
        gateways=enabled,
        form_key=secrets.token_urlsafe(18),
        bucket=services().archive.bucket,
    )


@console.post("/new")
def submit() -> AnyResponse:
    """Enqueue the job, once however often the form is sent, and show it."""
    visitor, form = require_sign_in(), submitted_form()
    body = request_from_form(form)
    # Key and digest together: the same form again is the same job, a changed form is a new one and no conflict.
    key = f"{form.get('form_key', '')[:FORM_KEY_CHARS]}-{digest(body)}"
    receipt = services().intake.accept(body, visitor.tenant, key, services().now())
    location = f"{request.script_root}/jobs/{receipt.job.id}"
    if request.accept_mimetypes.best == "application/json":
        return jsonify({"id": receipt.job.id, "location": location})
    return redirect(location, 303)


@console.post("/console/estimates")
def console_estimates() -> AnyResponse:
    """The estimates for the form as it is now; a form that is not complete yet is no error."""
    visitor = require_sign_in()
    try:
        return jsonify({"data": estimate(request_from_form(submitted_form()), visitor.tenant)})
    except Unacceptable as unfinished:
        return jsonify({"data": [], **unfinished.envelope()})


def submitted_form() -> MultiDict[str, str]:
    """The form; raises RequestEntityTooLarge, and Unacceptable where it holds a file."""
    request.max_content_length = FORM_BYTES
    request.max_form_memory_size = FORM_BYTES
    if request.files:
        raise Unacceptable("bad_request", "Upload a file first; the form takes its address.", 400)
    return request.form


def request_from_form(form: MultiDict[str, str]) -> dict[str, Any]:
    """The request that a form describes; empty fields are left out.

    Raises Unacceptable where a field is missing without which this would be another operation.
    """
    operation = form_fields.OPERATIONS.get(form.get("operation", ""))
    if operation is None:
        raise Unacceptable("invalid_request", "Choose what to make.", 422)
    values = {name: READERS.get(name, text_or_none)(form, name) for name in ("model", *form_fields.SAMPLES)}
    missing = [name for name in operation.needs if not values[name]]
    if missing:
        reasons = {name: [f"Needed for {operation.name.lower()}."] for name in missing}
        raise Unacceptable("invalid_request", f"The request does not fit: {', '.join(missing)}.", 422, reasons)
    return {name: value for name, value in values.items() if value is not None}


def text_or_none(form: Mapping[str, str], name: str) -> str | None:
    return form.get(name, "").replace("\r\n", "\n").strip() or None


def flag_or_none(form: MultiDict[str, str], name: str) -> bool | None:
    """The value of a box; one that is not ticked sends its hidden `false`, or nothing."""
    values = form.getlist(name)
    return values[-1] == "true" if values else None


def integer(form: Mapping[str, str], name: str) -> int | str | None:
    """The number, or the text as it is: the schema says what is wrong with it."""
    text = text_or_none(form, name)
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 9 else text


def decimal_number(form: Mapping[str, str], name: str) -> float | str | None:
    text = text_or_none(form, name)
    try:
        return float(text) if text else None
    except ValueError:
        return text


def text_list(form: Mapping[str, str], name: str) -> list[str] | None:
    """Names, separated by commas or lines."""
    parts = (text_or_none(form, name) or "").replace("\n", ",").split(",")
    return [part.strip() for part in parts if part.strip()] or None


def key_values(form: Mapping[str, str], name: str) -> dict[str, str] | None:
    """One `key = value` a line."""
    lines = [line.partition("=") for line in (text_or_none(form, name) or "").splitlines() if line.strip()]
    return {key.strip(): value.strip() for key, _, value in lines} or None


def read_shots(form: MultiDict[str, str], _: str) -> list[dict[str, Any]] | None:
    """The shots of the form without empty rows; None where the form has no rows."""
    if "shot_prompt" not in form:
        return None
    rows = zip(form.getlist("shot_prompt"), form.getlist("shot_duration"), strict=False)
    forms = [MultiDict({"prompt": prompt, "duration": duration}) for prompt, duration in rows]
    shots = [{"prompt": text_or_none(row, "prompt"), "duration": integer(row, "duration")} for row in forms]
    return [{name: value for name, value in shot.items() if value is not None} for shot in shots if any(shot.values())]


READERS: Mapping[str, Callable[[MultiDict[str, str], str], Any]] = {
    "multi_prompt": read_shots,
    "keep_original_sound": flag_or_none,
    "watermark": flag_or_none,
    "sound": flag_or_none,
    "duration": integer,
    "priority": integer,
    "cfg_scale": decimal_number,
    "element_ids": text_list,
    "voice_ids": text_list,
    "metadata": key_values,
}
