"""The expectation on an autoscaler: out in time, ready in time, in again, and nothing lost on the way. Pure."""

from __future__ import annotations

from resilience.analysis.checks.base import unknown
from resilience.analysis.checks.load import answered
from resilience.analysis.evidence import RunEvidence
from resilience.analysis.findings import Findings
from resilience.analysis.judgement import FAIL, PASS, UNKNOWN, Judgement, compose
from resilience.analysis.scaling import Scaling, lives_of, lost_in, scaling_of
from resilience.plan.schema.expect_promises import ScalingExpectation
from resilience.plan.units import NS_PER_S, format_duration


def check_scaling(evidence: RunEvidence, _: Findings, name: str, wanted: ScalingExpectation) -> Judgement:
    """Times are taken from what was seen of the instances; a load that never exceeded the threshold shows nothing."""
    expected = _expected(wanted)
    if evidence.events.get("gap") and any(
        gap.get("source") == "autoscaler" for gap in evidence.events["gap"]
    ):
        return unknown(name, expected, "the autoscaler could not be watched all the time")
    if not evidence.events.get("scale"):
        return unknown(name, expected, "no autoscaler could be watched")
    seconds = list(evidence.table.seconds(wanted.load))
    lives = lives_of((e for e in evidence.events["scale"] if "instance" in e), evidence.epoch_ns)
    scaling = scaling_of(
        [(second, found.counts["offered"]) for second, found in seconds], lives, threshold_per_s=wanted.above
    )
    if scaling.over_s is None:
        return unknown(name, expected, f"no second offered more than {wanted.above:g}/s")
    verdicts, observed = _times(wanted, scaling)
    if wanted.scales_in:
        verdicts.append(_in_again(scaling))
        there = ", ".join(scaling.still_there) or "none"
        observed.append(f"started and still there: {there}")
    if wanted.lost is not None:
        lost = lost_in([(s, found.counts["offered"] - answered(found)) for s, found in seconds], lives)
        left = any(life.leaving_s is not None for life in lives)
        verdicts.append((PASS if wanted.lost.holds(lost) else FAIL) if left else UNKNOWN)
        observed.append(f"lost while scaling in {lost}" if left else "no instance was taken out")
    return Judgement(
        name,
        expected,
        ", ".join(observed),
        compose(verdicts),
        evidence={"over_the_threshold_s": scaling.over_s, "instances": [life.name for life in lives]},
        at_s=scaling.over_s if FAIL in verdicts else None,
    )


def _times(wanted: ScalingExpectation, scaling: Scaling) -> tuple[list[str], list[str]]:
    if scaling.trigger_s is None:
        return [FAIL], ["never scaled out"]
    verdicts = [PASS if wanted.scales_out.holds(scaling.trigger_s * NS_PER_S) else FAIL]
    observed = [f"scaled out after {format_duration(scaling.trigger_s * NS_PER_S)}"]
    if wanted.ready is not None:
        slowest_s = scaling.slowest_healthy_s
        if slowest_s is None:
            verdicts.append(FAIL)
            observed.append("an instance never became ready")
        else:
            verdicts.append(PASS if wanted.ready.holds(slowest_s * NS_PER_S) else FAIL)
            observed.append(f"ready after {format_duration(slowest_s * NS_PER_S)}")
    return verdicts, observed


def _in_again(scaling: Scaling) -> str:
    """Nothing that never came can go: then it is the scaling out that failed."""
    if not scaling.instances:
        return PASS
    return FAIL if scaling.still_there else PASS


def _expected(wanted: ScalingExpectation) -> str:
    parts = [f"above {wanted.above:g}/s: scales out {wanted.scales_out.text}"]
    if wanted.ready is not None:
        parts.append(f"ready {wanted.ready.text}")
    if wanted.scales_in:
        parts.append("scales in")
    if wanted.lost is not None:
        parts.append(f"lost {wanted.lost.text}")
    return f"{', '.join(parts)} ({wanted.load})"
