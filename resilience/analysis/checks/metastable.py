"""The expectation that an overload ends with its cause, or, on a system known for it, that it does not. Pure."""

from __future__ import annotations

import math

from resilience.analysis.baseline import against_baseline
from resilience.analysis.checks.base import unknown
from resilience.analysis.evidence import RunEvidence
from resilience.analysis.findings import Findings
from resilience.analysis.health import BaselineRefused
from resilience.analysis.judgement import FAIL, PASS, UNKNOWN, Judgement
from resilience.analysis.metastability import (
    Metastability,
    State,
    Window,
    classify,
    least_watch_s,
)
from resilience.plan.schema.expect_promises import MetastableExpectation
from resilience.plan.units import NS_PER_S

_GOOD = {"never": (State.HEALTHY, State.SLOW), "confirmed": (State.METASTABLE,)}


def check_metastable(
    evidence: RunEvidence, findings: Findings, name: str, wanted: MetastableExpectation
) -> Judgement:
    """Classify what came after the fault; a suspicion that nobody confirmed is unknown, either way."""
    expected = f"metastable: {wanted.metastable} ({wanted.load}, after {wanted.fault})"
    fault = evidence.faults[wanted.fault]
    if fault.verified_ns is None:
        return unknown(name, expected, f"{wanted.fault} was not verified as healed")
    try:
        found = _classified(evidence, findings, name, wanted, evidence.at_s(fault.verified_ns[1]))
    except BaselineRefused as refused:
        return unknown(name, expected, str(refused))
    if found.state in _GOOD[wanted.metastable]:
        verdict = PASS
    elif found.state in (State.UNKNOWN, State.SUSPECT):
        verdict = UNKNOWN
    else:
        verdict = FAIL
    loop = findings.loops.get(name) if found.state in (State.METASTABLE, State.SUSPECT) else None
    return Judgement(
        name,
        expected,
        f"{found.state}: {found.reason}" + (f"; sustained by {loop}" if loop else ""),
        verdict,
        evidence={
            "unhealthy_share": round(found.unhealthy_share, 3),
            "healed_at_share": found.healed_at_share,
            "amplification": findings.amplification.get(name),
        },
        at_s=evidence.timeline.phase(wanted.watch).start_ns / NS_PER_S if verdict == FAIL else None,
    )


def _classified(
    evidence: RunEvidence, findings: Findings, name: str, wanted: MetastableExpectation, healed_s: float
) -> Metastability:
    baseline, points = against_baseline(evidence, wanted.load)
    spans = {phase: evidence.timeline.phase(phase) for phase in wanted.phases()}
    watch = spans[wanted.watch]
    if wanted.least is not None:
        least_s = wanted.least / NS_PER_S
    else:
        waits = [float(r.spec.get("wait_ns", 0)) / NS_PER_S for r in findings.breakers.values()]
        p99_ns = evidence.table.bin(wanted.load, phase="baseline").histograms["r"].quantile(0.99)
        least_s = least_watch_s(
            timeout_s=findings.timeouts_s.get(wanted.load, 0.0),
            attempts=findings.amplification.get(name) or 1.0,
            breaker_wait_s=max(waits, default=0.0),
            p99_s=(p99_ns or 0) / NS_PER_S,
        )
    return classify(
        points,
        baseline,
        # Whole seconds from when the fault was seen gone.
        watch=Window(max(watch.start_ns / NS_PER_S, math.ceil(healed_s)), watch.end_ns / NS_PER_S),
        least_s=least_s,
        hold_s=wanted.hold / NS_PER_S,
        probes=[
            Window(spans[p].start_ns / NS_PER_S, spans[p].end_ns / NS_PER_S, share)
            for p, share in wanted.probes.items()
        ],
        again=None
        if wanted.again is None
        else Window(spans[wanted.again].start_ns / NS_PER_S, spans[wanted.again].end_ns / NS_PER_S),
    )
