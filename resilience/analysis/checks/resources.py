"""The expectation on a service's processes: their memory does not grow, and they stay. Pure."""

from __future__ import annotations

from resilience.analysis.checks.base import unknown
from resilience.analysis.evidence import RunEvidence
from resilience.analysis.findings import Findings
from resilience.analysis.judgement import FAIL, PASS, UNKNOWN, Judgement, compose
from resilience.analysis.memory import leak_bytes_per_s, memory_growth_bytes
from resilience.plan.schema import ResourceExpectation
from resilience.plan.units import NS_PER_S, format_size


def check_resource(evidence: RunEvidence, _: Findings, name: str, wanted: ResourceExpectation) -> Judgement:
    """Growth from the first to the last tenth of the judged time, summed over processes; processes that went away."""
    bounds = {
        key: getattr(wanted, key)
        for key in ("growth", "leak", "restarts")
        if getattr(wanted, key) is not None
    }
    expected = ", ".join(f"{key} {bound.text}" for key, bound in bounds.items())
    judged = [
        (span.start_ns / NS_PER_S, span.end_ns / NS_PER_S) for span in evidence.timeline.phases if span.judge
    ]
    samples = [
        event
        for event in evidence.events.get("resource", ())
        if event.get("service") == wanted.service
        and any(start <= evidence.at_s(int(event["at"][0])) < end for start, end in judged)
    ]
    if not samples:
        return unknown(name, expected, f"no process of {wanted.service} is within reach")
    verdicts: list[str] = []
    observed: list[str] = []
    if wanted.growth is not None:
        growth = memory_growth_bytes(samples)
        if growth is None:
            verdicts.append(UNKNOWN)
            observed.append("growth not measured: too few samples")
        else:
            verdicts.append(PASS if wanted.growth.holds(growth) else FAIL)
            observed.append(f"growth {format_size(growth)}")
    if wanted.leak is not None:
        slope = leak_bytes_per_s(samples)
        if slope is None:
            verdicts.append(UNKNOWN)
            observed.append("leak not measured: too few samples")
        else:
            # Its upper end counts: noise must not be rewarded.
            verdicts.append(PASS if wanted.leak.holds(60 * slope.high) else FAIL)
            observed.append(f"grows by at most {format_size(60 * slope.high)} a minute")
    if wanted.restarts is not None:
        gone = sum(1 for sample in samples if sample.get("gone"))
        verdicts.append(PASS if wanted.restarts.holds(gone) else FAIL)
        observed.append(f"restarts {gone}")
    return Judgement(
        name, expected, ", ".join(observed), compose(verdicts), evidence={"service": wanted.service}
    )
