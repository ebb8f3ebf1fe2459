"""Outcomes that may have reached a half-open breaker: shared by the rules about closing and reopening.

An outcome *qualifies* if its call was admitted after the opening or, where the dialect counts stale outcomes, at
any time. Each question has two answers: which outcomes qualify for certain, and which may.
"""

from __future__ import annotations

from collections.abc import Sequence

from resilience.breaker.episodes import Opening
from resilience.breaker.evidence import FOREVER_NS, CallEvidence
from resilience.breaker.rules.base import Case


def certain(case: Case, opening: Opening, kind: str) -> list[CallEvidence]:
    """Probes whose outcome is of this kind, in order of the latest instant at which the breaker knew."""
    entered = opening.half_open.lo_ns if opening.half_open else opening.opened.lo_ns
    found = [
        c
        for c in opening.probes(case.spec.delta_ns)
        if c.kind == kind and c.finish is not None and c.finish.lo_ns >= entered
    ]
    return sorted(found, key=_known_by)


def possible(case: Case, opening: Opening, kind: str, by_ns: int) -> list[CallEvidence]:
    """Calls whose outcome may be of this kind and may have reached the half-open breaker before `by_ns`."""
    entered = opening.half_open.lo_ns if opening.half_open else opening.opened.lo_ns
    fitting = {kind, "unknown"}
    pool: Sequence[CallEvidence] = opening.possible_probes(case.spec.delta_ns)
    if case.spec.stale != "ignored":
        # Older calls may still have been in flight, but no further back than the longest call lasted.
        pool = case.track.calls_deciding(entered - case.track.longest_ns - case.spec.delta_ns, by_ns)
    return [
        c
        for c in pool
        if c.kind in fitting
        and c.admitted is not False
        and c.finish is not None
        and c.finish.lo_ns <= by_ns
        and c.finish.hi_ns >= entered - case.spec.delta_ns
    ]


def _known_by(call: CallEvidence) -> int:
    return call.finish.hi_ns if call.finish else FOREVER_NS
