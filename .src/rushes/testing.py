"""Tests of your own against the sandbox: `rushes_sandbox` is a fixture of pytest, see deploy/testing.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from rushes.deploy.sandbox.testing import Sandbox


@pytest.fixture(scope="session")
def rushes_settings() -> Mapping[str, str]:
    """Settings of the stack: replace this fixture by one of yours to change them."""
    return {}


@pytest.fixture(scope="session")
def rushes_stack(tmp_path_factory: pytest.TempPathFactory, rushes_settings: Mapping[str, str]) -> Iterator[Sandbox]:
    """The sandbox of this session; it takes some seconds to start."""
    from rushes.deploy.sandbox.testing import running_sandbox  # not before a test asks for it

    with running_sandbox(tmp_path_factory.mktemp("rushes"), rushes_settings) as sandbox:
        yield sandbox


@pytest.fixture
def rushes_sandbox(rushes_stack: Sandbox) -> Iterator[Sandbox]:
    """The sandbox, without faults, and with bills that begin with this test."""
    rushes_stack.reset()
    yield rushes_stack
    rushes_stack.reset()
