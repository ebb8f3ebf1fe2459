"""R4: no call is admitted that started after opening and was decided before the least wait was over.

Calls in flight are exempt by their start: what had been let in while closed may still reach the dependency. The
rule needs the opening's instant from the events, or from a rejection before the leak.
"""

from __future__ import annotations

from resilience.breaker.episodes import Opening
from resilience.breaker.evidence import CallEvidence
from resilience.breaker.observation import Interval
from resilience.breaker.rules.base import Case, Finding, Rule, ms
from resilience.breaker.rules.swept import judged


def check(case: Case) -> Finding:
    """Look at every call that started after an opening, up to the end of its wait."""
    if not case.track.eventful:
        found = judged("R4", case)
        if case.explainer.conformance().accepted:
            # Every arrival was explained without a leak; what tests that is traffic that was turned away.
            found.exercised = sum(1 for call in case.track.calls if call.admitted is False)
            found.idle_why = "not exercised"
        return found
    found = Finding()
    for opening in case.openings:
        for call in opening.after:
            _look(case, opening, call, found)
    if not found.failures and case.openings:
        why = case.track.blind(case.openings[0].opened.lo_ns, case.openings[-1].until_ns)
        if why == "truncated":
            found.open_question(why)
    return found


def _look(case: Case, opening: Opening, call: CallEvidence, found: Finding) -> None:
    spec = case.spec
    least, _ = spec.wait_of(opening.nth)
    begin = opening.opened.hi_ns + spec.delta_ns
    certain_until = opening.opened.lo_ns - spec.delta_ns + least - spec.eps_ns
    possible_until = opening.opened.hi_ns + least - spec.eps_ns
    if spec.success_while_open_closes and opening.to == "closed" and opening.resolved is not None:
        # A late success may close it before its wait is over: from then on calls pass by right.
        certain_until = min(certain_until, opening.resolved.lo_ns - spec.delta_ns)
    if _not_its_doing(case, opening, call):
        return
    if call.start.hi_ns <= begin or call.start.lo_ns >= possible_until:
        return
    if call.admitted is False:
        found.exercised += call.start.lo_ns > begin
    elif call.admitted is None:
        # With the wire watched, a call that is not on it reached nothing, whatever became of it.
        if not case.track.tapped:
            found.open_question("confounded")
    elif call.start.lo_ns > begin and call.decision.hi_ns < certain_until:
        took = call.decision.hi_ns - opening.opened.lo_ns
        found.fail(
            f"a call was admitted at most {ms(took)} after opening",
            Interval(opening.opened.lo_ns, call.decision.hi_ns),
            [f"opened at {case.within(opening.opened)} ({opening.source})", case.call(call)],
            f"holds if wait <= {ms(took)}",
        )
    elif _began_half_open(case, opening, call):
        found.exercised += 1
    elif call.decision.lo_ns < possible_until:
        found.open_question("too coarse")


def _not_its_doing(case: Case, opening: Opening, call: CallEvidence) -> bool:
    """Whether somebody's hand, or a late success that closed the breaker, may have let the call in."""
    from_ns = call.decision.hi_ns + case.spec.delta_ns
    if opening.by_hand_ns is not None and from_ns >= opening.by_hand_ns:
        return True
    closed_late = case.spec.success_while_open_closes and opening.half_open_event is None
    return closed_late and opening.resolved is not None and from_ns >= opening.resolved.lo_ns


def _began_half_open(case: Case, opening: Opening, call: CallEvidence) -> bool:
    """Whether this call, and no other, can be the one that a lazy breaker entered half-open with."""
    entry = opening.half_open
    if entry is None or opening.half_open_event is None or case.spec.entry != "lazy":
        return False
    able = [
        c
        for c in opening.after
        if c.admitted is not False
        and c.decision.lo_ns <= entry.hi_ns
        and c.decision.hi_ns >= entry.lo_ns
        and c.start.hi_ns > opening.opened.hi_ns
    ]
    return (
        able == [call]
        and entry.lo_ns >= opening.opened.lo_ns + case.spec.wait_of(opening.nth)[0] - case.spec.eps_ns
    )


RULE = Rule("R4", "no leak", check, "traffic while the breaker is open")
