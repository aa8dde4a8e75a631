"""Keeps named commands running: one that dies is started again, and none outlives the supervisor.

honcho reads the Procfile and prints the lines; its manager is not used, for it ends everything when one process ends.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self, TextIO

from honcho.colour import get_colours
from honcho.environ import parse_procfile
from honcho.printer import Message, Printer

from rushes.deploy.sandbox import process_reaper

PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0
SHORT_LIFE_S = 2.0  # who dies younger than this is started again ever more slowly
GRACE_S = 10.0

Write = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Command:
    """What to run; `env` is the whole environment, None for this process's own."""

    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    cwd: Path | None = None


def procfile(path: Path, env: Mapping[str, str] | None = None) -> dict[str, Command]:
    """The commands of a Procfile, by name, each to run here, through a shell that it replaces."""
    lines = parse_procfile(path.read_text(encoding="utf-8")).processes
    return {name: Command(["/bin/sh", "-c", f"exec {line}"], env) for name, line in lines.items()}


class Supervisor:
    """Runs the commands from `start` to `stop`; every output gets their lines, each after its command's name."""

    def __init__(
        self, commands: Mapping[str, Command], outputs: Iterable[TextIO] = (), pause_s: float = PAUSE_S
    ) -> None:
        lines = LineWriter(outputs, width=max(map(len, commands), default=0))
        self._reaper = ProcessReaper()
        self._kept = {
            name: SupervisedProcess(command, lines.writer(name), self._reaper, pause_s)
            for name, command in commands.items()
        }

    def start(self) -> None:
        """Start every command, in their order; raises OSError where one cannot be run at all."""
        try:
            for kept in self._kept.values():
                kept.start()
        except OSError:
            self.stop(grace_s=0)
            raise

    def stop(self, grace_s: float = GRACE_S) -> None:
        """Ask all of them to end, and kill what is left after the grace."""
        for kept in self._kept.values():
            kept.ask_to_end()
        give_up_at = time.monotonic() + grace_s
        for kept in self._kept.values():
            kept.end(max(0.0, give_up_at - time.monotonic()))
        self._reaper.close()

    def pids(self) -> dict[str, int]:
        """The process of each command; one that is between two lives is left out."""
        pids = {name: kept.pid for name, kept in self._kept.items()}
        return {name: pid for name, pid in pids.items() if pid is not None}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class SupervisedProcess:
    """One command, kept alive by a thread that waits for its end; the child leads a process group of its own."""

    def __init__(self, command: Command, write: Write, reaper: ProcessReaper, pause_s: float) -> None:
        self._command, self._write, self._reaper = command, write, reaper
        self._pause_s = self._first_pause_s = pause_s
        self._ending, self._lock = threading.Event(), threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, daemon=True)

    @property
    def pid(self) -> int | None:
        """The living child."""
        child = self._child
        return child.pid if child and child.returncode is None else None

    def start(self) -> None:
        """Start the child and keep it from now on."""
        self._child = self._spawn()
        self._thread.start()

    def ask_to_end(self) -> None:
        """Keep it no longer, and tell it so."""
        with self._lock:
            self._ending.set()
            if self._child:
                self._child.terminate()

    def end(self, grace_s: float) -> None:
        """Return once it is gone; after the grace it is killed with all its group."""
        if not self._child:
            return
        self._thread.join(grace_s)
        while self._thread.is_alive():
            _kill_group(self._child.pid)
            self._thread.join(PAUSE_S)

    def _keep(self) -> None:
        while not self._ending.is_set():
            self._live()
            self._ending.wait(self._pause_s)
            with self._lock:
                if not self._ending.is_set():
                    self._child = self._spawn()

    def _live(self) -> None:
        child, born_at = self._child, time.monotonic()
        if child is None or child.stdout is None:
            return
        pump = threading.Thread(target=self._pump, args=(child.stdout,), daemon=True)
        pump.start()
        status = child.wait()
        _kill_group(child.pid)  # what it left behind may still hold its port
        self._reaper.release(child.pid)
        pump.join(PAUSE_S)
        self._write(f"ended (status {status})")
        lived_s = time.monotonic() - born_at
        self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2) if lived_s < SHORT_LIFE_S else self._first_pause_s

    def _spawn(self) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(  # noqa: S603 (the commands are the caller's own)
            self._command.argv,
            env=self._command.env,
            cwd=self._command.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reaper.watch(child.pid)
        self._write(f"started (pid {child.pid})")
        return child

    def _pump(self, lines: IO[bytes]) -> None:
        with lines:
            for line in lines:
                self._write(line.decode(errors="replace").rstrip("\n"))


def _kill_group(pgid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pgid, signal.SIGKILL)


class ProcessReaper:
    """The process that kills our groups when we are gone; if it goes first, another takes its place."""

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def watch(self, pgid: int) -> None:
        """Kill this group when we die."""
        with self._lock:
            self._groups.add(pgid)
            self._tell(f"+{pgid}")

    def release(self, pgid: int) -> None:
        """The group has ended."""
        with self._lock:
            self._groups.discard(pgid)
            self._tell(f"-{pgid}")

    def close(self) -> None:
        """Let it go."""
        with self._lock:
            if self._process:
                self._process.communicate()

    def _tell(self, news: str) -> None:
        """Return when it has heard; one that has gone is replaced, and the next is told everything."""
        if not (self._process and self._heard(self._process, news)):
            self._process = self._hire()
            for pgid in self._groups:
                self._heard(self._process, f"+{pgid}")

    def _heard(self, process: subprocess.Popen[bytes], news: str) -> bool:
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(f"{news}\n".encode())
        except BrokenPipeError:
            return False
        return bool(process.stdout.readline())

    def _hire(self) -> subprocess.Popen[bytes]:
        argv, pipe = [sys.executable, "-S", "-E", process_reaper.__file__], subprocess.PIPE
        return subprocess.Popen(argv, stdin=pipe, stdout=pipe, bufsize=0, start_new_session=True)  # noqa: S603


class LineWriter:
    """Prints lines of several commands to several outputs, whole lines each."""

    def __init__(self, outputs: Iterable[TextIO], width: int) -> None:
        self._printers = [Printer(output, width=width) for output in outputs]
        self._colours = get_colours()
        self._lock = threading.Lock()

    def writer(self, name: str) -> Write:
        """What prints one line of that command."""
        colour = next(self._colours)

        def write(line: str) -> None:
            message = Message("line", line, datetime.datetime.now(), name, colour)
            with self._lock:
                for printer in self._printers:
                    printer.write(message)

        return write
