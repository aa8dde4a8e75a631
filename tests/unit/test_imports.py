"""Who may import whom: the picture of the architecture, kept true."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOUSES = ("shared", "worker", "webhook_receiver", "deploy")

# What worker and receiver both do with all the parts: it stands on the wiring as they do.
SERVICES = (
    "shared.operations.task_query",
    "shared.operations.auditor",
    "shared.operations.doctor",
    "shared.operations.recovery",
    "shared.operations.retry",
)
# What reaches outside has one door each: (who is imported, who alone may).
DOORS: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
    (("pycurl",), ("shared.http",)),
    (("requests", "urllib3"), ("shared.client",)),
    (("redis",), ("shared.ledger", "shared.services")),
    (("boto3", "botocore", "s3transfer"), ("shared.storage",)),
    (("celery",), ("worker",)),
    (("flask", "flask_smorest"), ("webhook_receiver", "deploy.sandbox")),
    (("shared.services",), ("worker", "webhook_receiver", "shared.cli.main", "deploy", *SERVICES)),
    (SERVICES, ("worker", "webhook_receiver", "shared.cli.main", *SERVICES)),
    (("worker",), ("worker",)),
    (("webhook_receiver",), ("webhook_receiver",)),
    (("deploy",), ("deploy", "shared.cli.main")),
]
# The inner rooms know of nothing outside: (who imports, all that it may of what is ours).
ROOMS: list[tuple[str, tuple[str, ...]]] = [
    ("shared.domain", ("shared.domain",)),
    ("shared.providers", ("shared.domain", "shared.providers")),
    ("shared.ledger", ("shared.domain", "shared.ledger")),
]


def within(name: str, rooms: tuple[str, ...]) -> bool:
    return any(name == room or name.startswith(room + ".") for room in rooms)


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file names, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            # `from shared import wiring` names a module as much as `import shared.wiring` does
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


IMPORTS = sorted(
    {(module_of(path), name) for house in HOUSES for path in (ROOT / house).rglob("*.py") for name in imports_of(path)}
)


def test_the_files_are_found() -> None:
    assert ("shared.ledger.redis_store", "redis") in IMPORTS
    assert ("shared.ledger.ledger", "shared.domain.schedule") in IMPORTS


@pytest.mark.parametrize(("what", "doors"), DOORS, ids=lambda names: names[0])
def test_what_reaches_outside_has_one_door(what: tuple[str, ...], doors: tuple[str, ...]) -> None:
    assert [pair for pair in IMPORTS if within(pair[1], what) and not within(pair[0], doors)] == []


@pytest.mark.parametrize(("room", "known"), ROOMS)
def test_an_inner_room_knows_of_nothing_outside(room: str, known: tuple[str, ...]) -> None:
    ours = [(who, what) for who, what in IMPORTS if within(who, (room,)) and within(what, HOUSES)]
    assert [pair for pair in ours if not within(pair[1], known)] == []


@pytest.mark.parametrize("room", ["shared.domain", "shared.providers"])
def test_what_is_pure_stands_on_the_standard_library_alone(room: str) -> None:
    theirs = {what.partition(".")[0] for who, what in IMPORTS if within(who, (room,))}
    assert theirs - sys.stdlib_module_names == {"shared"}
