"""Keeps named commands running: a command that ends is started again, and none outlives the supervisor.

honcho reads the Procfile and prints the lines. Its manager is not used: it ends everything when one process ends.
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
SHORT_LIFETIME_S = 2.0  # a process that ends sooner is restarted at growing pauses
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
    """Runs the commands from `start` to `stop`; every output gets their lines, prefixed with the command's name."""

    def __init__(
        self, commands: Mapping[str, Command], outputs: Iterable[TextIO] = (), pause_s: float = PAUSE_S
    ) -> None:
        lines = LineWriter(outputs, width=max(map(len, commands), default=0))
        self._reaper = ProcessReaper()
        self._processes = {
            name: SupervisedProcess(command, lines.writer(name), self._reaper, pause_s)
            for name, command in commands.items()
        }

    def start(self) -> None:
        """Start every command, in order; raises OSError where one cannot be run."""
        try:
            for process in self._processes.values():
                process.start()
        except OSError:
            self.stop(grace_s=0)
            raise

    def stop(self, grace_s: float = GRACE_S) -> None:
        """Terminate all processes, and kill those that are left after the grace."""
        for process in self._processes.values():
            process.ask_to_end()
        give_up_at = time.monotonic() + grace_s
        for process in self._processes.values():
            process.end(max(0.0, give_up_at - time.monotonic()))
        self._reaper.close()

    def pids(self) -> dict[str, int]:
        """The pid of each command; one that is being restarted is left out."""
        pids = {name: process.pid for name, process in self._processes.items()}
        return {name: pid for name, pid in pids.items() if pid is not None}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class SupervisedProcess:
    """One command, restarted by a thread that waits for its end; the child leads its own process group."""

    def __init__(self, command: Command, write: Write, reaper: ProcessReaper, pause_s: float) -> None:
        self._command, self._write, self._reaper = command, write, reaper
        self._pause_s = self._first_pause_s = pause_s
        self._ending, self._lock = threading.Event(), threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep_running, daemon=True)

    @property
    def pid(self) -> int | None:
        """The pid of the running child, if any."""
        child = self._child
        return child.pid if child and child.returncode is None else None

    def start(self) -> None:
        """Start the child and keep it running."""
        self._child = self._spawn()
        self._thread.start()

    def ask_to_end(self) -> None:
        """Stop restarting the child, and terminate it."""
        with self._lock:
            self._ending.set()
            if self._child:
                self._child.terminate()

    def end(self, grace_s: float) -> None:
        """Wait for the end of the child; after the grace kill its process group."""
        if not self._child:
            return
        self._thread.join(grace_s)
        while self._thread.is_alive():
            _kill_group(self._child.pid)
            self._thread.join(PAUSE_S)

    def _keep_running(self) -> None:
        while not self._ending.is_set():
            self._run_once()
            self._ending.wait(self._pause_s)
            with self._lock:
                if not self._ending.is_set():
                    self._child = self._spawn()

    def _run_once(self) -> None:
        child, started_at = self._child, time.monotonic()
        if child is None or child.stdout is None:
            return
        pump = threading.Thread(target=self._pump, args=(child.stdout,), daemon=True)
        pump.start()
        status = child.wait()
        _kill_group(child.pid)  # processes that it left behind may still hold its port
        self._reaper.release(child.pid)
        pump.join(PAUSE_S)
        self._write(f"ended (status {status})")
        lifetime_s = time.monotonic() - started_at
        self._pause_s = (
            min(LONGEST_PAUSE_S, self._pause_s * 2) if lifetime_s < SHORT_LIFETIME_S else self._first_pause_s
        )

    def _spawn(self) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(  # noqa: S603 (the commands come from the caller)
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
    """The process that kills our process groups when we have died; it is restarted if it dies first."""

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def watch(self, pgid: int) -> None:
        """Add a group that is killed when we die."""
        with self._lock:
            self._groups.add(pgid)
            self._send(f"+{pgid}")

    def release(self, pgid: int) -> None:
        """Remove a group that has ended."""
        with self._lock:
            self._groups.discard(pgid)
            self._send(f"-{pgid}")

    def close(self) -> None:
        """End the process."""
        with self._lock:
            if self._process:
                self._process.communicate()

    def _send(self, line: str) -> None:
        """Send a line and wait for its acknowledgement; a reaper that has died is replaced and gets all groups."""
        if not (self._process and self._acknowledged(self._process, line)):
            self._process = self._start_reaper()
            for pgid in self._groups:
                self._acknowledged(self._process, f"+{pgid}")

    def _acknowledged(self, process: subprocess.Popen[bytes], line: str) -> bool:
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(f"{line}\n".encode())
        except BrokenPipeError:
            return False
        return bool(process.stdout.readline())

    def _start_reaper(self) -> subprocess.Popen[bytes]:
        argv, pipe = [sys.executable, "-S", "-E", process_reaper.__file__], subprocess.PIPE
        return subprocess.Popen(argv, stdin=pipe, stdout=pipe, bufsize=0, start_new_session=True)  # noqa: S603


class LineWriter:
    """Prints the lines of several commands to several outputs, one whole line at a time."""

    def __init__(self, outputs: Iterable[TextIO], width: int) -> None:
        self._printers = [Printer(output, width=width) for output in outputs]
        self._colours = get_colours()
        self._lock = threading.Lock()

    def writer(self, name: str) -> Write:
        """A function that prints one line of that command."""
        colour = next(self._colours)

        def write(line: str) -> None:
            message = Message("line", line, datetime.datetime.now(), name, colour)
            with self._lock:
                for printer in self._printers:
                    printer.write(message)

        return write
