"""Writes deploy/gateways/<name>.md, a page for each gateway, from what the code itself uses.

Models, fields and traits are those of `shared/providers/<name>.py`, prices those of `prices.toml`. So a page cannot say
what the code does not do. `python -m rushes.deploy.gateway_pages` writes them; a test says when they are out of date.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path

from rushes.shared.domain import money
from rushes.shared.intake import catalog
from rushes.shared.providers import PROVIDERS
from rushes.shared.providers.base import SHOT_DURATION, Provider
from rushes.shared.providers.prices import PriceTable

FOLDER = Path(__file__).with_name("gateways")
OPERATIONS = {
    "motion": "motion control",
    "text": "text to video",
    "image": "image to video",
    "first_last": "first and last frame",
}
CONFIDENCES = {
    "documented": "proved: the gateway's own page",
    "third_party": "a third party's copy of its page",
    "inferred": "inferred from other facts",
}
# Each property of a provider's class, and what it says if it has the property and if not.
TRAITS = {
    "idempotent": (
        "A submit whose answer was lost is sent again under the same `Idempotency-Key`, and is paid for once.",
        "It takes no idempotency key.",
    ),
    "askable": (
        "It can be asked for a task by our own id, so a submit whose answer was lost settles itself.",
        "It cannot be asked for a task by an id of ours.",
    ),
    "calls_back": ("It calls back at the end of a task; it is polled all the same.", "No callback: it is polled."),
    "tells_cost": (
        "A finished task says what it cost, and that is what is booked.",
        "It does not say what a task cost: what is booked is the price of what was made.",
    ),
    "keyed_content": (
        "Clips are at its own address and need the key.",
        "Clips are at addresses that need no key.",
    ),
}
GUESSES = {
    "model": "the version of the model",
    SHOT_DURATION: "the length of a shot",
}


def page(provider: Provider, prices: PriceTable) -> str:
    """The page of a gateway, in Markdown."""
    lines = [
        f"# {provider.name}",
        "",
        "Made by `python -m rushes.deploy.gateway_pages` from `shared/providers`; do not edit it by hand.",
        f"Prices: table {prices.version}.",
        "",
        *_introduction(provider),
        "",
        "## What it does",
        *_table(("our model", "its name", "operations", "modes", "fields"), _model_rows(provider)),
        "",
        "A request that needs another field does not go here.",
        "",
        "## How far it can be held to account",
        *(f"- {texts[0] if getattr(provider, name) else texts[1]}" for name, texts in TRAITS.items()),
        "",
        "## Prices, US dollars",
        *_table(("our model", "kind", "price", "how sure", "checked", "source"), _price_rows(provider, prices)),
        "",
        "## What is guessed",
        *_guesses(provider, prices),
    ]
    return "\n".join(lines) + "\n"


def _introduction(provider: Provider) -> Iterator[str]:
    name = provider.name.upper()
    address = f"`{provider.address}`" if provider.address else f"no address of its own: `{name}_BASE_URL` gives it"
    # One with a path for each operation has no `submit_path`.
    submit = f" `POST {path}`," if (path := getattr(provider, "submit_path", None)) else ""
    keys = f"Key: `{name}_API_KEY`, or several: `{name}_API_KEYS`."
    yield f"Address: {address}. {keys} Calls:{submit} `GET {provider.query_path}`."
    yield ""
    yield " ".join((import_module(type(provider).__module__).__doc__ or "").split())
    yield ""
    yield "Written by:"
    yield from (f"- {source}, read on {day}" for source, day in provider.sources)


def _model_rows(provider: Provider) -> Iterator[tuple[str, ...]]:
    for model, support in provider.models.items():
        operations = [words for name, words in OPERATIONS.items() if name in support.operations]
        modes = [mode for mode in catalog.MODES if mode in support.modes]
        fields = ", ".join(f"`{field}`" for field in sorted(support.fields))
        yield f"`{model}`", f"`{support.model}`", ", ".join(operations), ", ".join(modes), fields


def _price_rows(provider: Provider, prices: PriceTable) -> Iterator[tuple[str, ...]]:
    for model in provider.models:
        for offer in catalog.offers(provider, model, prices):
            yield f"`{model}`", _kind(offer), *_price_cells(offer)


def _kind(offer: catalog.Offer) -> str:
    parts = [
        offer.mode,
        f"{offer.duration_s} s" if offer.duration_s else "",
        "" if offer.sound is None else "with sound" if offer.sound else "silent",
        "with voices" if offer.voices else "",
    ]
    return ", ".join(part for part in parts if part)


def _price_cells(offer: catalog.Offer) -> tuple[str, ...]:
    price = offer.price
    if price is None:
        return "**unknown**", "-", "-", "-"
    note = f"; {price.note}" if price.note else ""
    cost = f"{money.text(price.usd)} a {'clip' if price.per_clip else 'second'}"
    return cost, CONFIDENCES.get(price.confidence or "", "-") + note, str(price.checked or "-"), price.source or "-"


def _guesses(provider: Provider, prices: PriceTable) -> Iterator[str]:
    found = False
    for model, support in provider.models.items():
        if support.guessed:
            found = True
            names = ", ".join(GUESSES.get(field, f"`{field}`") for field in sorted(support.guessed))
            yield f"- `{model}`: no document gives the names under which it is told {names}."
    for model in provider.models:
        offers = catalog.offers(provider, model, prices)
        unsure = [offer for offer in offers if offer.price is None or offer.price.confidence != "documented"]
        if unsure:
            found = True
            yield f"- `{model}`: {len(unsure)} of {len(offers)} prices are unknown, or not from its own page."
    if not found:
        yield "Nothing: every name and every price is from its own documents."


def _table(names: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield from ("| " + " | ".join(cells) + " |" for cells in (names, ("---",) * len(names), *rows))


def pages() -> dict[str, str]:
    """The pages by file name."""
    prices = PriceTable.load()
    return {f"{name}.md": page(provider, prices) for name, provider in PROVIDERS.items()}


def main() -> None:
    """Write all pages, and remove those of gateways that are gone."""
    FOLDER.mkdir(exist_ok=True)
    written = pages()
    for file in FOLDER.glob("*.md"):
        if file.name not in written:
            file.unlink()
    for name, text in written.items():
        (FOLDER / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
