"""The gateways by name. A new one is a file beside this and a line here (README.md)."""

from __future__ import annotations

from shared.providers.apimart import Apimart
from shared.providers.apimaster import Apimaster
from shared.providers.apimodels import Apimodels
from shared.providers.base import Provider
from shared.providers.evolink import Evolink
from shared.providers.newapi import Newapi

PROVIDERS: dict[str, Provider] = {
    provider.name: provider for provider in (Apimart(), Apimaster(), Apimodels(), Evolink(), Newapi())
}
