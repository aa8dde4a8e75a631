"""Options from which a job's request is made: a file and flags."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TextIO

import click

from rushes.shared.domain.job import State
from rushes.shared.providers import PROVIDERS

# The request's fields that have a flag; the others need a file.
FLAGS: dict[str, Callable[[str], Any]] = {
    "model": str,
    "prompt": str,
    "negative-prompt": str,
    "image-url": str,
    "last-image-url": str,
    "video-url": str,
    "character-orientation": str,
    "mode": str,
    "duration": int,
    "aspect-ratio": str,
    "provider": str,
    "max-cost-usd": str,
    "priority": int,
    "not-before": str,
    "start-before": str,
    "batch": str,
    "callback-url": str,
}
# Words for shell completion only; the service validates.
WORDS: dict[str, tuple[str, ...]] = {
    "model": ("kling-v3-motion-control", "kling-v2-6-motion-control", "kling-v3", "kling-v2-6"),
    "character-orientation": ("image", "video"),
    "mode": ("std", "pro", "4k"),
    "aspect-ratio": ("16:9", "9:16", "1:1"),
    "provider": ("auto", *PROVIDERS),
    "status": tuple(State),
}


def completions(name: str) -> Callable[..., list[str]]:
    """A function that completes what was typed for this option."""
    return lambda ctx, param, typed: [word for word in WORDS.get(name, ()) if word.startswith(typed)]


def job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add FILE and a flag for each simple field; a flag overrides the file."""
    for name, kind in reversed(FLAGS.items()):
        command = click.option(f"--{name}", type=kind, shell_complete=completions(name))(command)
    command = click.option("--sound/--no-sound", default=None)(command)
    return click.argument("file", type=click.File(), required=False)(command)


def request_of(file: TextIO | None, flags: dict[str, Any]) -> dict[str, Any]:
    """The request of a file, overridden by flags."""
    try:
        body = json.load(file) if file else {}
    except (ValueError, RecursionError):
        raise click.UsageError(f"{file.name if file else ''} is not JSON") from None
    if not isinstance(body, dict):
        raise click.UsageError("the file is not a JSON object")
    return {**body, **{name: value for name, value in flags.items() if value is not None}}
