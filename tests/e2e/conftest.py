"""One stack for the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from whole_stack import Site

from rushes.deploy.sandbox.stack import Stack


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    data: Path = tmp_path_factory.mktemp("stack")
    with Stack(data, extra_env={"SANDBOX_TASK_SECONDS": "2"}) as stack:
        yield Site(stack)
