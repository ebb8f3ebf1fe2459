"""The baseline of a load stream in a run, and the run's seconds seen against it. Pure.

"Slow" is a response time beyond the baseline's 95th percentile, with the same allowance for what is normal that the other
parts of health have: three robust standard deviations of the percentile from second to second. Half a minute of one
machine's quiet does not make ordinary seconds of it slow.
"""

from __future__ import annotations

from resilience.analysis.evidence import RunEvidence
from resilience.analysis.health import Baseline, BaselineRefused, SecondPoint, measure_baseline
from resilience.analysis.statistics import robust_sigma
from resilience.plan.units import NS_PER_S

PHASE = "baseline"


def against_baseline(evidence: RunEvidence, load: str) -> tuple[Baseline, list[SecondPoint]]:
    """Baseline of a load and all its seconds, slow answers counted; raises `BaselineRefused`."""
    if PHASE not in {span.name for span in evidence.timeline.phases}:
        raise BaselineRefused("the plan has no phase named 'baseline'")
    span = evidence.timeline.phase(PHASE)
    p95_ns = evidence.table.bin(load, phase=PHASE).histograms["r"].quantile(0.95)
    if p95_ns is None:
        raise BaselineRefused("the baseline has no answered operation")
    inside = [
        (second, found)
        for second, found in evidence.table.seconds(load)
        if span.start_ns <= second * NS_PER_S and (second + 1) * NS_PER_S <= span.end_ns
    ]
    each = [float(p95) for _, found in inside if (p95 := found.histograms["r"].quantile(0.95)) is not None]
    points = evidence.points(load, slow_ns=p95_ns + 3 * robust_sigma(each))
    seconds = {second for second, _ in inside}
    return measure_baseline([point for point in points if point.second in seconds], p95_ns), points
