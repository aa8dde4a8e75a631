"""The settings of the sandbox, from an environment."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings; names in capitals are those of the environment."""

    task_s: tuple[float, float] = (4.0, 4.0)  # SANDBOX_TASK_SECONDS: "4", or "2-6" for anything between
    keys: tuple[str, ...] = ()  # SANDBOX_KEY: the bearer keys that are accepted; unset, any that starts with "sandbox"
    callback_deliveries: int = 2  # SANDBOX_CALLBACK_REPEATS: how often each callback is delivered in total
    webhook_secret: str = ""  # SANDBOX_WEBHOOK_SECRET: what Kling signs its callbacks with; unset, it does not sign
    balance_usd: Decimal = Decimal(1_000_000)  # SANDBOX_BALANCE_USD: what an account shows before anything is billed
    inputs: Path | None = None  # SANDBOX_INPUTS: the directory behind /inputs/

    def takes_s(self) -> float:
        """How long the next task takes, in seconds."""
        return random.uniform(*self.task_s)

    def knows(self, key: str) -> bool:
        """Whether a bearer key is accepted."""
        return key in self.keys if self.keys else key.startswith("sandbox")


def from_environ(environ: Mapping[str, str], inputs: Path | None = None) -> Settings:
    """Settings from the environment; raises ValueError for a malformed number."""
    low, _, high = environ.get("SANDBOX_TASK_SECONDS", "4").partition("-")
    directory = inputs or (Path(environ["SANDBOX_INPUTS"]) if environ.get("SANDBOX_INPUTS") else None)
    return Settings(
        task_s=(float(low), float(high or low)),
        keys=tuple(key.strip() for key in environ.get("SANDBOX_KEY", "").split(",") if key.strip()),
        callback_deliveries=int(environ.get("SANDBOX_CALLBACK_REPEATS", "2")),
        webhook_secret=environ.get("SANDBOX_WEBHOOK_SECRET", ""),
        balance_usd=Decimal(environ.get("SANDBOX_BALANCE_USD", "1000000")),
        inputs=directory,
    )
