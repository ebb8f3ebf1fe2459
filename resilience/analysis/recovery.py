"""Does it come back, and how fast? Time to recover and what was lost meanwhile. Pure.

t_ref = the later of "the fault was verified healed" and "the planned load is back at the baseline's rate" (planned: a
Poisson stream's realised rate is too noisy to ask). Time to recover = the first bin t at or after t_ref from which H
holds for the hold time h, minus t_ref. It is known to one bin, and given as such: a value with plus or minus, or as
censored ("> T") when the record ends before h has passed; never as nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from resilience.analysis.health import Baseline, HealthPoint, SecondPoint, health_at

BIN_S = 1.0
NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class TimeToRecover:
    """Seconds; `low <= truth <= high`. `high` is None when the observation was censored at `low`."""

    low_s: float
    high_s: float | None

    @property
    def censored(self) -> bool:
        """True when all that is known is "longer than low_s"."""
        return self.high_s is None

    def to_json(self) -> dict[str, Any]:
        """`{"value", "plus_minus"}`, or `{"censored_above_s"}`."""
        if self.high_s is None:
            return {"censored_above_s": round(self.low_s, 3)}
        half = (self.high_s - self.low_s) / 2
        return {"value": round(self.low_s + half, 3), "plus_minus": round(half, 3), "text": str(self)}

    def __str__(self) -> str:
        if self.high_s is None:
            return f"> {self.low_s:.1f} s (censored)"
        if self.low_s == 0:
            return f"<= {self.high_s:.1f} s"
        return f"{self.low_s:.1f} to {self.high_s:.1f} s"


@dataclass(frozen=True, slots=True)
class Recovery:
    """What became of one stream after one fault. Times in seconds after t_ref unless they say otherwise."""

    time_to_recover: TimeToRecover
    goodput: TimeToRecover
    latency: TimeToRecover
    queue: TimeToRecover
    relapses: int
    depth: float
    lost_good_operations: float
    resilience_ratio: float


def recovery_of(
    points: Sequence[SecondPoint], baseline: Baseline, *, fault_on_s: float, reference_s: float, hold_s: float
) -> Recovery:
    """Recovery of one stream. Times are seconds since the epoch; `points` are in order, one a second."""
    after = [health_at(point, baseline) for point in points if point.second + BIN_S > reference_s]
    during = [point for point in points if point.second >= int(fault_on_s)]
    offered = sum(point.offered for point in during)
    expected = baseline.gamma * offered
    lowest = min((point.gamma for point in during if point.offered), default=baseline.gamma)
    return Recovery(
        time_to_recover=_held(after, [p.healthy for p in after], reference_s, hold_s),
        goodput=_held(after, [p.goodput_ok for p in after], reference_s, hold_s),
        latency=_held(after, [p.latency_ok for p in after], reference_s, hold_s),
        queue=_held(after, [p.queue_ok for p in after], reference_s, hold_s),
        relapses=sum(1 for a, b in itertools.pairwise(after) if a.healthy and not b.healthy),
        depth=max(0.0, 1 - lowest / baseline.gamma),
        lost_good_operations=sum(max(0.0, baseline.gamma - p.gamma) * p.offered for p in during),
        resilience_ratio=sum(point.good for point in during) / expected if expected else 1.0,
    )


def _held(
    after: Sequence[HealthPoint], holds: Sequence[bool], reference_s: float, hold_s: float
) -> TimeToRecover:
    """First bin from which `holds` is true for at least `hold_s`, as an interval after the reference."""
    run_start: int | None = None
    for point, ok in zip(after, holds, strict=True):
        if not ok:
            run_start = None
            continue
        if run_start is None:
            run_start = point.second
        # The last bin may end a scheduling hair before the hold time; bins are whole seconds.
        if point.second + BIN_S - max(run_start, reference_s) >= hold_s:
            low_s = max(0.0, run_start - reference_s)
            return TimeToRecover(low_s, max(low_s, run_start + BIN_S - reference_s))
    last_s = after[-1].second + BIN_S if after else reference_s
    return TimeToRecover(max(0.0, (last_s if run_start is None else run_start) - reference_s), None)
