"""How long a gateway takes, learned from the jobs that it finished, and when it is therefore worth asking.

What is kept of a kind of work is a histogram of finish times in buckets that each are a twentieth wider than the one
before. Asking costs something (`PRICE` of the median time) and so does every second in which a finished clip is not
known to be finished; the moments at which to ask are those that cost least together, found by dynamic programming over
the edges of the buckets. A simpler rule asks before anything can be finished, or too late where most are.
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
# Fewer finished jobs than this teach nothing; of more than MOST the older half is forgotten.
FEWEST, MOST = 20, 1000
# One question is worth so much of the median time in lag: at this price both are below those of fixed pauses.
PRICE = 0.05
# The share of jobs that will take longer than any that was seen, and how much longer.
TAIL, TAIL_BUCKETS = 0.02, 24
# How far each job's time is spread over the neighbouring buckets: a share of Silverman's rule of thumb, which is made
# for one hump and would wash two into one; in buckets, at least so much.
SPREAD, SPREAD_LEAST = 0.55, 0.7
# A task that the first question finds finished ended at any time before; it is taken to lie in the last half of it.
# Where all do, the first question came late: the next ones are put ever earlier, by up to a half, down to the truth.
SOONEST = 0.5
# Gateways tell their times in whole seconds.
ROUNDED_S = 1
# Nobody is asked more often than this.
GAP_S = 0.5
# So many jobs in a row ended without their callback: the gateway is asked as if it had none.
SILENT = 3
# A job so many times as old as the longest that was seen, and at least so old, is one that experience calls impossible.
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
    """How long a finished attempt took, as far as that can be known; `took_s` is the gateway's own word.

    That word counts where it fits: it cannot have taken longer than until we heard of it, and what was still running
    when it was asked had not finished. Next best is a callback; else it ended between two questions.
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
    """When a task ended that was running at the one age and finished at the other; `share` is 0 to 1, by chance.

    The middle; before a first question somewhere in the last half, so that many of them do not look like one moment.
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

    def left_s(self, age_s: float) -> float | None:
        """How much longer half of those that take longer than this need, in seconds; None past all experience."""
        later = {number: count for number, count in self.counts.items() if edge_s(number) > age_s}
        return Timing(later).quantile_s(0.5) - age_s if later else None

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
        """The moments at which one may ask, and for each the one that should follow where it was too early."""
        edges, masses = self._masses()
        middles = [mass * (low + high) / 2 for mass, (low, high) in zip(masses, pairwise(edges), strict=True)]
        done = [0.0, *accumulate(masses)]
        weighed = [0.0, *accumulate(middles)]
        price_s, last = PRICE * self.quantile_s(0.5), len(edges) - 1
        costs, following = [0.0] * (last + 1), [last] * last
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
        """The edges of the buckets that matter, 0 before them, and the share of the jobs between each two."""
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
        """The standard deviation in buckets, or what the middle half says of it where that is less."""
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
        """Whether a job that a gateway has is older than experience calls possible; False where there is none."""
        timing, age_s = self.for_job(job), (now - job.current.submitted_at) / 1000
        return timing is not None and age_s > max(STUCK_TIMES * timing.longest_s, STUCK_S)

    def is_silent(self, gateway: str | None) -> bool:
        """Whether this gateway's callbacks have stopped coming."""
        return gateway is not None and self.silent(gateway) >= SILENT
