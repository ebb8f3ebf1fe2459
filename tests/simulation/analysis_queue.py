"""A seeded queueing simulator: one server, callers with time-outs and retries, a trigger that ends. For tests of the analysis.

Callers arrive as a Poisson stream. Each call waits in a first-in-first-out queue; a caller who has waited longer than its time-out
tries again, up to `retries` times, while the server still works through what was given up: that is what makes a retry storm sustain
itself. The trigger stops the server for a while; `capacity_after` is what it can do from then on.

Time advances arrival by arrival; everything is a function of the seed.
"""

from __future__ import annotations

import heapq
import random
import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from resilience.analysis.health import Baseline, SecondPoint, measure_baseline

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Queue:
    """What is simulated. Rates are per second, times in seconds."""

    arrival_per_s: float = 40.0
    capacity_per_s: float = 100.0
    capacity_after_per_s: float = 100.0
    timeout_s: float = 0.3
    retries: int = 0
    trigger: tuple[float, float] | None = (60.0, 66.0)
    bounded: int | None = 200
    """The queue refuses beyond this length, and the caller tries again as after a time-out; None: it never refuses."""
    share: Callable[[float], float] = lambda _at_s: 1.0
    """Of the arrival rate, over time."""
    seconds: int = 240


def simulate(queue: Queue, seed: int) -> list[SecondPoint]:
    """One point a second."""
    rng = random.Random(seed)
    events: list[tuple[float, int, int, float]] = []  # (time, tie, attempt, first arrival)
    at_s, tie = 0.0, 0
    while at_s < queue.seconds:
        at_s += rng.expovariate(queue.arrival_per_s)
        if rng.random() < queue.share(at_s):
            tie += 1
            heapq.heappush(events, (at_s, tie, 0, at_s))
    free_s = 0.0
    finished: dict[int, list[float | None]] = defaultdict(list)
    flights: dict[int, float] = defaultdict(float)
    while events:
        now_s, _, attempt, first_s = heapq.heappop(events)
        done_s, free_s = _served(queue, rng, now_s, free_s)
        if done_s is not None and done_s - now_s <= queue.timeout_s:
            finished[int(first_s)].append(done_s - first_s)
            _fly(flights, first_s, done_s)
        elif attempt < queue.retries:
            tie += 1
            heapq.heappush(events, (now_s + queue.timeout_s, tie, attempt + 1, first_s))
        else:
            finished[int(first_s)].append(None)
            _fly(flights, first_s, now_s + queue.timeout_s)
    return [_point(second, finished[second], flights[second]) for second in range(queue.seconds)]


def baseline_of(points: list[SecondPoint], seconds: int) -> Baseline:
    """The baseline of the first seconds."""
    first = points[:seconds]
    p95_ns = statistics.quantiles([p.median_ns for p in first], n=20)[-1] * 4
    return measure_baseline(first, p95_ns)


def _served(queue: Queue, rng: random.Random, now_s: float, free_s: float) -> tuple[float | None, float]:
    """(when it is done, when the server is free again); None: refused."""
    after = queue.trigger is not None and now_s >= queue.trigger[1]
    capacity = queue.capacity_after_per_s if after else queue.capacity_per_s
    start_s = max(now_s, free_s)
    if queue.trigger is not None and queue.trigger[0] <= start_s < queue.trigger[1]:
        start_s = queue.trigger[1]
    if queue.bounded is not None and (start_s - now_s) * capacity > queue.bounded:
        return None, free_s
    done_s = start_s + rng.expovariate(capacity)
    return done_s, done_s


def _fly(flights: dict[int, float], start_s: float, end_s: float) -> None:
    """Count a call in the whole seconds at whose end it was under way."""
    for second in range(int(start_s), int(end_s)):
        flights[second] += 1


def _point(second: int, found: list[float | None], in_flight: float) -> SecondPoint:
    times = [t for t in found if t is not None]
    return SecondPoint(
        second=second,
        offered=len(found),
        good=len(times),
        degraded=0,
        failed=len(found) - len(times),
        median_ns=statistics.median(times) * NS_PER_S if times else 0.0,
        in_flight=in_flight,
    )
