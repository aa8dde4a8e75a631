"""The calls as OpenAPI 3, made from the views, the request's schema and schemas.py.

The decorators only document: no body is read, and no answer written, by anything here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, TypeVar, cast

from flask import Blueprint, Flask
from flask_smorest import Api  # type: ignore[import-untyped]
from flask_smorest import Blueprint as Telling

from rushes.shared import __version__
from rushes.webhook_receiver import openapi_request, openapi_responses

View = TypeVar("View", bound=Callable[..., Any])
Headers = dict[str, dict[str, Any]]

ABOUT = {
    "title": "Rushes",
    "version": __version__,
    "openapi_version": "3.1.0",
    "info": {"description": "AI-video jobs, paid for once: from enqueue to your own S3 bucket."},
    "servers": [{"url": "."}],  # where the document is: also behind a proxy that serves it under a path
    "security": [{"bearer": []}],
}
KEY = {"type": "http", "scheme": "bearer", "description": "A key of RUSHES_API_KEYS; its name is the tenant."}
OPEN: list[Any] = []  # the security of a call that needs no key


class Described(Api):  # type: ignore[misc]
    """smorest's, with our own errors."""

    ERROR_SCHEMA = openapi_responses.Error
    DEFAULT_ERROR_RESPONSE_NAME = None


def header(description: str, **schema: Any) -> dict[str, Any]:
    """A header that an answer always has."""
    return {"description": description, "required": True, "schema": {"type": "string", **schema}}


RETRY_AFTER = {"Retry-After": header("Seconds.", type="integer", minimum=1)}
LOCATION = {"Location": header("Where it is.")}
# What any call may answer instead, once for all of them.
ERRORS: dict[int, tuple[str, Headers]] = {
    400: ("The body is not JSON, or did not come whole.", {}),
    401: ("The key is missing or wrong.", {"WWW-Authenticate": header("Bearer.")}),
    403: ("Only the admin key may do this.", {}),
    404: ("There is no such thing, or it is another tenant's.", {}),
    409: ("Not in the state that it is in.", {}),
    413: ("The body is over 1 MiB.", {}),
    415: ("The body is not said to be JSON.", {}),
    422: ("It does not fit; `fields` says where.", {}),
    429: ("Too many requests of this key.", RETRY_AFTER),
    503: ("The ledger is out of reach; nothing was accepted.", RETRY_AFTER),
}
IN_PATH: dict[str, dict[str, Any]] = {
    "job_id": {"description": "The job's `id`.", "schema": {"type": "string"}},
    "provider": {"description": "The gateway that calls.", "schema": openapi_request.GATEWAY},
    "name": {"description": "The gateway.", "schema": {"type": "string"}},
    "stray_id": {"description": "The `id` that the quarantine lists it under.", "schema": {"type": "string"}},
    "token": {"description": "Proves that the address was given to the gateway.", "schema": {"type": "string"}},
}


def blueprint(name: str, description: str) -> Blueprint:
    """Flask's blueprint, whose views can be told of."""
    made: Blueprint = Telling(name, "webhook_receiver", description=description)
    return made


def notes(**said: Any) -> Callable[[View], View]:
    """Say this of a call."""

    def decorator(view: View) -> View:
        # smorest's own decorator wraps the view, once for each note, and every call goes through all of them.
        cast(Any, view)._apidoc = Telling.doc(**said)(view)._apidoc
        return view

    return decorator


def content(schema: Any, kind: str = "application/json") -> dict[str, Any]:
    return {kind: {"schema": schema}}


def answers(
    status: int, schema: Any = None, description: str = "It is so.", headers: Headers | None = None, **kind: str
) -> Callable[[View], View]:
    """One of the answers that a caller hopes for."""
    answer = {"description": description, "headers": headers or {}}
    return notes(responses={str(status): {**answer, **({"content": content(schema, **kind)} if schema else {})}})


def refuses(*statuses: int) -> Callable[[View], View]:
    """The errors that a call may answer."""
    return notes(responses={str(status): str(status) for status in statuses})


def takes(schema: Any, **example: Any) -> Callable[[View], View]:
    """The body of a call; with an example the page's "try it" begins with one that is taken."""
    body = {"schema": schema, **({"example": example} if example else {})}
    return notes(requestBody={"required": True, "content": {"application/json": body}})


def query(name: str, description: str, **schema: Any) -> dict[str, Any]:
    """A parameter of the query; a list is comma separated, and what is left empty is not asked for."""
    empty = {"allowEmptyValue": True, "explode": False}
    return {"in": "query", "name": name, "description": description, "schema": schema, **empty}


NOTICES = {
    "ended": {
        "{$request.body#/callback_url}": {
            "post": {
                "summary": "The end of a job, signed under Standard Webhooks; sent again for a day until a 2xx.",
                "parameters": [
                    {
                        "in": "header",
                        "name": f"webhook-{name}",
                        "required": name != "signature",
                        "schema": {"type": "string"},
                    }
                    for name in ("id", "timestamp", "signature")
                ],
                "requestBody": {"required": True, "content": content(openapi_responses.Notice)},
                "responses": {"2XX": {"description": "Heard."}},
            }
        }
    }
}


def telling(blueprints: Iterable[Any]) -> tuple[Blueprint, ...]:
    """Those of an app's blueprints that can be told of."""
    return tuple(held for held in blueprints if isinstance(held, Telling))


@cache
def document(blueprints: tuple[Blueprint, ...]) -> dict[str, Any]:
    """The document of these blueprints."""
    api = _empty()
    for each in blueprints:
        api.register_blueprint(each)
    made: dict[str, Any] = api.spec.to_dict()
    made["components"]["schemas"].pop("PaginationMetadata", None)  # smorest's, used by nobody here
    made["components"]["schemas"]["JobRequest"].update(openapi_request.ACROSS)
    for path in made["paths"].values():
        for parameter in path.get("parameters", ()):
            parameter.update(IN_PATH[parameter["name"]])
    return made


def _empty() -> Described:
    # On an app of its own: smorest takes over the handling of errors.
    api = Described(Flask("openapi", static_folder=None), spec_kwargs=ABOUT)
    for field, known in openapi_request.KINDS.items():
        api.register_field(field, known.get("type"), None)
    api.ma_plugin.converter.add_attribute_function(openapi_request.told)
    api.spec.components.security_scheme("bearer", KEY)
    for status, (description, headers) in ERRORS.items():
        answer = {"description": description, "headers": headers, "content": content(openapi_responses.Error)}
        api.spec.components.response(str(status), answer)
    return api
