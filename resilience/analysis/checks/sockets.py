"""The expectation on a load of sockets: connected, welcomed, answered, told what was broadcast, and kept. Pure."""

from __future__ import annotations

from resilience.analysis.checks.base import unknown
from resilience.analysis.evidence import RunEvidence
from resilience.analysis.findings import Findings
from resilience.analysis.judgement import FAIL, PASS, UNKNOWN, Judgement, compose
from resilience.analysis.sockets import Crowd, crowd_of, from_notes
from resilience.plan.schema.expect_promises import SocketsExpectation
from resilience.plan.units import format_duration, format_share

FIGURES = {
    "connected": lambda crowd: crowd.connected_share,
    "welcomed": lambda crowd: crowd.welcomed_share,
    "broadcast": lambda crowd: crowd.heard_share,
    "lost": lambda crowd: crowd.lost_share,
    "message_p95": lambda crowd: crowd.latency_ns(0.95),
    "message_p99": lambda crowd: crowd.latency_ns(0.99),
}
"""What each bound is compared with; None where there was nothing to see."""


def check_sockets(
    evidence: RunEvidence, findings: Findings, name: str, wanted: SocketsExpectation
) -> Judgement:
    """Every bound over all sockets that the load wanted; a user who left no note never connected."""
    bounds = wanted.bounds()
    expected = ", ".join(f"{key} {bound.text}" for key, bound in bounds.items()) + f" ({wanted.sockets})"
    if problem := findings.notes_problem(wanted.sockets):
        return unknown(name, expected, problem)
    sockets, _ = from_notes(findings.notes.get(wanted.sockets, ()))
    # Any load may have spoken to all: what each of them sent, its sockets and others' must hear.
    _, broadcasts = from_notes(note for notes in findings.notes.values() for note in notes)
    offered = sum(second.counts["offered"] for _, second in evidence.table.seconds(wanted.sockets))
    if not offered:
        return unknown(name, expected, "no socket was wanted")
    crowd = crowd_of(offered, sockets, broadcasts, grace_ns=wanted.grace)
    verdicts: list[str] = []
    observed: list[str] = []
    for key, bound in bounds.items():
        value = FIGURES[key](crowd)
        if value is None:
            verdicts.append(UNKNOWN)
            observed.append(f"{key}: nothing was sent")
            continue
        verdicts.append(PASS if bound.holds(value) else FAIL)
        observed.append(f"{key} {_shown(key, value)}")
    return Judgement(
        name, expected, ", ".join(observed), compose(verdicts), evidence=_evidence(wanted.sockets, crowd)
    )


def _shown(key: str, value: float) -> str:
    return format_duration(value) if key.startswith("message") else format_share(value)


def _evidence(load: str, crowd: Crowd) -> dict[str, object]:
    return {
        "load": load,
        "wanted": crowd.wanted,
        "connected": crowd.connected,
        "opened": crowd.opened,
        "messages": len(crowd.latencies_ns),
        "broadcasts": crowd.broadcasts,
        "receptions_owed": crowd.owed,
        "receptions_missed": crowd.missed,
    }
