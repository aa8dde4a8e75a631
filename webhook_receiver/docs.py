"""The document of the calls, for programs and for people."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, current_app, jsonify, render_template_string
from markupsafe import Markup, escape

from webhook_receiver.openapi import OPEN, answers, blueprint, document, notes, telling

docs = blueprint("documents", "This document.")

# A schema's bounds in words.
BOUNDS = {
    "default": "default {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minimum": "from {}",
    "maximum": "to {}",
    "minItems": "at least {} of them",
    "maxItems": "at most {} of them",
    "maxProperties": "at most {} keys",
    "pattern": "like {}",
}


@docs.get("/openapi.json")
@answers(200, {"type": "object"}, "The document.")
@notes(security=OPEN)
def openapi() -> Response:
    """The calls as OpenAPI 3."""
    return jsonify(document(telling(current_app.blueprints.values())))


@docs.get("/docs")
@answers(200, {"type": "string"}, "The page.", kind="text/html")
@notes(security=OPEN)
def page() -> Response:
    """The calls as a page."""
    answer = Response(rendered(telling(current_app.blueprints.values())), mimetype="text/html")
    answer.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    return answer


@cache
def rendered(blueprints: tuple[Blueprint, ...]) -> str:
    """The page, made once a process."""
    source = Path(__file__).with_name("docs.html").read_text("utf-8")
    return render_template_string(source, api=document(blueprints), prose=prose, kind=kind, bounds=bounds)


def prose(text: str) -> Markup:
    """Text with what stands in backticks as code."""
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if odd % 2 else escape(part) for odd, part in enumerate(text.split("`"))
    )


def kind(schema: dict[str, Any]) -> Markup:
    """A schema's type in a word or two, with a link where it has a name."""
    if "$ref" in schema:
        return Markup('<a href="#{0}">{0}</a>').format(schema["$ref"].rpartition("/")[2])
    if several := schema.get("anyOf") or schema.get("oneOf"):
        return Markup(" or ").join(map(kind, several))
    if "enum" in schema:
        return Markup(" | ").join("null" if one is None else one for one in schema["enum"])
    types = schema.get("type", "any")
    named = escape(" or ".join(types) if isinstance(types, list) else types)
    return Markup("{} of {}").format(named, kind(schema["items"])) if "items" in schema else named


def bounds(schema: dict[str, Any]) -> str:
    return ", ".join(said.format(json.dumps(schema[name])) for name, said in BOUNDS.items() if name in schema)
