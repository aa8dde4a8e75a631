"""How long a gateway takes, learned from the jobs that it finished, and when a poll is therefore worth it.

For each kind of work (`kind`) a histogram of finish times is kept; each bucket is 5 % wider than the one before. A poll
("to ask") has a cost, `PRICE` of the median time. Each second between the end of a task and the poll that sees it costs
one second. The poll times are those with the lowest total cost, found by dynamic programming over the edges of the
buckets. A simpler rule polls when nothing can be finished yet, or polls late at the time when most tasks finish.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise
from math import ceil, exp, log, sqrt
from zlib import crc32

from rushes.shared.domain.job import Attempt, AttemptStatus, Job

SHORTEST_S, WIDTH, BUCKETS = 0.25, 1.05, 260  # up to 0.25 s * 1.05^260 = 22 h
# With fewer finished jobs than FEWEST nothing is predicted. Above MOST all counts are halved: old jobs then count less.
FEWEST, MOST = 20, 1000
# The cost of one poll, as a share of the median time. With this value there are fewer polls than with fixed pauses, and
# also less delay until an end is seen.
PRICE = 0.05
# The share of jobs assumed to take longer than any seen so far; it is spread evenly over so many further buckets.
TAIL, TAIL_BUCKETS = 0.02, 24
# How widely `_spread` smooths the histogram: SPREAD times the width by Silverman's rule of thumb, and at least
# SPREAD_LEAST buckets. The full width is made for a single peak and would merge two peaks into one.
SPREAD, SPREAD_LEAST = 0.55, 0.7
# If the first poll finds a task finished, its end is unknown. It is assumed to lie between SOONEST of the task's age at
# that poll and that age. If this happens to all tasks, the first poll is too late: the learned times become shorter, so
# the first poll of later jobs moves earlier, each time by up to a half, until it finds tasks that still run.
SOONEST = 0.5
# Gateways tell their times in whole seconds.
ROUNDED_S = 1
# Nobody is asked more often than this.
GAP_S = 0.5
# After so many ends in a row without a callback, the gateway is polled as if it sent no callbacks.
SILENT = 3
# A job is stuck if it is older than STUCK_TIMES the longest time that was seen, and also older than STUCK_S seconds.
STUCK_TIMES, STUCK_S = 3, 600


def bucket(seconds: float) -> int:
    """The number of the bucket that a finish time falls into."""
    return min(max(0, ceil(log(max(seconds, SHORTEST_S) / SHORTEST_S, WIDTH))), BUCKETS)


def edge_s(number: int) -> float:
    """The upper end of a bucket, in seconds."""
    return SHORTEST_S * float(WIDTH**number)


def kind(job: Job) -> str:
    """What takes equally long: gateway, model, mode and length of the clip in seconds."""
    request, reference = job.request, job.inputs.get("video_url", {}).get("duration_s")
    length = ceil(float(reference)) if reference else request.get("duration", 0)
    return f"{job.provider}|{request.get('model')}|{request.get('mode', 'std')}|{length}"


def finished_s(attempt: Attempt, took_s: float | None = None) -> float | None:
    """How long a finished attempt took, as far as that can be known; `took_s` is what the gateway reports.

    `took_s` is used unless it is longer than the time until we learned of the end (`heard_s`); it is kept between the
    last poll that found the task running (`asked_s`) and `heard_s`. Without it, a callback came at the end; without a
    callback, the end lies between two polls.
    """
    if attempt.status is not AttemptStatus.COMPLETED or attempt.adopted or attempt.ended_at is None:
        return None
    heard_s = max(0, attempt.ended_at - attempt.submitted_at) / 1000
    asked_s = min(max(0, attempt.asked_at - attempt.submitted_at) / 1000, heard_s)
    if took_s is not None and 0 < took_s <= heard_s + ROUNDED_S:
        return min(max(took_s, asked_s), heard_s)
    if attempt.heard_by == "callback":
        return heard_s
    return between_s(asked_s, heard_s, crc32(f"{attempt.task_id}{attempt.submitted_at}".encode()) / 0xFFFFFFFF)


def between_s(asked_s: float, heard_s: float, share: float) -> float:
    """Estimate the age at which a task ended that was running at age `asked_s` and finished at age `heard_s`.

    It is the middle. If no poll came before (`asked_s` is 0), it is a point in the last half of `heard_s`, chosen by
    `share` (0 to 1, evenly spread over the tasks), so that many such tasks do not all get the same time.
    """
    return (asked_s + heard_s) / 2 if asked_s else heard_s * (SOONEST + (1 - SOONEST) * share)


@dataclass(frozen=True)
class Timing:
    """What is known of one kind: bucket → how many jobs ended in it."""

    counts: Mapping[int, int]

    @cached_property
    def total(self) -> int:
        return sum(self.counts.values())

    def quantile_s(self, share: float) -> float:
        """By when this share of the jobs is finished, in seconds."""
        seen = 0
        for number in sorted(self.counts):
            seen += self.counts[number]
            if seen >= share * self.total:
                return edge_s(number)
        return 0.0

    @property
    def longest_s(self) -> float:
        """By when all of the jobs are finished, in seconds."""
        return edge_s(max(self.counts))

    def next_s(self, age_s: float) -> float | None:
        """The age at which to ask next; None past all experience."""
        edges, following = self._plan
        at = next((number for number, edge in enumerate(edges) if edge > age_s), len(edges)) - 1
        while 0 <= at < len(following):
            at = following[at]
            if edges[at] >= age_s + GAP_S:
                return edges[at]
        return None

    @cached_property
    def _plan(self) -> tuple[list[float], list[int]]:
        """The ages at which a poll is possible, and for each the index of the next poll if the task still runs."""
        edges, masses = self._masses()
        middles = [mass * (low + high) / 2 for mass, (low, high) in zip(masses, pairwise(edges), strict=True)]
        done = [0.0, *accumulate(masses)]
        weighed = [0.0, *accumulate(middles)]
        price_s, last = PRICE * self.quantile_s(0.5), len(edges) - 1
        costs, following = [0.0] * (last + 1), [last] * last
        # costs[at] is the expected cost from edge `at` on. The first two terms of `cost` are the delay of all tasks
        # that end between the edges `at` and `then`, if the next poll is at `then`.
        for at in range(last - 1, -1, -1):
            best, costs[at] = last, float("inf")
            for then in range(at + 1, last + 1):
                cost = edges[then] * (done[then] - done[at]) - (weighed[then] - weighed[at]) + costs[then]
                if cost < costs[at]:
                    best, costs[at] = then, cost
            following[at] = best
            costs[at] += price_s * (1 - done[at])
        return edges, following

    def _masses(self) -> tuple[list[float], list[float]]:
        """The edges of the buckets in use, 0 in front, and the share of the jobs between each edge and the next."""
        spread = self._spread()
        first, last = max(1, min(spread)), max(spread)
        numbers = range(first, last + 1 + TAIL_BUCKETS)
        tail = TAIL / TAIL_BUCKETS
        masses = [(1 - TAIL) * spread.get(n, 0) / self.total if n <= last else tail for n in numbers]
        return [0.0, edge_s(first - 1), *map(edge_s, numbers)], [0.0, *masses]

    def _spread(self) -> dict[int, float]:
        """The histogram made smooth: two hundred jobs show gaps and heaps that the next two hundred will not have."""
        width = max(SPREAD_LEAST, 1.06 * SPREAD * self._deviation() * self.total**-0.2)
        weights = [exp(-((step / width) ** 2) / 2) for step in range(int(3 * width) + 1)]
        whole = 2 * sum(weights) - weights[0]
        smooth: defaultdict[int, float] = defaultdict(float)
        for number, count in self.counts.items():
            for step in range(1 - len(weights), len(weights)):
                smooth[max(1, number + step)] += count * weights[abs(step)] / whole
        return smooth

    def _deviation(self) -> float:
        """The standard deviation in buckets, or its estimate from the quartiles (distance / 1.34) if that is less."""
        mean = sum(number * count for number, count in self.counts.items()) / self.total
        variance = sum(count * (number - mean) ** 2 for number, count in self.counts.items()) / self.total
        middle_half = bucket(self.quantile_s(0.75)) - bucket(self.quantile_s(0.25))
        return min(sqrt(variance), middle_half / 1.34 or sqrt(variance))


@dataclass(frozen=True)
class Timings:
    """What is known now: by kind how long it takes, and by gateway how many ends in a row came without a callback."""

    of: Callable[[str], Timing | None] = field(default=lambda _: None)
    silent: Callable[[str], int] = field(default=lambda _: 0)

    def for_job(self, job: Job) -> Timing | None:
        """What is known of this job's kind, if it is enough to go by."""
        timing = self.of(kind(job))
        return timing if timing and timing.total >= FEWEST else None

    def is_stuck(self, job: Job, now: int) -> bool:
        """Whether a job at a gateway is far older than any finished job of its kind; False if too few are known."""
        timing, age_s = self.for_job(job), (now - job.current.submitted_at) / 1000
        return timing is not None and age_s > max(STUCK_TIMES * timing.longest_s, STUCK_S)

    def is_silent(self, gateway: str | None) -> bool:
        """Whether this gateway's callbacks have stopped coming."""
        return gateway is not None and self.silent(gateway) >= SILENT
