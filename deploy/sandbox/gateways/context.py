"""What every player works with, and the news it brings of a task."""

from __future__ import annotations

from dataclasses import dataclass

from rushes.deploy.sandbox.gateways.billing import Billing
from rushes.deploy.sandbox.gateways.faults import Faults
from rushes.deploy.sandbox.gateways.reference_inputs import References
from rushes.deploy.sandbox.gateways.render import Studio
from rushes.deploy.sandbox.gateways.settings import Settings
from rushes.deploy.sandbox.gateways.signed_links import Links


@dataclass(frozen=True, slots=True)
class Context:
    """The parts behind the counter, shared by all gateways."""

    book: Billing
    faults: Faults
    links: Links
    references: References
    studio: Studio
    settings: Settings


@dataclass(frozen=True, slots=True)
class News:
    """How a task stands, to be put in its gateway's words; `state` is ours, `word` is theirs."""

    state: str
    word: str
    progress: int
    now: float
    url: str | None = None
    link_expires_at: float = 0
    failure: tuple[str, str] = ("", "")
