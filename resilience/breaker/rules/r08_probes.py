"""R8: calls that are certainly in half-open at one instant do not exceed the permitted number.

A probe is certainly in flight from the latest instant of its decision to the earliest of its outcome, or of the
half-open state's end. In `total` mode all admissions before the resolution count, ended or not.
"""

from __future__ import annotations

from resilience.breaker.episodes import Opening
from resilience.breaker.evidence import FOREVER_NS, CallEvidence
from resilience.breaker.rules.base import Case, Finding, Rule, hull
from resilience.breaker.rules.swept import judged
from resilience.breaker.spec import BreakerSpec


def check(case: Case) -> Finding:
    """Sweep each half-open state for its greatest certain and greatest possible number of probes."""
    if not case.track.eventful or case.spec.stale_frees_permit:
        return judged("R8", case)
    found = Finding()
    permitted = case.spec.permitted
    total = case.spec.probes == "total"
    most = 0
    for opening in case.openings:
        if opening.half_open is None:
            continue
        certain = most_at_once(certain_probes(case.spec, opening, total=total))
        possible = most_at_once(_possible(case, opening, total=total))
        most = max(most, len(certain))
        if permitted is None:
            found.exercised += len(certain) > 1
        elif len(certain) > permitted:
            found.fail(
                f"{len(certain)} probes at once, where {permitted} {'is' if permitted == 1 else 'are'} permitted",
                hull(certain),
                [
                    f"opened at {case.within(opening.opened)}",
                    f"left half-open at {case.within(opening.resolved) if opening.resolved else 'no known time'}",
                    *[case.call(c) for c in certain],
                ],
                f"holds if permitted = {len(certain)}",
            )
        elif len(possible) > permitted:
            found.open_question("too coarse")
        elif (why := case.track.blind(opening.half_open.lo_ns, opening.until_ns)) is not None:
            found.open_question(why)
        else:
            found.exercised += _pressed(case, opening, certain, permitted)
    if most:
        found.rank = -most
        found.margin = f"at most {most} certainly at once"
    return found


_Span = tuple[int, int, CallEvidence]


def certain_probes(spec: BreakerSpec, opening: Opening, *, total: bool) -> list[_Span]:
    """The probes of an opening, each with the time in which it certainly held a permit: (from, to, call)."""
    end = _end_of_half_open(spec, opening)
    spans: list[_Span] = []
    for call in opening.probes(spec.delta_ns):
        busy_from, busy_to = call.certainly_busy
        # Without a result a call gives its permit back, in whichever way permits are counted.
        kept = total and call.kind in {"success", "failure"}
        until = end if kept else min(end, busy_to)
        if busy_from < until:
            spans.append((busy_from, until, call))
    return spans


def _end_of_half_open(spec: BreakerSpec, opening: Opening) -> int:
    """The last instant that is certainly still half-open."""
    return opening.resolved.lo_ns - spec.delta_ns if opening.resolved else FOREVER_NS


def _possible(case: Case, opening: Opening, *, total: bool) -> list[_Span]:
    end = opening.until_ns
    spans: list[_Span] = []
    for call in opening.possible_probes(case.spec.delta_ns):
        if call.start.hi_ns <= opening.opened.hi_ns or call.decision.lo_ns >= end - case.spec.delta_ns:
            continue  # let in before the opening, or after half-open had ended, but for what no stamp can tell
        kept = total and call.kind != "neutral"
        # A call that waits for the probe before it is let in when it leaves, not when it came.
        begun = call.decision.hi_ns if case.spec.excess == "queues" and call.arrivals else call.decision.lo_ns
        until = end if kept or call.finish is None else min(end, call.finish.hi_ns)
        if begun < end:
            spans.append((begun, max(until, begun + 1), call))
    return spans


def most_at_once(spans: list[_Span]) -> list[CallEvidence]:
    """The calls in flight at the instant of greatest overlap."""
    edges = sorted([(s[0], 1, i) for i, s in enumerate(spans)] + [(s[1], 0, i) for i, s in enumerate(spans)])
    flying: set[int] = set()
    best: set[int] = set()
    for _, kind, index in edges:
        if kind:
            flying.add(index)
            if len(flying) > len(best):
                best = set(flying)
        else:
            flying.discard(index)
    return [spans[i][2] for i in sorted(best)]


def _pressed(case: Case, opening: Opening, certain: list[CallEvidence], permitted: int) -> bool:
    """Whether more calls than permitted asked: full half-open, and another call turned away from it."""
    if len(certain) < permitted:
        return False
    full_from = max(c.decision.hi_ns for c in certain)
    full_to = min([c.finish.lo_ns if c.finish else FOREVER_NS for c in certain] + [opening.until_ns])
    if case.spec.excess == "queues":
        return any(
            c.admitted and c.start.lo_ns < full_to <= c.decision.hi_ns
            for c in opening.after
            if c not in certain
        )
    return any(c.start.hi_ns >= full_from and c.decision.hi_ns <= full_to for c in opening.rejections())


RULE = Rule("R8", "probe cap", check, "dense traffic at the end of the wait")
