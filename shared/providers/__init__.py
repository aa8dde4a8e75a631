"""The gateways by name. A new one is a file in this folder and a line here (README.md)."""

from __future__ import annotations

from rushes.shared.providers.apimart import Apimart
from rushes.shared.providers.apimaster import Apimaster
from rushes.shared.providers.apimodels import Apimodels
from rushes.shared.providers.base import Provider
from rushes.shared.providers.evolink import Evolink
from rushes.shared.providers.kling import Kling
from rushes.shared.providers.newapi import Newapi

PROVIDERS: dict[str, Provider] = {
    provider.name: provider for provider in (Apimart(), Apimaster(), Apimodels(), Evolink(), Kling(), Newapi())
}
