"""Growth of a service's memory over a run, and whether it leaks. Pure.

Growth is the median of the last tenth of the samples minus that of the first. A leak is the Theil-Sen slope of the resident size over the
run, with its 95 % interval (Sen 1968): "no leak" needs the *upper* end of the interval below a bound, so that noise is not rewarded.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MIN_SAMPLES = 10
NS_PER_S = 1_000_000_000
_Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Slope:
    """Bytes a second: the median slope and the ends of its 95 % interval."""

    low: float
    middle: float
    high: float


def memory_growth_bytes(samples: Iterable[Mapping[str, Any]]) -> float | None:
    """Median of the last tenth minus median of the first tenth of the samples, per process, summed; None if too few.

    `samples` are `resource` events of one service, in order of time.
    """
    grown = [
        _growth([size for _, size in sizes])
        for sizes in _by_process(samples).values()
        if len(sizes) >= MIN_SAMPLES
    ]
    return sum(grown) if grown else None


def leak_bytes_per_s(samples: Iterable[Mapping[str, Any]]) -> Slope | None:
    """The steepest leak of a service's processes, by the upper end of its interval; None if too few samples."""
    slopes = [slope_of(sizes) for sizes in _by_process(samples).values() if len(sizes) >= MIN_SAMPLES]
    return max(slopes, key=lambda slope: slope.high) if slopes else None


def slope_of(points: Sequence[tuple[float, float]]) -> Slope:
    """Theil-Sen slope of (seconds, value) with Sen's interval; the points' seconds are distinct, three of them at least."""
    slopes = sorted(
        (y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in itertools.combinations(points, 2) if x2 != x1
    )
    n, count = len(points), len(slopes)
    half = _Z95 * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low = slopes[max(0, math.floor((count - half) / 2))]
    high = slopes[min(count - 1, math.ceil((count + half) / 2))]
    return Slope(low, statistics.median(slopes), high)


def _by_process(samples: Iterable[Mapping[str, Any]]) -> dict[int, list[tuple[float, float]]]:
    """(seconds, bytes) of each process."""
    found: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for number, sample in enumerate(samples):
        if "rss_bytes" in sample:
            at = sample.get("at")
            at_s = at[0] / NS_PER_S if at else float(number)
            found[int(sample["pid"])].append((at_s, float(sample["rss_bytes"])))
    return found


def _growth(sizes: list[float]) -> float:
    tenth = max(1, len(sizes) // 10)
    return statistics.median(sizes[-tenth:]) - statistics.median(sizes[:tenth])
