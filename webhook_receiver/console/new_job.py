"""A new job: the form, what it would cost, and the submit."""

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
from rushes.webhook_receiver.console.session import visitor
from rushes.webhook_receiver.jobs_api import estimated

# A form with sixteen shots of 2,500 characters of four bytes each, and what is around them.
FORM_BYTES = 512 << 10
FORM_KEY_CHARS = 64


@console.get("/new")
def new() -> str:
    """The form, as far as possible filled in by its address."""
    visitor()
    operation = request.args.get("operation", "")
    operation = operation if operation in form_fields.OPERATIONS else "text"
    model = request.args.get("model", "")
    enabled = list(services().settings.gateways)
    models = form_fields.offered(operation, enabled)
    model = model if model in models else models[0]
    content_security_policy.show_from(services().archive.presign("inputs"))
    return render_template(
        "new_job.html",
        operations=form_fields.OPERATIONS,
        operation=operation,
        model=model,
        refused=form_fields.refusals(operation, model, "std", False),
        rules=form_fields.table(enabled),
        choices=form_fields.choices,
        gateways=enabled,
        form_key=secrets.token_urlsafe(18),
        bucket=services().archive.bucket,
    )


@console.post("/new")
def submit() -> AnyResponse:
    """Take the job in, once however often the form is sent, and show it."""
    asking, form = visitor(), sent()
    wanted = wanted_by(form)
    # The key of the form alone would refuse it after a change; this one makes another job of it.
    key = f"{form.get('form_key', '')[:FORM_KEY_CHARS]}-{digest(wanted)}"
    receipt = services().intake.accept(wanted, asking.tenant, key, services().now())
    place = f"/jobs/{receipt.job.id}"
    if request.accept_mimetypes.best == "application/json":
        return jsonify({"id": receipt.job.id, "location": place})
    return redirect(place, 303)


@console.post("/console/estimates")
def console_estimates() -> AnyResponse:
    """What each gateway would do with the form as it stands; one that is not filled in yet is no error."""
    visitor()
    try:
        return jsonify({"data": estimated(wanted_by(sent()))})
    except Unacceptable as unfinished:
        return jsonify({"data": [], **unfinished.envelope()})


def sent() -> MultiDict[str, str]:
    """The form; raises 413."""
    request.max_content_length = FORM_BYTES
    request.max_form_memory_size = FORM_BYTES
    if request.files:
        raise Unacceptable("bad_request", "A file is put into the bucket first; the form takes its address.", 400)
    return request.form


def wanted_by(form: MultiDict[str, str]) -> dict[str, Any]:
    """The request that a form says; what stands empty in it is not said.

    Raises Unacceptable where something is missing without which it would be a request for something else.
    """
    operation = form_fields.OPERATIONS.get(form.get("operation", ""))
    if operation is None:
        raise Unacceptable("invalid_request", "Say which operation it is to be.", 422)
    read = {name: READERS.get(name, text)(form, name) for name in ("model", *form_fields.SAMPLES)}
    missing = [name for name in operation.needs if not read[name]]
    if missing:
        told = {name: [f"Needed for {operation.name.lower()}."] for name in missing}
        raise Unacceptable("invalid_request", f"The request does not fit: {', '.join(missing)}.", 422, told)
    return {name: value for name, value in read.items() if value is not None}


def text(form: Mapping[str, str], name: str) -> str | None:
    return form.get(name, "").replace("\r\n", "\n").strip() or None


def flag(form: MultiDict[str, str], name: str) -> bool | None:
    """A box that is not ticked sends what stands before it, or nothing."""
    said = form.getlist(name)
    return said[-1] == "true" if said else None


def whole(form: Mapping[str, str], name: str) -> int | str | None:
    """The number, or what stands there instead: the schema says what is wrong with it."""
    said = text(form, name)
    return int(said) if said and said.isascii() and said.isdigit() and len(said) < 9 else said


def share(form: Mapping[str, str], name: str) -> float | str | None:
    said = text(form, name)
    try:
        return float(said) if said else None
    except ValueError:
        return said


def listed(form: Mapping[str, str], name: str) -> list[str] | None:
    """Names, apart by commas or lines."""
    said = (text(form, name) or "").replace("\n", ",").split(",")
    return [each.strip() for each in said if each.strip()] or None


def pairs(form: Mapping[str, str], name: str) -> dict[str, str] | None:
    """One `key = value` a line."""
    lines = [line.partition("=") for line in (text(form, name) or "").splitlines() if line.strip()]
    return {key.strip(): value.strip() for key, _, value in lines} or None


def shots(form: MultiDict[str, str], _: str) -> list[dict[str, Any]] | None:
    """The rows of the shots, save those that are empty; None where the form has none."""
    if "shot_prompt" not in form:
        return None
    rows = zip(form.getlist("shot_prompt"), form.getlist("shot_duration"), strict=False)
    said = [MultiDict({"prompt": prompt, "duration": duration}) for prompt, duration in rows]
    made = [{"prompt": text(row, "prompt"), "duration": whole(row, "duration")} for row in said]
    return [{name: value for name, value in shot.items() if value is not None} for shot in made if any(shot.values())]


READERS: Mapping[str, Callable[[MultiDict[str, str], str], Any]] = {
    "multi_prompt": shots,
    "keep_original_sound": flag,
    "watermark": flag,
    "sound": flag,
    "duration": whole,
    "cfg_scale": share,
    "element_ids": listed,
    "voice_ids": listed,
    "metadata": pairs,
}
