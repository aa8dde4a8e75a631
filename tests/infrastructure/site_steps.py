"""What can be seen of a running stack from outside."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from patience import PATIENCE_S
from whole_stack import Site


def log_of(site: Site) -> Path:
    return site.stack.data_dir / "stack.log"


def lines_since(site: Site, start: int) -> list[str]:
    return log_of(site).read_text("utf-8")[start:].splitlines()


def alive(site: Site) -> dict[str, Any]:
    """Every process, the workers of the launcher too."""
    pids = site.stack.processes()
    listed = subprocess.run(["pgrep", "-P", str(pids["worker"])], capture_output=True, text=True, check=False)
    return {**pids, "workers": sorted(listed.stdout.split())}


def readiness(site: Site) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"{site.stack.url}/readyz", timeout=PATIENCE_S) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)
