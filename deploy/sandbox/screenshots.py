"""The README's pictures, taken of the sandbox: `python -m rushes.deploy.sandbox.pictures`; needs Chromium."""

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
PATIENCE_S = 120
RUNNING_MS, SETTLED_MS = 6000, 1500
HALF_WAY = "() => [...document.querySelectorAll('.row progress')].filter(bar => bar.value > 15).length > 1"
SIZE_MAX_BYTES = 200_000
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 400, "height": 860}
COLUMNS = 130
COMMANDS = (
    'rushes submit --model kling-v2-6 --prompt "a lighthouse in a storm" --provider apimodels --wait > job.json',
    "rushes list --limit 6",
    "rushes doctor | tail -13",
)
# The doctor looks at shapes only; loopback and the sandbox's keys are none that would do outside.
AS_IF_PUBLIC = {
    "RUSHES_PUBLIC_URL": "https://rushes.example.com",
    "EVOLINK_API_KEY": "sk-sandbox-evolink",
    "NEWAPI_API_KEY": "sk-sandbox-newapi-",
}
TERMINAL = """<style>pre {{ margin: 0; padding: 18px 22px; width: max-content; background: #15181e; color: #d9dde4;
font: 14px/16.3px 'DejaVu Sans Mono', monospace; }}</style><pre>{code}</pre>"""
# Prices of the two gateways that document none, as an operator lays them over the table.
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

# A job of the pictures: its gateway, its request, and what goes wrong there.
Line = tuple[str, dict[str, Any], dict[str, Any] | None]


def cast(inputs_url: str) -> list[Line]:
    """What has come to an end, oldest first: made, failed, in doubt, and made by the second gateway."""
    v3, v26, v3_motion, v26_motion = models(inputs_url)
    picture = {"image_url": f"{inputs_url}/sample.jpg"}
    second = {"provider": ["evolink", "apimaster"]}
    return [
        ("apimodels", v26 | says("Sand dunes at sunset, the wind draws a line into the slopes"), None),
        ("evolink", v3_motion | says("She waves to the camera, soft morning light") | {"mode": "pro"}, None),
        ("apimart", v26_motion | says("A slow turn to the left, evening sun"), None),
        ("newapi", v3 | says("Rolling hills at dawn, a slow pan to the left") | {"duration": 10}, None),
        ("newapi", v3 | says("The portrait smiles, then looks out of the window") | picture, None),
        ("evolink", v3_motion | says("He turns and bows") | second, {"fault": "no_balance"}),
        ("newapi", v3 | says("A lighthouse keeper climbs the stairs") | {"mode": "pro"}, {"fault": "answer_lost"}),
        ("apimodels", v26 | says("A famous actor sells toothpaste"), {"fault": "fail_task", "policy": True}),
        ("apimodels", v26 | says("A full moon over the lake, mist upon the water") | {"duration": 10}, None),
    ]


def running(inputs_url: str) -> list[Line]:
    """What is under way while the list is looked at."""
    v3, _, v3_motion, v26_motion = models(inputs_url)
    return [
        ("apimart", v26_motion | says("The sailor salutes, wind in her hair"), None),
        ("newapi", v3 | says("Evening over the vineyard, kites in the wind") | {"duration": 10}, None),
        ("apimaster", v3_motion | says("The dance of the reference clip, in the rain"), None),
    ]


def models(inputs_url: str) -> tuple[dict[str, Any], ...]:
    """The beginnings of requests: words 3, words 2.6, motion 3, motion 2.6."""
    motion = {
        "image_url": f"{inputs_url}/sample.jpg",
        "video_url": f"{inputs_url}/sample.mp4",
        "character_orientation": "image",
    }
    words = [{"model": name} for name in ("kling-v3", "kling-v2-6")]
    return (*words, *({"model": f"{each['model']}-motion-control", **motion} for each in words))


def says(prompt: str) -> dict[str, Any]:
    return {"prompt": prompt}


class Set:
    """The stack before the camera."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.client = Client.connect(stack.url, stack.secrets.demo_key)

    def play(self, line: Line) -> str:
        """Enqueue one job at its gateway; gives its id."""
        gateway, request, fault = line
        if fault:
            self.break_next(gateway, fault)
        job_id = self.client.submit({"provider": gateway, **request})["id"]
        return str(self.wait(job_id, {"queued", "submitting"})["id"])

    def break_next(self, gateway: str, fault: Mapping[str, Any]) -> None:
        """Let this gateway fail its next call so."""
        body = json.dumps({"gateway": gateway, "times": 1, **fault}).encode()
        call = urllib.request.Request(f"{self.stack.gateways_url}/_sandbox/faults", body)  # noqa: S310 - our own
        urllib.request.urlopen(call, timeout=10).close()  # noqa: S310 - our own

    def settled(self, job_id: str) -> dict[str, Any]:
        """The job once it has ended, or waits for somebody to decide."""
        return self.wait(job_id, {"queued", "submitting", "running", "archiving"})

    def wait(self, job_id: str, states: set[str]) -> dict[str, Any]:
        """The job once it has left these states; raises TimeoutError."""
        give_up_at = time.monotonic() + PATIENCE_S
        while (job := self.client.get(job_id))["status"] in states:
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"{job_id} is still {job['status']}")
            time.sleep(0.1)
        return dict(job)


def main() -> None:
    """Play a day's work in the sandbox and take every picture."""
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rushes-pictures-") as scratch:
        play(Path(scratch))
    for path in sorted(OUT.iterdir()):
        print(f"{path.name}  {path.stat().st_size / 1000:.0f} kB")
        if path.stat().st_size > SIZE_MAX_BYTES:
            sys.exit(f"{path.name} is larger than {SIZE_MAX_BYTES} bytes")


def play(scratch: Path) -> None:
    """The sandbox from its start to its last picture."""
    prices = scratch / "prices.toml"
    prices.write_text(PRICES, encoding="utf-8")
    settings = {"SANDBOX_TASK_SECONDS": TASK_S, "RUSHES_PRICES_FILE": str(prices)}
    with Stack(scratch / "stack", extra_env=settings) as stack, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        save_screen(browser, shoot_demo(stack, scratch / "clips"), "demo.png")
        played = Set(stack)
        jobs = [played.settled(job_id) for job_id in [played.play(line) for line in cast(stack.inputs_url)]]
        shoot_console(browser, played, jobs)
        save_screen(browser, shoot_shell(stack, scratch), "shell.png")


# --- the console


def shoot_console(browser: Browser, played: Set, jobs: list[dict[str, Any]]) -> None:
    """The pages as a person sees them."""
    url = played.stack.url
    whole = next(job["id"] for job in jobs if job["provider"] == "evolink")
    refused = next(job["id"] for job in jobs if job["status"] == "failed")
    with visit(browser, played.stack, viewport=DESKTOP) as page:
        page.goto(f"{url}/jobs/{whole}")
        seek(page, "#clip", 2.4)
        save(page, "job.png")
        for line in running(played.stack.inputs_url):
            played.play(line)
        page.goto(url)
        first_frames(page)
        with suppress(PlaywrightTimeout):  # how soon a gateway is asked is learned from the jobs before
            page.wait_for_function(HALF_WAY, timeout=RUNNING_MS)
        save(page, "jobs.png")
        page.goto(f"{url}/gateways")
        save(page, "gateways.png")
    with visit(browser, played.stack, viewport=PHONE, color_scheme="dark") as page:
        page.goto(f"{url}/jobs/{refused}")
        save(page, "phone.png")


def chromium() -> str:
    """Where it is; raises FileNotFoundError where there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise FileNotFoundError("no Chromium on PATH: the pictures cannot be taken")
    return found


@contextmanager
def visit(browser: Browser, stack: Stack, **options: Any) -> Iterator[Page]:
    """A page of somebody who is signed in."""
    with browser.new_context(**options) as context:
        page = context.new_page()
        page.goto(f"{stack.url}/sign-in")
        page.get_by_label("API key").fill(stack.secrets.demo_key)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(lambda at: "/sign-in" not in at)
        yield page


def seek(page: Page, video: str, at_s: float) -> None:
    """Show the video's frame of that moment, and wait until nothing turns any more."""
    page.locator(video).evaluate(
        "(video, at) => new Promise(done => { video.onseeked = done; video.currentTime = at; })", at_s
    )
    page.wait_for_function("selector => document.querySelector(selector).readyState === 4", arg=video)
    page.wait_for_timeout(SETTLED_MS)


def first_frames(page: Page) -> None:
    """Wait until each clip of the list that is in sight shows its first frame."""
    page.wait_for_function(
        "() => [...document.querySelectorAll('.row video')].every(video => video.readyState >= 2"
        " || video.getBoundingClientRect().top > innerHeight)"
    )


def save(page: Page, name: str) -> None:
    """What is in the window, as a PNG."""
    keep(page.screenshot(animations="disabled"), name)


def keep(png: bytes, name: str) -> None:
    """Write a picture, as small as it can be without loss."""
    Image.open(io.BytesIO(png)).convert("RGB").save(OUT / name, optimize=True)


# --- the shell


def shoot_demo(stack: Stack, out: Path) -> Console:
    """The table that `rushes demo` ends with."""
    played = demo.play(stack, ("sample.jpg", "sample.mp4"), Console(file=io.StringIO()))
    passed = [demo.check(scene, job, stack, out) for scene, job in played]
    console = screen()
    console.print("[bold green]$[/] make demo")
    demo.show(played, passed, console)
    return console


def shoot_shell(stack: Stack, scratch: Path) -> Console:
    """What a few commands print."""
    console = screen()
    key = {"RUSHES_URL": stack.url, "RUSHES_API_KEY": stack.secrets.demo_key}
    for line in COMMANDS:
        console.print(f"[bold green]$[/] {line}", highlight=False)
        console.print(Text.from_ansi(said(line, {**stack.env, **key, **AS_IF_PUBLIC}, scratch)))
    return console


def screen() -> Console:
    """What keeps what is printed, in colours."""
    return Console(record=True, width=COLUMNS, force_terminal=True, color_system="truecolor", file=io.StringIO())


def said(line: str, environ: Mapping[str, str], folder: Path) -> str:
    """What a command prints on both outputs."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    looks = {"FORCE_COLOR": "1", "TTY_INTERACTIVE": "0", "COLUMNS": str(COLUMNS), "PATH": path}
    outputs: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(line, shell=True, check=False, cwd=folder, env={**environ, **looks}, **outputs)  # noqa: S602
    return str(done.stdout).rstrip("\n") + "\n"


def save_screen(browser: Browser, console: Console, name: str) -> None:
    """What was printed, as a PNG."""
    with browser.new_context(viewport={"width": 2000, "height": 1600}) as context:
        page = context.new_page()
        page.set_content(console.export_html(theme=MONOKAI, code_format=TERMINAL, inline_styles=True))
        keep(page.locator("pre").screenshot(), name)


if __name__ == "__main__":
    main()
