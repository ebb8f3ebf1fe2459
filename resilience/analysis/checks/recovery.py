"""The expectation that the system comes back in time. Pure."""

from __future__ import annotations

from resilience.analysis.checks.base import unknown
from resilience.analysis.evidence import RunEvidence
from resilience.analysis.findings import Findings
from resilience.analysis.judgement import FAIL, PASS, UNKNOWN, Judgement
from resilience.plan.schema import RecoversExpectation
from resilience.plan.units import NS_PER_S


def check_recovers(_: RunEvidence, findings: Findings, name: str, wanted: RecoversExpectation) -> Judgement:
    """Time to recover is an interval: the bound holds for all of it, for none of it, or it is too coarse to tell."""
    expected = f"time to recover from {wanted.fault} {wanted.time_to_recover.text}"
    finding = findings.recoveries.get(name)
    if finding is None or finding.recovery is None:
        return unknown(name, expected, finding.problem if finding is not None else "it was not analysed")
    time = finding.recovery.time_to_recover
    low_ok = wanted.time_to_recover.holds(time.low_s * NS_PER_S)
    high_ok = time.high_s is not None and wanted.time_to_recover.holds(time.high_s * NS_PER_S)
    verdict = PASS if low_ok and high_ok else FAIL if not low_ok else UNKNOWN
    margin = "" if time.high_s is None else f"{wanted.time_to_recover.margin(time.high_s * NS_PER_S):+.0%}"
    return Judgement(
        name,
        expected,
        f"{time} ({finding.load})",
        verdict,
        margin=margin,
        evidence={"load": finding.load, "hold_s": finding.hold_s, "coarse_baseline": finding.coarse},
        at_s=None if verdict == PASS else finding.reference_s,
    )
