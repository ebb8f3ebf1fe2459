"""When is a stream of load healthy? The baseline, and H(t) against it. Pure.

Bins are one second, keyed by intended time. For one stream:

- gamma(t) = good / offered: the share of operations that were correct, in time and not degraded. A fallback is
  degraded, never good; otherwise H would hold while a breaker is open.
- exceedance e(t): the share of operations slower than the baseline's 95th percentile (with an allowance, `baseline.py`), or
  failed, judged by the lower end of its Wilson interval: a p95 of thirty samples is noise.
- N(t): operations in flight.

H(t) holds iff  gamma >= gamma_B - max(0.01, 2 operations, 3 sigma_B),  Wilson-lower(e) <= 0.10, and
N <= N_B + max(2, 0.25 N_B, 3 sigma_B), with sigma_B = 1.4826 MAD over the baseline's bins.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from resilience.analysis.statistics import mann_kendall_p, robust_sigma, theil_sen_slope
from resilience.metrics.shares import wilson_interval

EXCEEDANCE_LIMIT = 0.10
COARSE_BINS = 30
"""A baseline of fewer bins is usable, and its figures are called coarse."""
MIN_BINS = 3
_TREND_P = 0.005
_TREND_CHANGE = 0.25
_WANDERING = 0.5


@dataclass(frozen=True, slots=True)
class SecondPoint:
    """One second of one stream. `slow` is the count of answers slower than is normal (0 until that is known)."""

    second: int
    offered: int
    good: int
    degraded: int
    failed: int
    median_ns: float
    slow: int = 0
    in_flight: float | None = None

    @property
    def gamma(self) -> float:
        """Share of good operations; 1 in a second that offered nothing."""
        return self.good / self.offered if self.offered else 1.0


@dataclass(frozen=True, slots=True)
class Baseline:
    """What is normal for one stream."""

    bins: int
    gamma: float
    gamma_sigma: float
    p95_ns: float
    in_flight: float | None
    in_flight_sigma: float

    @property
    def coarse(self) -> bool:
        """True when the baseline is shorter than half a minute."""
        return self.bins < COARSE_BINS


@dataclass(frozen=True, slots=True)
class HealthPoint:
    """H(t) and its three parts for one second."""

    second: int
    goodput_ok: bool
    latency_ok: bool
    queue_ok: bool

    @property
    def healthy(self) -> bool:
        """H(t)."""
        return self.goodput_ok and self.latency_ok and self.queue_ok


class BaselineRefused(Exception):  # noqa: N818 - an outcome, not a programming error
    """The baseline cannot serve as one; the message says why."""


def measure_baseline(points: Sequence[SecondPoint], p95_ns: float) -> Baseline:
    """Baseline of one stream from its points of the baseline phase; raises `BaselineRefused`.

    `p95_ns` is the 95th percentile of all answers of the phase together.
    """
    loaded = [point for point in points if point.offered]
    if len(loaded) < MIN_BINS:
        raise BaselineRefused(
            f"the baseline has {len(loaded)} seconds with load; it needs at least {MIN_BINS}"
        )
    if (good := sum(point.good for point in loaded)) == 0:
        raise BaselineRefused("no operation of the baseline was good")
    medians = [point.median_ns for point in loaded]
    for what, values, ordinary in (
        ("goodput", [point.gamma for point in loaded], 0.0),
        # A median that wanders well within what single answers differ by makes nothing slow: half a millisecond on a
        # lab that answers in two to five is no trend, however regular it looks in seven seconds.
        ("median response time", medians, (p95_ns - statistics.median(medians)) / 2),
    ):
        middle = statistics.median(values)
        drift = theil_sen_slope(list(enumerate(values))) * len(values)
        # A trend makes the phase's own percentile wide: what it excuses is bounded.
        allowed = max(_TREND_CHANGE * middle, min(ordinary, _WANDERING * middle))
        if middle > 0 and abs(drift) > allowed and mann_kendall_p(values) < _TREND_P:
            direction = "rises" if drift > 0 else "falls"
            raise BaselineRefused(
                f"the baseline is not steady: its {what} {direction} by {abs(drift) / middle:.0%}"
            )
    flights = [point.in_flight for point in loaded if point.in_flight is not None]
    return Baseline(
        bins=len(loaded),
        gamma=good / sum(point.offered for point in loaded),
        gamma_sigma=robust_sigma([point.gamma for point in loaded]),
        p95_ns=p95_ns,
        in_flight=statistics.median(flights) if flights else None,
        in_flight_sigma=robust_sigma(flights),
    )


def health_at(point: SecondPoint, baseline: Baseline) -> HealthPoint:
    """H(t) of one second. A second without load is neither slow nor failed: it is healthy as far as it goes."""
    slack = max(0.01, 2 / point.offered if point.offered else 0.0, 3 * baseline.gamma_sigma)
    lower, _ = wilson_interval(point.slow + point.failed, point.offered)
    queue_ok = True
    if point.in_flight is not None and baseline.in_flight is not None:
        allowance = max(2.0, 0.25 * baseline.in_flight, 3 * baseline.in_flight_sigma)
        queue_ok = point.in_flight <= baseline.in_flight + allowance
    return HealthPoint(
        second=point.second,
        goodput_ok=point.gamma >= baseline.gamma - slack,
        latency_ok=lower <= EXCEEDANCE_LIMIT,
        queue_ok=queue_ok,
    )
