"""Accounts that have jobs and are in no setting: nothing is asked or sent for these jobs until the account is back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rushes.shared.domain import accounts
from rushes.shared.gateway_settings import GatewaySettings
from rushes.shared.ledger.ledger import Ledger


@dataclass(frozen=True, slots=True)
class MissingAccount:
    """An account that is in no setting, and how many jobs wait for it."""

    gateway: str
    account: str
    jobs: int

    @property
    def advice(self) -> str:
        """What to do about it."""
        setting = f"{self.gateway.upper()}_API_KEY"
        if self.account == accounts.DEFAULT:
            return f"set {setting}, or add {accounts.DEFAULT}:<that key> to {setting}S, and restart"
        return f"add {self.account}:<its key> to {setting}S, with :drain if it is to go, and restart"


def missing_accounts(ledger: Ledger, gateways: Mapping[str, GatewaySettings]) -> list[MissingAccount]:
    """The accounts that are in no setting and have unfinished jobs. Raises LedgerUnavailable."""
    return missing_among(ledger.overview.jobs_by_account(), gateways)


def missing_among(jobs: Mapping[str, int], gateways: Mapping[str, GatewaySettings]) -> list[MissingAccount]:
    """The same, where the jobs of each account (accounts.label) are known."""
    known = {accounts.label(name, account.name) for name, each in gateways.items() for account in each.accounts}
    return [
        MissingAccount(*accounts.of_label(name), count) for name, count in sorted(jobs.items()) if name not in known
    ]
