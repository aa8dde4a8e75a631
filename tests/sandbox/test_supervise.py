"""Whoever dies is started again, and nobody outlives the supervisor."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pytest
from patience import PATIENCE_S, wait_until

from rushes.deploy.sandbox import supervisor as supervisor_module
from rushes.deploy.sandbox.supervisor import Command, Supervisor, procfile

SLEEP = Command([sys.executable, "-c", "import time; time.sleep(60)"])
# Starts a child of its own and tells its pid.
FAMILY = """
import subprocess, time
print(subprocess.Popen(["sleep", "60"]).pid, flush=True)
time.sleep(60)
"""
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
)
POLITE = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
print("up", flush=True)
time.sleep(60)
"""
# A supervisor as a process of its own, which tells the pid of its process reaper too.
SUPERVISOR = f"""
import sys, time
from rushes.deploy.sandbox.supervisor import Command, Supervisor
supervisor = Supervisor({{"family": Command([sys.executable, "-c", {FAMILY!r}])}}, [sys.stdout], pause_s=0.05)
supervisor.start()
print(supervisor._reaper._process.pid, file=sys.stderr, flush=True)
time.sleep(60)
"""


def alive(pid):
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], check=False, capture_output=True, text=True)
    return bool(found.stdout.strip()) and not found.stdout.startswith("Z")


def told_pids(lines, count):
    """So many pids, each at the end of a line; lines that tell of ends are passed over."""
    found = (re.search(r"(\d+)\)?$", line) for line in iter(lines.readline, "") if "ended" not in line)
    return [int(pid[1]) for pid in islice(found, count)]


def said(out, words):
    wait_until(lambda: words in out.getvalue(), words)
    return out.getvalue()


@pytest.fixture
def out():
    return io.StringIO()


@pytest.fixture
def keep(out):
    """keep(name=Command): a started supervisor that writes to `out`."""
    kept = []

    def start(pause_s=0.05, **commands):
        kept.append(Supervisor(commands, [out], pause_s=pause_s))
        kept[-1].start()
        return kept[-1]

    yield start
    for supervisor in kept:
        supervisor.stop(grace_s=0)


def another(supervisor, name, pid):
    wait_until(lambda: supervisor.pids().get(name, pid) != pid, f"another {name}")
    return supervisor.pids()[name]


def test_a_killed_command_is_started_again_and_the_others_are_left_alone(keep):
    supervisor = keep(one=SLEEP, two=SLEEP)
    before = supervisor.pids()
    os.kill(before["one"], signal.SIGKILL)

    assert alive(another(supervisor, "one", before["one"]))
    assert supervisor.pids()["two"] == before["two"]


def test_what_a_killed_command_left_behind_is_killed_too(keep, out):
    supervisor = keep(family=Command([sys.executable, "-c", FAMILY]))
    wait_until(lambda: out.getvalue().count("\n") == 2, "the grandchild")
    grandchild = int(out.getvalue().splitlines()[1].split("| ")[1])
    os.kill(supervisor.pids()["family"], signal.SIGKILL)

    wait_until(lambda: not alive(grandchild), "the grandchild's end")


def test_one_who_dies_at_once_is_started_ever_more_slowly(keep, out, monkeypatch):
    monkeypatch.setattr(supervisor_module, "SHORT_LIFETIME_S", PATIENCE_S)  # it may take a busy machine long to die
    began = time.monotonic()
    supervisor = keep(brief=Command([sys.executable, "-S", "-c", ""]), pause_s=0.05)
    wait_until(lambda: out.getvalue().count("ended") >= 4, "its fourth end")

    assert time.monotonic() - began >= 0.1 + 0.2 + 0.4
    wait_until(lambda: supervisor._processes["brief"]._pause_s >= 0.8, "the fourth pause")


def test_at_the_end_every_command_is_asked_to_go(keep, out):
    supervisor = keep(polite=Command([sys.executable, "-c", POLITE]))
    said(out, "up")
    supervisor.stop(grace_s=PATIENCE_S)

    assert "ended (status 3)" in out.getvalue()
    assert supervisor.pids() == {}


def test_one_who_does_not_go_is_killed_after_the_grace(keep, out):
    supervisor = keep(stubborn=Command([sys.executable, "-c", STUBBORN]))
    said(out, "deaf")
    supervisor.stop(grace_s=0.1)

    assert f"ended (status {-signal.SIGKILL})" in out.getvalue()


def test_a_stop_between_two_lives_starts_nobody(keep, out, monkeypatch):
    monkeypatch.setattr(supervisor_module, "LONGEST_PAUSE_S", PATIENCE_S)
    supervisor = keep(brief=Command([sys.executable, "-S", "-c", ""]), pause_s=PATIENCE_S)
    said(out, "ended")
    supervisor.stop()

    assert out.getvalue().count("started") == 1


@pytest.fixture
def supervisor():
    pipe = subprocess.PIPE
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISOR], stdout=pipe, stderr=pipe, text=True)
    yield supervisor
    supervisor.kill()
    supervisor.communicate()


def test_nobody_outlives_a_supervisor_that_was_killed(supervisor):
    pids = [*told_pids(supervisor.stdout, 2), *told_pids(supervisor.stderr, 1)]
    supervisor.kill()

    wait_until(lambda: not any(map(alive, pids)), "the end of all")


def test_nobody_outlives_it_either_where_the_process_reaper_was_killed_first(supervisor):
    (reaper,), family = told_pids(supervisor.stderr, 1), told_pids(supervisor.stdout, 2)
    os.kill(reaper, signal.SIGKILL)
    os.kill(family[0], signal.SIGKILL)
    next_family = told_pids(supervisor.stdout, 2)
    assert all(map(alive, next_family))
    supervisor.kill()

    wait_until(lambda: not any(map(alive, next_family)), "the end of the next ones")


def test_lines_are_printed_after_the_name_of_their_command(keep, out):
    hello = Command([sys.executable, "-c", "print('hello'); import time; time.sleep(60)"])
    keep(one=Command([*hello.argv], {**os.environ, "PYTHONUNBUFFERED": "1"}), longer=SLEEP)

    assert "one    | hello\n" in said(out, "hello")


def test_a_command_that_cannot_be_run_is_an_error_and_leaves_nobody(out):
    supervisor = Supervisor({"one": SLEEP, "none": Command(["/nowhere"])}, [out])
    with pytest.raises(FileNotFoundError):
        supervisor.start()

    assert supervisor.pids() == {}


def test_a_procfile_is_run_by_a_shell_where_the_supervisor_runs(keep, out, tmp_path):
    (tmp_path / "Procfile").write_text(
        "# comment\nweb: sh -c 'echo in $PWD on $PORT; exec sleep 60'\n\nworker: sleep 60\n"
    )
    commands = procfile(tmp_path / "Procfile", {"PATH": os.environ["PATH"], "PORT": "8123"})
    keep(**commands)

    assert list(commands) == ["web", "worker"]
    assert f"in {Path.cwd()} on 8123" in said(out, "on 8123")
