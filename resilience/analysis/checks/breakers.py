"""Expectations on circuit breakers: that they open in time, and that they keep their specification. Pure."""

from __future__ import annotations

from resilience.analysis.checks.base import unknown
from resilience.analysis.evidence import RunEvidence
from resilience.analysis.findings import Findings
from resilience.analysis.judgement import FAIL, PASS, UNKNOWN, Judgement, compose
from resilience.breaker.report import BreakerReport, Verdict
from resilience.plan.schema import ConformsExpectation, OpensExpectation
from resilience.plan.units import NS_PER_S, format_duration


def check_opens(evidence: RunEvidence, findings: Findings, name: str, wanted: OpensExpectation) -> Judgement:
    """Every instance's breaker opens within the time, counted from when the fault was in for certain."""
    expected = f"{wanted.breaker} opens within {format_duration(wanted.within)} of {wanted.fault}"
    injected_ns = evidence.faults[wanted.fault].injected_ns
    if injected_ns is None:
        return unknown(name, expected, f"{wanted.fault} was not injected")
    report = findings.breakers.get(wanted.breaker)
    if report is None or not report.instances:
        return unknown(
            name, expected, findings.breaker_problems.get(wanted.breaker, "no breaker was observed")
        )
    verdicts: list[str] = []
    observed: dict[str, str] = {}
    slowest_s = 0.0
    within_s = wanted.within / NS_PER_S
    for instance in report.instances:
        label = instance.instance or "?"
        before = [step.state for step in instance.path if step.at.hi_ns < injected_ns[0]]
        if before and before[-1] != "closed":
            # It opened for a reason of its own: whether this fault would have opened it was not seen.
            verdicts.append(UNKNOWN)
            observed[label] = f"was already {before[-1].replace('_', '-')}"
            continue
        # A breaker that reacts to the first failures may open while the injecting request is still being answered.
        opened = [
            step.at for step in instance.path if step.state == "open" and step.at.hi_ns >= injected_ns[0]
        ]
        if not opened:
            verdicts.append(FAIL)
            observed[label] = "never"
            continue
        earliest_s = (opened[0].lo_ns - injected_ns[1]) / NS_PER_S
        latest_s = (opened[0].hi_ns - injected_ns[0]) / NS_PER_S
        verdicts.append(PASS if latest_s <= within_s else FAIL if earliest_s > within_s else UNKNOWN)
        slowest_s = max(slowest_s, latest_s)
        observed[label] = f"{latest_s:.3f} s"
    for label in unseen_instances(evidence, report):
        verdicts.append(UNKNOWN)
        observed[label] = "not observed"
    verdict = compose(verdicts)
    return Judgement(
        name,
        expected,
        ", ".join(f"{label} {text}" for label, text in observed.items()),
        verdict,
        margin=f"{1 - slowest_s / within_s:+.0%}" if verdict == PASS else "",
        evidence={"breaker": wanted.breaker, "instances": observed},
        at_s=evidence.at_s(injected_ns[1] + wanted.within) if verdict == FAIL else None,
    )


def check_conforms(
    evidence: RunEvidence, findings: Findings, name: str, wanted: ConformsExpectation
) -> Judgement:
    """The verifier's verdict on one breaker, or on all of them, over every instance that the system has."""
    breakers = sorted(findings.followed) if wanted.breaker == "*" else [wanted.breaker]
    expected = f"{', '.join(breakers)} conforms, {', '.join(wanted.require)} exercised"
    verdicts: list[str] = []
    observed: list[str] = []
    at_s: float | None = None
    for breaker in breakers:
        report = findings.breakers.get(breaker)
        if report is None or not report.instances:
            verdicts.append(UNKNOWN)
            observed.append(f"{breaker}: {findings.breaker_problems.get(breaker, 'no breaker was observed')}")
            continue
        verdict = report.verdict(wanted.require)
        declared = ", ".join(report.declared)
        observed.append(
            report.reason(wanted.require)
            + (f"; declared: {declared}" if declared and verdict == PASS else "")
        )
        unseen = unseen_instances(evidence, report)
        if unseen:
            observed.append(f"{breaker} was not observed in {', '.join(unseen)}")
        verdicts.append(compose([verdict, UNKNOWN] if unseen else [verdict]))
        if verdict == FAIL and at_s is None:
            at_s = _first_failure_s(evidence, report)
    evidence_of = {"breakers": breakers}
    return Judgement(name, expected, "; ".join(observed), compose(verdicts), evidence=evidence_of, at_s=at_s)


def unseen_instances(evidence: RunEvidence, report: BreakerReport) -> list[str]:
    """Instances of the same service of which there is no evidence: "every instance" would not be true of them."""
    listed = evidence.environment.get("system", {}).get("instances", [])
    seen = {instance.instance for instance in report.instances}
    services = {entry["service"] for entry in listed if entry["name"] in seen}
    return [entry["name"] for entry in listed if entry["service"] in services and entry["name"] not in seen]


def _first_failure_s(evidence: RunEvidence, report: BreakerReport) -> float | None:
    times = [
        evidence.at_s(rule.witness.window.hi_ns)
        for instance in report.instances
        for rule in instance.rules.values()
        if rule.verdict is Verdict.FAIL and rule.witness is not None
    ]
    return min(times, default=None)
