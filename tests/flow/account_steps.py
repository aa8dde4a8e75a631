"""Worlds in which a gateway has several accounts."""

from __future__ import annotations

from typing import Any

from world import World


def keys_of(world: World, *names: str) -> str:
    return ",".join(f"{name.partition(':')[0]}:{account_key(world, name)}" for name in names)


def account_key(world: World, name: str) -> str:
    name, _, drain = name.partition(":")
    return f"{world.key}-{name}" + (f":{drain}" if drain else "")


def continued(world: World, before: World) -> World:
    """The world after another one: the gateways know it by the same keys, and its clock goes on."""
    world.key, world.began_at = before.key, before.began_at
    world.clock.__dict__ = before.clock.__dict__
    return world


def submitted_by(world: World, gateway: str) -> list[str]:
    """The account of each task that the gateway has, by its own books."""
    return [task["api_key"].rpartition("-")[2] for task in world.tasks(gateway)]


def fault(world: World, gateway: str, name: str, what: str, **options: Any) -> None:
    world.fault(gateway, what, api_key=account_key(world, name), **options)
