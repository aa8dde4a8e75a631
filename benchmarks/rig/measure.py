"""CPU and memory of process trees, read from /proc; of Redis, from INFO."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat behind the name, counted from the state.
PARENT, USER, CHILDREN_SYSTEM = 1, 11, 14


def _stat(pid: int) -> list[str]:
    """The fields behind the name, which may hold blanks itself; empty where the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def tree(root: int) -> list[int]:
    """A process and all that descend from it and live."""
    parents = {pid: int(stat[PARENT]) for pid in _pids() if (stat := _stat(pid))}
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def _pids() -> Iterable[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def cpu_s(root: int) -> float:
    """CPU seconds of a tree, its children that ended and were waited for included."""
    stats = [_stat(pid) for pid in tree(root)]
    return sum(sum(map(int, stat[USER : CHILDREN_SYSTEM + 1])) for stat in stats if stat) * TICK_S


def status_kib(pid: int, name: str) -> int:
    """A line of /proc/PID/status in KiB: VmRSS is now, VmHWM the most since the last `forget_peak`."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def memory_mib(root: int, name: str = "VmRSS") -> float:
    """Of a tree, summed."""
    return sum(status_kib(pid, name) for pid in tree(root)) / 1024


def forget_peak(root: int) -> None:
    """Let the peak begin anew."""
    for pid in tree(root):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def pss_mib(roots: Iterable[int]) -> float:
    """Of these trees: the pages of each process, those that it shares with others divided by their number."""
    return sum(map(_pss_kib, {pid for root in roots for pid in tree(root)})) / 1024


def _pss_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def idle_s(core: int) -> float:
    """Seconds for which a core had nothing to do, those in which it waited for a disk too."""
    line = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith(f"cpu{core} "))
    return sum(map(int, line.split()[4:6])) * TICK_S


def redis_info(port: int, section: str) -> dict[str, str]:
    """A section of INFO."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line, line.makefile("rb") as answer:
        line.sendall(f"INFO {section}\r\n".encode())
        size = int(answer.readline()[1:])
        pairs = (text.partition(":") for text in answer.read(size).decode().split("\r\n"))
        return {name: value for name, _, value in pairs if value}


def redis_cpu_s(port: int) -> float:
    """CPU seconds of a Redis, those of its children too."""
    info = redis_info(port, "cpu")
    return sum(float(value) for name, value in info.items() if name.startswith("used_cpu") and "thread" not in name)


@dataclass(frozen=True, slots=True)
class Meter:
    """The parts of a measured system: processes by name, and its Redis."""

    pids: Mapping[str, int]
    redis_port: int | None = None

    def read(self) -> dict[str, float]:
        """CPU seconds so far, by part."""
        read = {name: cpu_s(pid) for name, pid in self.pids.items()}
        if self.redis_port is not None:
            read["redis"] = redis_cpu_s(self.redis_port)
        return read


def spent(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """CPU seconds between two readings."""
    return {name: after[name] - before[name] for name in after}


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which this share of them lies; nan of none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else float("nan")
