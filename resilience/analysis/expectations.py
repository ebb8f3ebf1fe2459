"""The checkers of a plan's expectations, one function a kind, in an explicit registry. Pure.

A checker gets the evidence of the run, the findings of the analyses that are made once (breakers, recovery), the
expectation's id and the expectation. It says `unknown` where the evidence does not suffice, and names what is missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from resilience.analysis.evidence import RunEvidence
from resilience.analysis.findings import Findings
from resilience.analysis.judgement import FAIL, PASS, UNKNOWN, Judgement, compose
from resilience.metrics.fold import Summary
from resilience.plan.schema import (
    AmplificationExpectation,
    ConformsExpectation,
    LoadExpectation,
    OpensExpectation,
    RecoversExpectation,
    ResourceExpectation,
)
from resilience.plan.units import (
    Comparison,
    format_duration,
    format_number,
    format_rate,
    format_share,
    format_size,
)

_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Figure:
    """How one compared figure is taken from a summary of load, and shown."""

    value: Callable[[Summary], float | None]
    show: Callable[[float], str]
    words: str


def _ns(value_ms: float | None) -> float | None:
    return None if value_ms is None else value_ms * _MS


FIGURES: Mapping[str, Figure] = {
    "p50": Figure(lambda s: _ns(s.p50_ms), format_duration, "p50"),
    "p90": Figure(lambda s: _ns(s.p90_ms), format_duration, "p90"),
    "p95": Figure(lambda s: _ns(s.p95_ms), format_duration, "p95"),
    "p99": Figure(lambda s: _ns(s.p99_ms), format_duration, "p99"),
    "max": Figure(lambda s: _ns(s.max_ms), format_duration, "max"),
    "errors": Figure(lambda s: s.error_rate, format_share, "errors"),
    "fallback": Figure(lambda s: s.fallback_share, format_share, "fallback"),
    "protected": Figure(lambda s: 1 - s.error_rate, format_share, "protected"),
    "goodput": Figure(lambda s: s.good_share, format_share, "goodput"),
    "throughput": Figure(lambda s: s.throughput_per_s, format_rate, "throughput"),
}


def check_load(evidence: RunEvidence, _: Findings, name: str, wanted: LoadExpectation) -> Judgement:
    """Bounds on a load stream over a phase, over the time that a fault was in, or over all judged phases."""
    expected = ", ".join(f"{figure} {bound.text}" for figure, bound in wanted.bounds().items())
    windows, missing = _windows_of(evidence, wanted)
    where = _where(wanted)
    if not windows:
        return Judgement(name, expected, "nothing", UNKNOWN, evidence={"why": missing})
    verdicts: list[str] = []
    observed: list[str] = []
    margins: list[float] = []
    broken_s: float | None = None
    total = evidence.table.bin(wanted.load, start_s=windows[0], end_s=windows[1])
    offered = total.counts["offered"]
    summary = evidence.table.window(wanted.load, windows[0], windows[1])
    for key, bound in wanted.bounds().items():
        value = _peak(evidence, wanted.load, windows) if key == "peak" else FIGURES[key].value(summary)
        show = format_rate if key == "peak" else FIGURES[key].show
        if value is None or math.isnan(value) or not offered:
            verdicts.append(UNKNOWN)
            observed.append(f"{key} not measured")
            continue
        verdicts.append(PASS if bound.holds(value) else FAIL)
        observed.append(f"{key} {show(value)}")
        margins.append(bound.margin(value))
        if not bound.holds(value) and broken_s is None:
            broken_s = _first_breach(evidence, wanted.load, key, bound, windows)
    return Judgement(
        name,
        f"{expected} ({where})",
        ", ".join(observed),
        compose(verdicts),
        margin=f"{min(margins):+.0%}" if margins else "",
        evidence={"load": wanted.load, "window_s": list(windows), "operations": offered},
        at_s=broken_s,
    )


def _where(wanted: LoadExpectation) -> str:
    if wanted.phase is not None:
        return f"{wanted.load}, {wanted.phase}"
    if wanted.fault is not None:
        return f"{wanted.load}, while {wanted.fault}"
    return wanted.load


def _windows_of(evidence: RunEvidence, wanted: LoadExpectation) -> tuple[tuple[float, float] | None, str]:
    """The whole seconds to look at, or why there are none."""
    if wanted.phase is not None:
        span = evidence.timeline.phase(wanted.phase)
        return (span.start_ns / 1e9, span.end_ns / 1e9), ""
    if wanted.fault is not None:
        fault = evidence.faults[wanted.fault]
        if fault.injected_ns is None or fault.healed_ns is None:
            return None, f"the fault {wanted.fault} was not in place"
        start_s = math.ceil(evidence.at_s(fault.injected_ns[1]) + wanted.settle / 1e9)
        end_s = math.floor(evidence.at_s(fault.healed_ns[0]))
        if end_s - start_s < 1:
            return None, f"less than one whole second of {wanted.fault} is left after settling"
        return (float(start_s), float(end_s)), ""
    judged = [span for span in evidence.timeline.phases if span.judge]
    if not judged:
        return None, "no phase is judged"
    return (judged[0].start_ns / 1e9, judged[-1].end_ns / 1e9), ""


def _peak(evidence: RunEvidence, load: str, window: tuple[float, float]) -> float | None:
    """Highest count of good operations in one second."""
    counts = [
        found.counts["good"]
        for second, found in evidence.table.seconds(load)
        if window[0] <= second < window[1]
    ]
    return float(max(counts)) if counts else None


def _first_breach(
    evidence: RunEvidence, load: str, key: str, bound: Comparison, window: tuple[float, float]
) -> float | None:
    """First second whose own figure breaks the bound: where to look in the plot."""
    if key not in FIGURES:
        return None
    second = window[0]
    while second < window[1]:
        value = FIGURES[key].value(evidence.table.window(load, second, second + 1))
        if value is not None and not math.isnan(value) and not bound.holds(value):
            return second
        second += 1
    return window[0]


def check_opens(evidence: RunEvidence, findings: Findings, name: str, wanted: OpensExpectation) -> Judgement:
    """Every instance's breaker opens within the time, counted from when the fault was in for certain."""
    expected = f"{wanted.breaker} opens within {format_duration(wanted.within)} of {wanted.fault}"
    fault = evidence.faults[wanted.fault]
    report = findings.breakers.get(wanted.breaker)
    if fault.injected_ns is None:
        return Judgement(
            name, expected, "nothing", UNKNOWN, evidence={"why": f"{wanted.fault} was not injected"}
        )
    if report is None or not report.instances:
        why = findings.breaker_problems.get(wanted.breaker, "no breaker was observed")
        return Judgement(name, expected, "no breaker", UNKNOWN, evidence={"why": why})
    verdicts: list[str] = []
    slowest = 0.0
    observed: dict[str, Any] = {}
    for instance in report.instances:
        label = instance.instance or "?"
        # A breaker that reacts to the first failures may open while the injecting request is still being answered.
        opened = [
            step.at
            for step in instance.path
            if step.state == "open" and step.at.hi_ns >= fault.injected_ns[0]
        ]
        if not opened:
            verdicts.append(FAIL)
            observed[label] = "never"
            continue
        earliest_s = (opened[0].lo_ns - fault.injected_ns[1]) / 1e9
        latest_s = (opened[0].hi_ns - fault.injected_ns[0]) / 1e9
        within_s = wanted.within / 1e9
        verdicts.append(PASS if latest_s <= within_s else FAIL if earliest_s > within_s else UNKNOWN)
        slowest = max(slowest, latest_s)
        observed[label] = f"{latest_s:.3f} s"
    verdict = compose(verdicts)
    return Judgement(
        name,
        expected,
        ", ".join(f"{label} {text}" for label, text in observed.items()),
        verdict,
        margin=f"{1 - slowest / (wanted.within / 1e9):+.0%}" if verdict == PASS else "",
        evidence={"breaker": wanted.breaker, "instances": observed},
        at_s=evidence.at_s(fault.injected_ns[1] + wanted.within) if verdict == FAIL else None,
    )


def check_conforms(_: RunEvidence, findings: Findings, name: str, wanted: ConformsExpectation) -> Judgement:
    """The verifier's verdict on one breaker, or on all of them."""
    names = sorted(findings.followed) if wanted.breaker == "*" else [wanted.breaker]
    expected = f"{', '.join(names)} conforms, {', '.join(wanted.require)} exercised"
    verdicts: list[str] = []
    observed: list[str] = []
    at_s: float | None = None
    for breaker in names:
        report = findings.breakers.get(breaker)
        if report is None:
            verdicts.append(UNKNOWN)
            observed.append(f"{breaker}: {findings.breaker_problems.get(breaker, 'no breaker was observed')}")
            continue
        verdict = report.verdict(wanted.require)
        verdicts.append(verdict)
        declared = ", ".join(report.declared)
        observed.append(
            report.reason(wanted.require)
            + (f"; declared: {declared}" if declared and verdict == PASS else "")
        )
        if verdict == FAIL and at_s is None:
            at_s = _first_failure_s(report, findings)
    return Judgement(
        name, expected, "; ".join(observed), compose(verdicts), evidence={"breakers": names}, at_s=at_s
    )


def _first_failure_s(report: Any, findings: Findings) -> float | None:
    times = [
        (rule.witness.window.hi_ns - findings.epoch_ns) / 1e9
        for instance in report.instances
        for rule in instance.rules.values()
        if rule.verdict.value == "FAIL" and rule.witness is not None
    ]
    return min(times, default=None)


def check_recovers(_: RunEvidence, findings: Findings, name: str, wanted: RecoversExpectation) -> Judgement:
    """Time to recover, as an interval: it holds, it does not, or it is too coarse to tell."""
    expected = f"time to recover from {wanted.fault} {wanted.time_to_recover.text}"
    finding = findings.recoveries.get(name)
    if finding is None or finding.recovery is None:
        why = finding.problem if finding is not None else "it was not analysed"
        return Judgement(name, expected, "nothing", UNKNOWN, evidence={"why": why})
    time = finding.recovery.time_to_recover
    low_ok = wanted.time_to_recover.holds(time.low_s * 1e9)
    high_ok = time.high_s is not None and wanted.time_to_recover.holds(time.high_s * 1e9)
    verdict = PASS if low_ok and high_ok else FAIL if not low_ok else UNKNOWN
    return Judgement(
        name,
        expected,
        str(time),
        verdict,
        margin="" if time.high_s is None else f"{wanted.time_to_recover.margin(time.high_s * 1e9):+.0%}",
        evidence={"load": finding.load, "hold_s": finding.hold_s, "coarse_baseline": finding.coarse},
        at_s=finding.reference_s,
    )


def check_amplification(
    evidence: RunEvidence, findings: Findings, name: str, wanted: AmplificationExpectation
) -> Judgement:
    """Calls seen by the tap per call offered by the loads that cause them (ids are counted, not only arrivals)."""
    expected = f"calls to {wanted.proxy} per call offered {wanted.amplification.text}"
    arrivals = findings.arrivals.get(wanted.proxy)
    if not arrivals:
        why = f"no tap stands before {wanted.proxy}, or nothing passed it"
        return Judgement(name, expected, "nothing", UNKNOWN, evidence={"why": why})
    loads = [wanted.load] if wanted.load is not None else list(evidence.plan.load)
    mine = [seen for seen in arrivals if any(seen.startswith(f"{evidence.run_id}-{load}-") for load in loads)]
    distinct = len(set(mine))
    if not distinct:
        why = "no call on the wire carries an id of this run's load"
        return Judgement(name, expected, "nothing", UNKNOWN, evidence={"why": why})
    ratio = len(mine) / distinct
    return Judgement(
        name,
        expected,
        format_number(ratio),
        PASS if wanted.amplification.holds(ratio) else FAIL,
        margin=f"{wanted.amplification.margin(ratio):+.0%}",
        evidence={"arrivals": len(mine), "distinct_ids": distinct, "loads": loads},
    )


def check_resource(evidence: RunEvidence, _: Findings, name: str, wanted: ResourceExpectation) -> Judgement:
    """Memory growth (last tenth over first tenth, medians, summed over processes) and processes that went away."""
    from resilience.analysis.memory import memory_growth_bytes  # noqa: PLC0415 - beside its only user

    expected = ", ".join(
        f"{key} {bound.text}" for key in ("growth", "restarts") if (bound := getattr(wanted, key)) is not None
    )
    samples = [e for e in evidence.events.get("resource", ()) if e.get("service") == wanted.service]
    if not samples:
        why = f"no process of {wanted.service} is within reach"
        return Judgement(name, expected, "nothing", UNKNOWN, evidence={"why": why})
    verdicts: list[str] = []
    observed: list[str] = []
    growth = memory_growth_bytes(samples)
    if wanted.growth is not None:
        if growth is None:
            verdicts.append(UNKNOWN)
            observed.append("growth not measured: too few samples")
        else:
            verdicts.append(PASS if wanted.growth.holds(growth) else FAIL)
            observed.append(f"growth {format_size(growth)}")
    if wanted.restarts is not None:
        gone = sum(1 for sample in samples if sample.get("gone"))
        verdicts.append(PASS if wanted.restarts.holds(gone) else FAIL)
        observed.append(f"restarts {gone}")
    return Judgement(
        name, expected, ", ".join(observed), compose(verdicts), evidence={"service": wanted.service}
    )


Checker = Callable[[RunEvidence, Findings, str, Any], Judgement]
CHECKERS: Mapping[type, Checker] = {
    LoadExpectation: check_load,
    OpensExpectation: check_opens,
    ConformsExpectation: check_conforms,
    RecoversExpectation: check_recovers,
    AmplificationExpectation: check_amplification,
    ResourceExpectation: check_resource,
}
