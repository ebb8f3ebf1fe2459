"""R4: no call is admitted that started after opening and was decided before the least wait was over.

Calls in flight are exempt by their start: what had been let in while closed may still reach the dependency. The
rule needs the opening's instant from the events, or from a rejection before the leak.
"""

from __future__ import annotations

from resilience.breaker.observation import Interval
from resilience.breaker.rules.base import Case, Finding, Rule, ms


def check(case: Case) -> Finding:
    """Look at every call that started after an opening, up to the end of its wait."""
    found = Finding()
    spec = case.spec
    for opening in case.openings:
        least, _ = spec.wait_of(opening.nth)
        begin = opening.opened.hi_ns + spec.delta_ns
        certain_until = opening.opened.lo_ns - spec.delta_ns + least - spec.eps_ns
        possible_until = opening.opened.hi_ns + least - spec.eps_ns
        for call in opening.after:
            if call.start.hi_ns <= begin or call.start.lo_ns >= possible_until:
                continue
            if call.admitted is False:
                found.exercised += call.start.lo_ns > begin
            elif call.admitted and call.start.lo_ns > begin and call.decision.hi_ns < certain_until:
                found.fail(
                    f"a call was admitted {ms(call.decision.hi_ns - opening.opened.lo_ns)} after opening, at the latest",
                    Interval(opening.opened.lo_ns, call.decision.hi_ns),
                    [f"opened at {case.within(opening.opened)} ({opening.source})", case.call(call)],
                    f"holds if wait <= {ms(call.decision.hi_ns - opening.opened.lo_ns)}",
                )
            elif call.admitted is None:
                # With the wire watched, a call that is not on it reached nothing, whatever became of it.
                if not case.track.tapped:
                    found.open_question("confounded")
            elif call.decision.lo_ns < possible_until:
                found.open_question("too coarse")
    if not found.failures and case.openings:
        why = case.track.blind(case.openings[0].opened.lo_ns, case.openings[-1].until_ns)
        if why == "truncated":
            found.open_question(why)
    return found


RULE = Rule("R4", "no leak", check, "traffic while the breaker is open")
