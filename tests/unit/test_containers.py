"""What goes into an image, and how compose runs it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text("utf-8"))["services"]


def is_in_the_build_context(path: str) -> bool:
    """As Docker reads .dockerignore: the last pattern that fits the path or a folder above it decides."""
    included = True
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        pattern = line.strip()
        if pattern and not pattern.startswith("#") and pattern_of(pattern.lstrip("!")).match(path):
            included = pattern.startswith("!")
    return included


def pattern_of(line: str) -> re.Pattern[str]:
    """One pattern of .dockerignore; unlike one of git it is anchored at the root unless it begins with **/."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", line.strip("/"))
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(known.get(part, re.escape(part)) for part in parts) + "(?:/.*)?$")


SECRET = (
    ".env",
    "deploy/.env",
    "deploy/.env.local",
    "a/b/.env",
    ".env.production",
    ".git/config",
    ".rushes/secrets.json",
)


@pytest.mark.parametrize("path", SECRET)
def test_the_build_context_holds_no_keys(path: str) -> None:
    assert not is_in_the_build_context(path)


@pytest.mark.parametrize("path", ["deploy/env.example", "deploy/Procfile", "shared/settings.py", "constraints.txt"])
def test_the_build_context_holds_what_is_installed(path: str) -> None:
    assert (ROOT / path).exists()
    assert is_in_the_build_context(path)


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def setting(file: Path, name: str) -> int:
    """Read, not imported: both modules load the settings of a process."""
    return int(file.read_text("utf-8").partition(name)[2].split("\n")[0].split(",")[0])


def test_each_process_is_given_the_time_that_it_takes_to_end() -> None:
    web, worker = ROOT / "deploy" / "gunicorn_config.py", ROOT / "worker" / "app.py"
    assert seconds(COMPOSE["web"]["stop_grace_period"]) > setting(web, "graceful_timeout = ")
    assert seconds(COMPOSE["worker"]["stop_grace_period"]) > setting(worker, '"worker_soft_shutdown_timeout": ')
    assert "stop_grace_period" in COMPOSE["scheduler"]


def test_the_settings_of_the_user_come_first() -> None:
    for name in ("web", "worker", "scheduler"):
        assert COMPOSE[name]["environment"]["REDIS_URL"] == "${REDIS_URL:-redis://redis:6379/0}"
    assert COMPOSE["web"]["ports"] == ["${PORT:-8000}:8000"]
    assert COMPOSE["web"]["environment"]["PORT"] == "8000"


def test_web_is_watched_and_not_replaced_while_redis_is_away() -> None:
    assert "/healthz" in COMPOSE["web"]["healthcheck"]["test"][-1]
