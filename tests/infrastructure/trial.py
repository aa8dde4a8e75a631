"""Jobs on servers of others: all end, each clip is in the bucket, and the gateways' books have each task once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from typing import Any

from patience import PATIENCE_S
from site_steps import lines_since
from whole_stack import Site

from rushes.shared.client import ENDED, ApiError

USUAL = {"SANDBOX_TASK_SECONDS": "2", "RUSHES_WORKER_PROCESSES": "2"}


class Trial:
    """A site's jobs."""

    def __init__(self, site: Site) -> None:
        self.site, self.jobs = site, list[str]()

    def submit(self, moment: str, pairs: int = 3) -> list[str]:
        """Jobs that are heard of by callback, and as many that are polled."""
        made = [
            job for n in range(pairs) for job in (self.site.text(f"{moment} {n}"), self.site.motion(f"{moment} m{n}"))
        ]
        self.jobs += made
        return made

    def judge(self) -> list[dict[str, Any]]:
        """Lost 0, billed twice 0, and nothing at the gateways that no job tells of."""
        ended = [self._end_of(job) for job in self.jobs]
        assert Counter(job["status"] for job in ended) == {"completed": len(self.jobs)}, ended
        tasks = [attempt["task_id"] for job in ended for attempt in job["attempts"] if attempt["task_id"]]
        billed = Counter(bill["task_id"] for bill in self.site.books("bills"))
        assert billed == dict.fromkeys(tasks, 1), (billed, tasks)
        assert len(tasks) == len(self.jobs)
        # Doctor calls each gateway at its bare address, which no document allows either.
        violations = [each for each in self.site.books("violations") if each["problem"] != "Invalid URL (GET /)"]
        assert violations == [], violations
        assert [line for line in lines_since(self.site, 0) if "Traceback" in line or "Unrecoverable" in line] == []
        return ended

    def _end_of(self, job_id: str) -> dict[str, Any]:
        """The job at its end; where Redis was lost nobody knows it for a while."""
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            with suppress(ApiError):
                job = self.site.insist(lambda: self.site.client.get(job_id))
                if job["status"] in ENDED:
                    return dict(job)
            time.sleep(0.2)
        raise AssertionError(f"{job_id} did not come to an end: {self.site.client.get(job_id)}")


def bad_findings(site: Site) -> list[dict[str, Any]]:
    """What `rushes doctor` calls bad, but for the address that only this machine can reach."""
    command = [sys.executable, "-m", "rushes.shared.cli.main", "doctor", "--json"]
    done = subprocess.run(command, env=site.stack.env, capture_output=True, text=True, check=False)
    bad = [finding for finding in json.loads(done.stdout) if finding["verdict"] == "bad"]
    return [finding for finding in bad if finding["name"] != "public_url"]


def fetch(link: str) -> tuple[bytes, dict[str, str]]:
    """What anybody gets at a link."""
    with urllib.request.urlopen(link, timeout=PATIENCE_S) as answer:
        return answer.read(), {name.lower(): value for name, value in answer.headers.items()}
