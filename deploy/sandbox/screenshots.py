"""Takes the screenshots of the README in the sandbox: `python -m rushes.deploy.sandbox.screenshots`; needs Chromium."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from rushes.deploy.sandbox import demo
from rushes.deploy.sandbox.stack import Stack
from rushes.shared.client import Client

OUT = Path(__file__).resolve().parents[1] / "pictures"
TASK_S = "7-9"
TIMEOUT_S = 120
RUNNING_MS, SETTLED_MS = 6000, 1500
IN_PROGRESS_JS = "() => [...document.querySelectorAll('.row progress')].filter(bar => bar.value > 15).length > 1"
SIZE_MAX_BYTES = 200_000
# The shell without windows draws the same pages for a third of the work.
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 400, "height": 860}
COLUMNS = 130
COMMANDS = (
    'rushes submit --model kling-v2-6 --prompt "a lighthouse in a storm" --provider apimodels --wait > job.json',
    "rushes list --limit 6",
    "rushes doctor | tail -13",
)
# The doctor checks the shape of settings; loopback addresses and sandbox keys would not pass as those of production.
PUBLIC_SETTINGS = {
    "RUSHES_PUBLIC_URL": "https://rushes.example.com",
    "EVOLINK_API_KEY": "sk-sandbox-evolink",
    "NEWAPI_API_KEY": "sk-sandbox-newapi-",
}
TERMINAL = """<style>pre {{ margin: 0; padding: 18px 22px; width: max-content; background: #15181e; color: #d9dde4;
font: 14px/16.3px 'DejaVu Sans Mono', monospace; }}</style><pre>{code}</pre>"""
# Prices for the two gateways that document none, as an operator would set them.
PRICES = """version = "2026-11-20, with own prices"
[[price]]
gateway = "apimart"
model = "kling-v2-6-motion-control"
usd_per_second = "0.10"
[[price]]
gateway = "newapi"
model = "kling-v3"
usd_per_second = "0.084"
"""

# A batch whose budget is enough for three of its jobs.
BATCH = [
    {"model": "kling-v3", "provider": "kling", "prompt": f"A paper boat on the river, shot {number}"}
    for number in range(1, 6)
]

# A job of the screenshots: its gateway, its request, and its fault.
JobSpec = tuple[str, dict[str, Any], dict[str, Any] | None]


def finished_jobs(inputs_url: str) -> list[JobSpec]:
    """The jobs that have ended, oldest first: completed, failed, unconfirmed, and completed by the second gateway."""
    v3, v26, v3_motion, v26_motion = models(inputs_url)
    picture = {"image_url": f"{inputs_url}/sample.jpg"}
    second = {"provider": ["evolink", "apimaster"]}
    return [
        ("apimodels", v26 | prompt_of("Sand dunes at sunset, the wind draws a line into the slopes"), None),
        ("evolink", v3_motion | prompt_of("She waves to the camera, soft morning light") | {"mode": "pro"}, None),
        ("apimart", v26_motion | prompt_of("A slow turn to the left, evening sun"), None),
        ("newapi", v3 | prompt_of("Rolling hills at dawn, a slow pan to the left") | {"duration": 10}, None),
        ("newapi", v3 | prompt_of("The portrait smiles, then looks out of the window") | picture, None),
        ("evolink", v3_motion | prompt_of("He turns and bows") | second, {"fault": "no_balance"}),
        ("newapi", v3 | prompt_of("A lighthouse keeper climbs the stairs") | {"mode": "pro"}, {"fault": "answer_lost"}),
        ("apimodels", v26 | prompt_of("A famous actor sells toothpaste"), {"fault": "fail_task", "policy": True}),
        ("apimodels", v26 | prompt_of("A full moon over the lake, mist upon the water") | {"duration": 10}, None),
    ]


def running_jobs(inputs_url: str) -> list[JobSpec]:
    """The jobs that run while the list is shown."""
    v3, _, v3_motion, v26_motion = models(inputs_url)
    return [
        ("apimart", v26_motion | prompt_of("The sailor salutes, wind in her hair"), None),
        ("newapi", v3 | prompt_of("Evening over the vineyard, kites in the wind") | {"duration": 10}, None),
        ("apimaster", v3_motion | prompt_of("The dance of the reference clip, in the rain"), None),
    ]


def models(inputs_url: str) -> tuple[dict[str, Any], ...]:
    """The beginnings of requests: text v3, text v2.6, motion v3, motion v2.6."""
    motion = {
        "image_url": f"{inputs_url}/sample.jpg",
        "video_url": f"{inputs_url}/sample.mp4",
        "character_orientation": "image",
    }
    texts = [{"model": name} for name in ("kling-v3", "kling-v2-6")]
    return (*texts, *({"model": f"{text['model']}-motion-control", **motion} for text in texts))


def prompt_of(prompt: str) -> dict[str, Any]:
    return {"prompt": prompt}


class Session:
    """A running stack, and a client of it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.client = Client.connect(stack.url, stack.secrets.demo_key)

    def enqueue(self, spec: JobSpec) -> str:
        """Enqueue a job at its gateway and return its id."""
        gateway, request, fault = spec
        if fault:
            self.arm_fault(gateway, fault)
        job_id = self.client.submit({"provider": gateway, **request})["id"]
        return str(self.wait(job_id, {"queued", "submitting"})["id"])

    def arm_fault(self, gateway: str, fault: Mapping[str, Any]) -> None:
        """Arm a fault for the next call to this gateway."""
        body = json.dumps({"gateway": gateway, "times": 1, **fault}).encode()
        call = urllib.request.Request(f"{self.stack.gateways_url}/_sandbox/faults", body)  # noqa: S310 - our own
        urllib.request.urlopen(call, timeout=10).close()  # noqa: S310 - our own

    def wait_settled(self, job_id: str) -> dict[str, Any]:
        """The job once it has ended, or is unconfirmed."""
        return self.wait(job_id, {"queued", "submitting", "running", "archiving"})

    def wait(self, job_id: str, states: set[str]) -> dict[str, Any]:
        """The job once it has left these states; raises TimeoutError."""
        give_up_at = time.monotonic() + TIMEOUT_S
        while (job := self.client.get(job_id))["status"] in states:
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"{job_id} is still {job['status']}")
            time.sleep(0.1)
        return dict(job)


def main() -> None:
    """Run jobs in the sandbox and take every screenshot."""
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rushes-pictures-") as scratch:
        take_screenshots(Path(scratch))
    for path in sorted(OUT.iterdir()):
        print(f"{path.name}  {path.stat().st_size / 1000:.0f} kB")
        if path.stat().st_size > SIZE_MAX_BYTES:
            sys.exit(f"{path.name} is larger than {SIZE_MAX_BYTES} bytes")


def take_screenshots(scratch: Path) -> None:
    """Start the sandbox, run the jobs and take the screenshots."""
    prices = scratch / "prices.toml"
    prices.write_text(PRICES, encoding="utf-8")
    settings = {"SANDBOX_TASK_SECONDS": TASK_S, "RUSHES_PRICES_FILE": str(prices)}
    with Stack(scratch / "stack", extra_env=settings) as stack, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        save_screen(browser, shoot_demo(stack, scratch / "clips"), "demo.png")
        session = Session(stack)
        job_ids = [session.enqueue(spec) for spec in finished_jobs(stack.inputs_url)]
        jobs = [session.wait_settled(job_id) for job_id in job_ids]
        shoot_console(browser, session, jobs)
        save_screen(browser, shoot_shell(stack, scratch), "shell.png")


# --- the console


def shoot_console(browser: Browser, session: Session, jobs: list[dict[str, Any]]) -> None:
    """Screenshots of the console."""
    url = session.stack.url
    completed = next(job["id"] for job in jobs if job["provider"] == "evolink")
    refused = next(job["id"] for job in jobs if job["status"] == "failed")
    with signed_in_page(browser, session.stack, viewport=DESKTOP) as page:
        page.goto(f"{url}/jobs/{completed}")
        seek(page, "#clip", 2.4)
        save(page, "job.png")
        for spec in running_jobs(session.stack.inputs_url):
            session.enqueue(spec)
        page.goto(url)
        first_frames(page)
        with suppress(PlaywrightTimeout):  # the time of the first poll is learned from earlier jobs
            page.wait_for_function(IN_PROGRESS_JS, timeout=RUNNING_MS)
        save(page, "jobs.png")
        batch_id = session.client.submit_batch(BATCH, max_cost_usd="1.30")["id"]
        page.goto(f"{url}/gateways")
        save(page, "gateways.png")
        page.goto(f"{url}/batches/{batch_id}")
        save(page, "batch.png")
    with signed_in_page(browser, session.stack, viewport=PHONE, color_scheme="dark") as page:
        page.goto(f"{url}/jobs/{refused}")
        save(page, "phone.png")


def chromium() -> str:
    """The path of Chromium; raises FileNotFoundError where there is none."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        raise FileNotFoundError("no Chromium on PATH, so no screenshots can be taken")
    return path


@contextmanager
def signed_in_page(browser: Browser, stack: Stack, **options: Any) -> Iterator[Page]:
    """A browser page with a signed-in session."""
    with browser.new_context(**options) as context:
        page = context.new_page()
        page.goto(f"{stack.url}/sign-in")
        page.get_by_label("API key").fill(stack.secrets.demo_key)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(lambda at: "/sign-in" not in at)
        yield page


def seek(page: Page, video: str, at_s: float) -> None:
    """Show the frame of the video at that moment, and wait until the player has settled."""
    page.locator(video).evaluate(
        "(video, at) => new Promise(done => { video.onseeked = done; video.currentTime = at; })", at_s
    )
    page.wait_for_function("selector => document.querySelector(selector).readyState === 4", arg=video)
    page.wait_for_timeout(SETTLED_MS)


def first_frames(page: Page) -> None:
    """Wait until every visible clip of the list shows its first frame."""
    page.wait_for_function(
        "() => [...document.querySelectorAll('.row video')].every(video => video.readyState >= 2"
        " || video.getBoundingClientRect().top > innerHeight)"
    )


def save(page: Page, name: str) -> None:
    """Save the window as a PNG."""
    save_png(page.screenshot(animations="disabled"), name)


def save_png(png: bytes, name: str) -> None:
    """Write a PNG, as small as possible without loss."""
    Image.open(io.BytesIO(png)).convert("RGB").save(OUT / name, optimize=True)


# --- the shell


def shoot_demo(stack: Stack, out: Path) -> Console:
    """The table that `rushes demo` ends with."""
    results = demo.run_jobs(stack, ("sample.jpg", "sample.mp4"), Console(file=io.StringIO()))
    passed = [demo.check(spec, job, stack, out) for spec, job in results]
    console = screen()
    console.print("[bold green]$[/] make demo")
    demo.print_table(results, passed, console)
    return console


def shoot_shell(stack: Stack, scratch: Path) -> Console:
    """The output of a few commands."""
    console = screen()
    key = {"RUSHES_URL": stack.url, "RUSHES_API_KEY": stack.secrets.demo_key}
    for command in COMMANDS:
        console.print(f"[bold green]$[/] {command}", highlight=False)
        console.print(Text.from_ansi(command_output(command, {**stack.env, **key, **PUBLIC_SETTINGS}, scratch)))
    return console


def screen() -> Console:
    """A console that records its output in colour."""
    return Console(record=True, width=COLUMNS, force_terminal=True, color_system="truecolor", file=io.StringIO())


def command_output(command: str, environ: Mapping[str, str], folder: Path) -> str:
    """What a command prints, stdout and stderr together."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    terminal = {"FORCE_COLOR": "1", "TTY_INTERACTIVE": "0", "COLUMNS": str(COLUMNS), "PATH": path}
    outputs: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(command, shell=True, check=False, cwd=folder, env={**environ, **terminal}, **outputs)  # noqa: S602
    return str(done.stdout).rstrip("\n") + "\n"


def save_screen(browser: Browser, console: Console, name: str) -> None:
    """Save the recorded output as a PNG."""
    with browser.new_context(viewport={"width": 2000, "height": 1600}) as context:
        page = context.new_page()
        page.set_content(console.export_html(theme=MONOKAI, code_format=TERMINAL, inline_styles=True))
        save_png(page.locator("pre").screenshot(), name)


if __name__ == "__main__":
    main()
