"""The calls as OpenAPI 3, made from the views, openapi_request.py and openapi_responses.py.

The decorators only document a view: nothing here reads a body or writes a response.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, TypeVar, cast

from flask import Blueprint, Flask
from flask_smorest import Api  # type: ignore[import-untyped]
from flask_smorest import Blueprint as DocumentedBlueprint

from rushes.shared import __version__
from rushes.webhook_receiver import openapi_request, openapi_responses

View = TypeVar("View", bound=Callable[..., Any])
Headers = dict[str, dict[str, Any]]

SPEC = {
    "title": "Rushes",
    "version": __version__,
    "openapi_version": "3.1.0",
    "info": {"description": "AI-video jobs, paid for once: from enqueue to your own S3 bucket."},
    "servers": [{"url": "."}],  # relative to the document: it works behind a proxy that serves Rushes under a path
    "security": [{"bearer": []}],
}
KEY = {"type": "http", "scheme": "bearer", "description": "A key of RUSHES_API_KEYS; its name is the tenant."}
OPEN: list[Any] = []  # the security of a call that needs no key


class DocumentApi(Api):  # type: ignore[misc]
    """The Api of flask-smorest, with the error envelope of Rushes."""

    ERROR_SCHEMA = openapi_responses.Error
    DEFAULT_ERROR_RESPONSE_NAME = None


def header(description: str, **schema: Any) -> dict[str, Any]:
    """A header that is in every such response."""
    return {"description": description, "required": True, "schema": {"type": "string", **schema}}


RETRY_AFTER = {"Retry-After": header("Seconds.", type="integer", minimum=1)}
REPLAYED = {"Idempotent-Replayed": header("true.")}
LOCATION = {"Location": header("Its address.")}
# The error responses that calls share.
ERRORS: dict[int, tuple[str, Headers]] = {
    400: ("The body is not JSON, or did not come whole.", {}),
    401: ("The key is missing or wrong.", {"WWW-Authenticate": header("Bearer.")}),
    403: ("Only the admin key may do this.", {}),
    404: ("There is no such thing, or it is another tenant's.", {}),
    409: ("Its state does not allow this.", {}),
    410: ("The job is erased.", {}),
    413: ("The body is over 1 MiB.", {}),
    415: ("The Content-Type is not JSON.", {}),
    422: ("The request is invalid; `fields` says where.", {}),
    429: ("Too many requests of this key.", RETRY_AFTER),
    503: ("The ledger is out of reach; nothing was accepted.", RETRY_AFTER),
}
IN_PATH: dict[str, dict[str, Any]] = {
    "job_id": {"description": "The job's `id`.", "schema": {"type": "string"}},
    "provider": {"description": "The gateway that calls.", "schema": openapi_request.GATEWAY},
    "batch_id": {"description": "The batch's `id`.", "schema": {"type": "string"}},
    "name": {"description": "The gateway.", "schema": {"type": "string"}},
    "callback_id": {"description": "The `id` of the callback in the quarantine.", "schema": {"type": "string"}},
    "bulk_id": {"description": "The `id` of the bulk action.", "schema": {"type": "string"}},
    "token": {"description": "Proves that Rushes gave this address to the gateway.", "schema": {"type": "string"}},
}


def blueprint(name: str, description: str) -> Blueprint:
    """A blueprint of Flask whose views are in the document."""
    documented: Blueprint = DocumentedBlueprint(name, "webhook_receiver", description=description)
    return documented


def describes(**fields: Any) -> Callable[[View], View]:
    """Document a call: the fields of an OpenAPI operation."""

    def decorator(view: View) -> View:
        # The decorator of smorest would wrap the view once for each use, and every call would go through all of them.
        cast(Any, view)._apidoc = DocumentedBlueprint.doc(**fields)(view)._apidoc
        return view

    return decorator


def content(schema: Any, kind: str = "application/json") -> dict[str, Any]:
    return {kind: {"schema": schema}}


def answers(
    status: int, schema: Any = None, description: str = "Done.", headers: Headers | None = None, **kind: str
) -> Callable[[View], View]:
    """Document a response without an error."""
    response = {"description": description, "headers": headers or {}}
    return describes(responses={str(status): {**response, **({"content": content(schema, **kind)} if schema else {})}})


def answers_also(status: int, schema: Any, kind: str) -> Callable[[View], View]:
    """Document another form of a response that `answers` documents: which one is sent follows from `Accept`."""
    return describes(responses={str(status): {"content": content(schema, kind)}})


def refuses(*statuses: int) -> Callable[[View], View]:
    """Document the error responses of a call."""
    return describes(responses={str(status): str(status) for status in statuses})


def takes(schema: Any, **example: Any) -> Callable[[View], View]:
    """Document the body of a call; "Try it out" on the page starts with the example, so it must be valid."""
    body = {"schema": schema, **({"example": example} if example else {})}
    return describes(requestBody={"required": True, "content": {"application/json": body}})


def query(name: str, description: str, **schema: Any) -> dict[str, Any]:
    """A query parameter; lists are comma separated, and an empty value means no filter."""
    empty = {"allowEmptyValue": True, "explode": False}
    return {"in": "query", "name": name, "description": description, "schema": schema, **empty}


def notices(what: str, schema: Any) -> dict[str, Any]:
    """The notification to `callback_url` at the end of `what`."""
    parameters = [
        {"in": "header", "name": f"webhook-{name}", "required": name != "signature", "schema": {"type": "string"}}
        for name in ("id", "timestamp", "signature")
    ]
    notice = {
        "summary": f"The end of a {what}, signed under Standard Webhooks; sent again for a day until a 2xx.",
        "parameters": parameters,
        "requestBody": {"required": True, "content": content(schema)},
        "responses": {"2XX": {"description": "Received."}},
    }
    return {"ended": {"{$request.body#/callback_url}": {"post": notice}}}


NOTICES = notices("job", openapi_responses.Notice)


def documented_blueprints(blueprints: Iterable[Any]) -> tuple[Blueprint, ...]:
    """The blueprints that are in the document."""
    return tuple(blueprint for blueprint in blueprints if isinstance(blueprint, DocumentedBlueprint))


@cache
def document(blueprints: tuple[Blueprint, ...]) -> dict[str, Any]:
    """The OpenAPI document of these blueprints."""
    api = _empty_api()
    for blueprint in blueprints:
        api.register_blueprint(blueprint)
    spec: dict[str, Any] = api.spec.to_dict()
    spec["components"]["schemas"].pop("PaginationMetadata", None)  # added by smorest, not used here
    for name in ("JobRequest", "JobOfBatch"):
        spec["components"]["schemas"][name].update(openapi_request.ACROSS)
    for path in spec["paths"].values():
        for parameter in path.get("parameters", ()):
            parameter.update(IN_PATH[parameter["name"]])
    return spec


def _empty_api() -> DocumentApi:
    # On an app of its own: smorest takes over the error handling of the app that it is given.
    api = DocumentApi(Flask("openapi", static_folder=None), spec_kwargs=SPEC)
    for field, rules in openapi_request.KINDS.items():
        api.register_field(field, rules.get("type"), None)
    api.ma_plugin.converter.add_attribute_function(openapi_request.field_rules)
    api.spec.components.security_scheme("bearer", KEY)
    for status, (description, headers) in ERRORS.items():
        response = {"description": description, "headers": headers, "content": content(openapi_responses.Error)}
        api.spec.components.response(str(status), response)
    return api
