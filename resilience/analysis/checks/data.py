"""Expectations on data: reads are coherent, the cache answers, and every acknowledged order is there exactly once. Pure."""

from __future__ import annotations

from resilience.analysis import coherence, orders
from resilience.analysis.checks.base import unknown
from resilience.analysis.evidence import RunEvidence
from resilience.analysis.findings import Findings
from resilience.analysis.judgement import FAIL, PASS, Judgement
from resilience.plan.schema.expect_promises import CoherenceExpectation, HitRateExpectation, OrdersExpectation
from resilience.plan.units import format_duration, format_share

_SHOWN = 5
"""How many witnesses a verdict names."""


def check_coherence(
    evidence: RunEvidence, findings: Findings, name: str, wanted: CoherenceExpectation
) -> Judgement:
    """Reads of one load against the acknowledged writes of it, or of another."""
    bound = f" beyond {format_duration(wanted.staleness)}" if wanted.staleness else ""
    expected = f"stale or crossed reads{bound} {wanted.stale.text} ({wanted.load})"
    writers = wanted.writes or wanted.load
    for load in (wanted.load, writers):
        if problem := findings.notes_problem(load):
            return unknown(name, expected, problem)
    reads, _ = coherence.from_notes(findings.notes.get(wanted.load, ()))
    _, writes = coherence.from_notes(findings.notes.get(writers, ()))
    found = coherence.coherence_of(reads, writes, staleness_ns=wanted.staleness)
    if not found.checked:
        return unknown(name, expected, "no read came after an acknowledged write of its key")
    first = min([s.read.start_ns for s in found.stale] + [r.start_ns for r in found.crossed], default=None)
    return Judgement(
        name,
        expected,
        f"{found.violations} of {found.checked} reads after a write",
        PASS if wanted.stale.holds(found.violations) else FAIL,
        evidence={
            "reads": found.reads,
            "writes": len(writes),
            "checked": found.checked,
            "stale": [
                {
                    "key": s.read.key,
                    "read": s.read.version,
                    "owed": s.owed_version,
                    "acknowledged_s": round(evidence.at_s(s.acknowledged_ns), 3),
                    "read_s": round(evidence.at_s(s.read.start_ns), 3),
                    "cache": s.read.cache,
                }
                for s in found.stale[:_SHOWN]
            ],
            "crossed": [{"key": r.key, "found": r.found_key} for r in found.crossed[:_SHOWN]],
        },
        at_s=None if first is None else evidence.at_s(first),
    )


def check_hit_rate(
    evidence: RunEvidence, findings: Findings, name: str, wanted: HitRateExpectation
) -> Judgement:
    """Hits among the reads of a phase that say how they were served."""
    expected = f"hit rate {wanted.hit_rate.text} ({wanted.load}, {wanted.phase})"
    if problem := findings.notes_problem(wanted.load):
        return unknown(name, expected, problem)
    span = evidence.timeline.phase(wanted.phase)
    reads, _ = coherence.from_notes(findings.notes.get(wanted.load, ()))
    rate = coherence.hit_rate(
        reads, start_ns=evidence.epoch_ns + span.start_ns, end_ns=evidence.epoch_ns + span.end_ns
    )
    if rate is None:
        return unknown(name, expected, "no read of that phase says how it was served")
    return Judgement(
        name,
        expected,
        format_share(rate),
        PASS if wanted.hit_rate.holds(rate) else FAIL,
        margin=f"{wanted.hit_rate.margin(rate):+.0%}",
        evidence={"load": wanted.load},
    )


def check_orders(_: RunEvidence, findings: Findings, name: str, wanted: OrdersExpectation) -> Judgement:
    """What callers were told against what the ledger says afterwards."""
    expected = f"acknowledged orders lost {wanted.lost.text}, doubled {wanted.doubled.text} ({wanted.load})"
    for load in (wanted.load, wanted.ledger):
        if problem := findings.notes_problem(load):
            return unknown(name, expected, problem)
    placed = orders.placed_from(findings.notes.get(wanted.load, ()))
    ledger = orders.ledger_from(findings.notes.get(wanted.ledger, ()))
    if not ledger:
        return unknown(name, expected, "nobody read the ledger")
    unread = sorted(ref for ref, told in placed.items() if told == orders.ACKNOWLEDGED and ref not in ledger)
    if unread:
        return unknown(name, expected, f"{len(unread)} acknowledged orders were not looked up")
    audit = orders.audit_orders(placed, ledger)
    if not audit.acknowledged:
        return unknown(name, expected, "no order was acknowledged")
    wrong = len(audit.lost), len(audit.doubled) + len(audit.refused_but_there)
    return Judgement(
        name,
        expected,
        f"{wrong[0]} lost, {wrong[1]} too many, of {audit.acknowledged} acknowledged",
        PASS if wanted.lost.holds(wrong[0]) and wanted.doubled.holds(wrong[1]) else FAIL,
        evidence={
            "acknowledged": audit.acknowledged,
            "refused": audit.refused,
            "unsettled": audit.unsettled,
            "lost": list(audit.lost[:_SHOWN]),
            "doubled": list(audit.doubled[:_SHOWN]),
            "refused_but_there": list(audit.refused_but_there[:_SHOWN]),
        },
    )
