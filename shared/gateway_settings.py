"""The settings of a gateway: its address, its caps, and the accounts that we have there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from marshmallow import ValidationError, fields

from rushes.shared.domain.accounts import DEFAULT
from rushes.shared.providers.access import Access

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
KEY = re.compile(r"[!-~]+")
DRAIN = "drain"


class AccountMissing(Exception):
    """A job's account is in no setting: the job waits, and no other account's key is used for it."""

    def __init__(self, gateway: str, account: str) -> None:
        super().__init__(f"account {account} of {gateway} is missing in the settings")
        self.gateway, self.account = gateway, account


@dataclass(frozen=True, slots=True)
class Account:
    """One account at a gateway; `drain`: it takes no new submit, and is asked for the jobs that it has."""

    name: str
    key: str = field(repr=False)
    drain: bool = False


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """The settings of an enabled gateway; the caps are of each account."""

    name: str
    accounts: tuple[Account, ...]
    base_url: str
    max_in_flight: int
    submits_per_minute: int
    webhook_secret: str | None = field(default=None, repr=False)
    """What it signs its callbacks with; None where it signs none."""
    quota_per_usd: Decimal = Decimal(500_000)
    """What a New-API site counts for a dollar; of no meaning for other gateways."""
    key_name: str = ""
    """The setting that holds the keys."""

    @property
    def open_accounts(self) -> tuple[Account, ...]:
        """Those that take new submits."""
        return tuple(account for account in self.accounts if not account.drain)

    @property
    def open_names(self) -> tuple[str, ...]:
        return tuple(account.name for account in self.open_accounts)

    def account(self, name: str) -> Account:
        """The account of that name; raises AccountMissing."""
        for account in self.accounts:
            if account.name == name:
                return account
        raise AccountMissing(self.name, name)

    def access(self, account: Account, base_url: str | None = None) -> Access:
        """The gateway's address, or another one of it, with the account's key."""
        return Access(base_url or self.base_url, account.key, self.quota_per_usd)


class AccountKeys(fields.Field[tuple[Account, ...]]):
    """`name:key` or `name:key:drain`, comma separated. No error shows a key.

    A key may have colons: only a `:drain` at the end is a word of ours.
    """

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> tuple[Account, ...]:
        accounts = tuple(_account(part.strip()) for part in value.split(",") if part.strip())
        if not accounts:
            raise ValidationError("give name:key or name:key:drain, comma separated")
        if len({account.name for account in accounts}) < len(accounts):
            raise ValidationError("two accounts have the same name; give each its own")
        if len({account.key for account in accounts}) < len(accounts):
            raise ValidationError("two accounts have the same key; its caps would count twice")
        return accounts


def _account(text: str) -> Account:
    name, _, rest = text.partition(":")
    key = rest.removesuffix(f":{DRAIN}")
    if not NAME.fullmatch(name):
        raise ValidationError("give name:key or name:key:drain, comma separated; a name has letters, digits, _ . -")
    if not KEY.fullmatch(key) or key in (DRAIN, ":"):
        raise ValidationError(f"account {name} has no key, or one with a space or another character no key can have")
    return Account(name, key, drain=key != rest)


def single(key: str) -> tuple[Account, ...]:
    """The account of a gateway's single key."""
    return (Account(DEFAULT, key),)
