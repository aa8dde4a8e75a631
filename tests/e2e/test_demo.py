"""`rushes demo` as a stranger runs it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import av

GATEWAYS = {"apimart", "apimaster", "apimodels", "evolink", "kling", "newapi"}


def test_the_demo_brings_a_clip_home_through_every_gateway(tmp_path: Path) -> None:
    out = tmp_path / "clips"

    played = subprocess.run(
        [sys.executable, "-m", "rushes.shared.cli.main", "demo", "--out", str(out)],
        check=False,
        capture_output=True,
        text=True,
    )

    assert played.returncode == 0, played.stdout + played.stderr
    assert {clip.stem for clip in out.glob("*.mp4")} == GATEWAYS
    for clip in out.glob("*.mp4"):
        told = json.loads(clip.with_suffix(".json").read_text())
        assert hashlib.sha256(clip.read_bytes()).hexdigest() == told["result"]["sha256"]
        with av.open(str(clip)) as opened:
            assert sum(1 for _ in opened.decode(video=0)) > 20
