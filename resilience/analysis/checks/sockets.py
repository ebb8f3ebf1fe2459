"""The expectation on a load of sockets: connected, welcomed, answered, told what was broadcast, and kept. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from resilience.analysis.checks.base import unknown
from resilience.analysis.evidence import RunEvidence
from resilience.analysis.findings import Findings
from resilience.analysis.judgement import FAIL, PASS, UNKNOWN, Judgement, compose
from resilience.analysis.sockets import Crowd, crowd_of, from_notes
from resilience.plan.schema.expect_promises import SocketsExpectation
from resilience.plan.units import Comparison, format_duration, format_share

FIGURES: Mapping[str, Callable[[Crowd, float], float | None]] = {
    "connected": lambda crowd, _: crowd.connected_share,
    "welcomed": lambda crowd, _: crowd.welcomed_share,
    "broadcast": lambda crowd, _: crowd.heard_share,
    "lost": lambda crowd, _: crowd.lost_share,
    "message_p95": lambda crowd, bound: crowd.latency_ns(0.95, bound_ns=bound),
    "message_p99": lambda crowd, bound: crowd.latency_ns(0.99, bound_ns=bound),
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
        value = FIGURES[key](crowd, bound.bound)
        if why := _why_unknown(key, bound, crowd, value):
            verdicts.append(UNKNOWN)
            observed.append(f"{key}: {why}")
            continue
        assert value is not None
        verdicts.append(PASS if bound.holds(value) else FAIL)
        observed.append(f"{key} {_shown(key, value)}")
    return Judgement(
        name, expected, ", ".join(observed), compose(verdicts), evidence=_evidence(wanted.sockets, crowd)
    )


def _why_unknown(key: str, bound: Comparison, crowd: Crowd, value: float | None) -> str:
    """Why the record does not settle a figure; empty when it does."""
    if key.startswith("message") and crowd.latencies_dropped:
        return f"{crowd.latencies_dropped} latencies did not fit into the notes"
    if value is None:
        waited = key.startswith("message") and crowd.unanswered
        return "the users left before an answer was due" if waited else "nothing was sent"
    if key == "broadcast" and crowd.unsure:
        # Between what was written down and all that may have been dropped, the bound must hold throughout.
        most = (crowd.owed - crowd.missed + crowd.unsure) / crowd.owed
        if not (bound.holds(value) and bound.holds(most)):
            return f"{crowd.unsure} receptions may not have fitted into the notes"
    return ""


def _shown(key: str, value: float) -> str:
    if math.isinf(value):
        return "without an answer"
    return format_duration(value) if key.startswith("message") else format_share(value)


def _evidence(load: str, crowd: Crowd) -> dict[str, object]:
    return {
        "load": load,
        "wanted": crowd.wanted,
        "connected": crowd.connected,
        "opened": crowd.opened,
        "messages": len(crowd.latencies_ns) + crowd.unanswered,
        "unanswered": crowd.unanswered,
        "broadcasts": crowd.broadcasts,
        "receptions_owed": crowd.owed,
        "receptions_missed": crowd.missed,
    }
