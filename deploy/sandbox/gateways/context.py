"""The parts that all gateways share, and the status of a task."""

from __future__ import annotations

from dataclasses import dataclass

from rushes.deploy.sandbox.gateways.billing import Billing
from rushes.deploy.sandbox.gateways.faults import Faults
from rushes.deploy.sandbox.gateways.reference_inputs import References
from rushes.deploy.sandbox.gateways.render import ClipRenderer
from rushes.deploy.sandbox.gateways.settings import Settings
from rushes.deploy.sandbox.gateways.signed_links import Links


@dataclass(frozen=True, slots=True)
class Context:
    """The parts that all gateways share."""

    billing: Billing
    faults: Faults
    links: Links
    references: References
    renderer: ClipRenderer
    settings: Settings


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """The status of a task: `state` is the word of the sandbox, `word` that of the gateway."""

    state: str
    word: str
    progress: int
    now: float
    url: str | None = None
    link_expires_at: float = 0
    failure: tuple[str, str] = ("", "")
    tells_cost: bool = True
