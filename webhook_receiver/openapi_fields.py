"""Short forms of the fields that the responses in /openapi.json are made of."""

from __future__ import annotations

from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate


def always(kind: type[fields.Field[Any]], description: str = "", null: bool = False, **more: Any) -> Any:
    """A field that is always present; `null` says whether its value may be null."""
    rules = {name: more.pop(name) for name in ("validate", "keys", "values") if name in more}
    metadata = {"description": description, **more} if description else more
    return kind(required=True, allow_none=null, metadata=metadata, **rules)


def text(description: str = "", null: bool = False, **more: Any) -> Any:
    return always(fields.String, description, null, **more)


def number(description: str = "", null: bool = False, **more: Any) -> Any:
    return always(fields.Integer, description, null, minimum=0, **more)


def seconds(description: str) -> Any:
    return always(fields.Float, description, validate=validate.Range(min=0))


def usd(description: str = "", null: bool = True) -> Any:
    return text(description, null, pattern=r"^\d+(\.\d+)?$", example="0.82304")


def moment(description: str = "", null: bool = True) -> Any:
    return always(fields.DateTime, description, null, example="2026-11-20T17:45:00.000Z")


def choice_of(choices: Any, description: str = "", null: bool = False) -> Any:
    return text(description, null, validate=validate.OneOf([str(choice) for choice in choices]))


class OpenSchema(Schema):
    """An object with these fields; it may have more."""

    class Meta:
        unknown = EXCLUDE


def nested(schema: type[Schema], null: bool = False) -> Any:
    return fields.Nested(schema, required=True, allow_none=null)


def many(schema: type[Schema]) -> Any:
    return fields.List(fields.Nested(schema), required=True)


def listed(choices: Any, description: str = "") -> Any:
    """A list of some of these."""
    metadata = {"description": description} if description else {}
    return fields.List(fields.String(validate=validate.OneOf([*choices])), required=True, metadata=metadata)


def texts(description: str, name: str | None = None) -> Any:
    """A list of texts; `name` where the field's name cannot be that of an attribute."""
    return fields.List(fields.String(), required=True, data_key=name, metadata={"description": description})
