"""Models and their prices in /openapi.json; the documents are written by shared/intake/catalog.py."""

from __future__ import annotations

from marshmallow import fields

from rushes.shared.intake.catalog import MODES
from rushes.shared.intake.schema import MODELS
from rushes.shared.providers.base import FIRST_LAST, IMAGE, MOTION, TEXT
from rushes.shared.providers.prices import CONFIDENCES
from rushes.webhook_receiver.openapi_fields import OpenSchema, always, choice_of, listed, many, number, text, texts, usd
from rushes.webhook_receiver.openapi_request import GATEWAYS

OPERATIONS = (MOTION, TEXT, IMAGE, FIRST_LAST)


class Price(OpenSchema):
    """What a second or a clip costs, and where that is from. All null: unknown, which is not zero."""

    usd_per_second = usd()
    usd_per_clip = usd()
    source = text("Where the price stands.", null=True)
    checked = always(fields.Date, "The day on which somebody looked.", null=True)
    confidence = choice_of(
        CONFIDENCES,
        "`documented`: the gateway's own page; `third_party`: a copy of it; `inferred`: worked out from other facts.",
        null=True,
    )
    note = text("What speaks against it.", null=True)


class PriceRow(Price):
    """The price of one kind of work. What makes no difference is null."""

    mode = choice_of(MODES)
    sound = always(fields.Boolean, null=True)
    voices = always(fields.Boolean, null=True)
    duration = number("Seconds of the clip.", null=True)


class ModelAtGateway(OpenSchema):
    """What an enabled gateway does with a model."""

    provider = choice_of(GATEWAYS)
    model = text("Its own name for the model; braces stand for several names.")
    operations = listed(OPERATIONS)
    modes = listed(MODES)
    fields_ = texts("The fields of a request that it takes.", "fields")
    guessed = texts("Those that it is told under names which no document of it gives; `model` is the version.")
    prices = many(PriceRow)


class Model(OpenSchema):
    """A model: what it makes, from which fields, within which limits, and where."""

    id = choice_of(MODELS)
    object = choice_of(["model"])
    operations = listed(OPERATIONS)
    fields_ = texts("The fields of a request.", "fields")
    limits = always(
        fields.Dict, "By field, what its value has to keep to by itself.", keys=fields.String(), values=fields.Dict()
    )
    gateways = many(ModelAtGateway)


class Models(OpenSchema):
    """Every model."""

    data = many(Model)
