"""R20: every instance with traffic recovers once another one has, and the fleet keeps to its number of probes.

The number of probes over all instances is bounded by instances x permitted, which follows where each instance keeps
R8. What a single instance cannot show is a replica that stays stuck while its peers are long closed.
"""

from __future__ import annotations

from resilience.breaker.observation import Interval
from resilience.breaker.rules.base import Case, Finding, Rule, ms


def check(case: Case) -> Finding:
    """Hold an instance that is still open against the recovery of its peers."""
    found = Finding(idle_why="a single instance" if len(case.peers) < 2 else "not exercised")
    if len(case.peers) < 2 or not case.openings:
        return found
    recovered = [
        openings[-1].resolved.hi_ns
        for openings in case.peers
        if openings and openings[-1].to == "closed" and openings[-1].resolved is not None
    ]
    last = case.openings[-1]
    if last.to == "closed":
        found.exercised += bool(recovered)
        return found
    if not recovered:
        return found
    _, most = case.spec.wait_of(last.nth)
    patience = 3 * most + 2 * (case.spec.timeout_ns or 0) + case.spec.eps_ns
    since = max(min(recovered), last.opened.hi_ns)
    asked = [
        c for c in case.track.calls_deciding(since + patience, case.track.span.hi_ns) if c.admitted is False
    ]
    if asked:
        found.fail(
            f"still open {ms(asked[-1].decision.lo_ns - since)} after a peer had recovered",
            Interval(since, asked[-1].decision.hi_ns),
            [
                f"opened at {case.within(last.opened)}, never closed again",
                f"a peer closed at {case.at(min(recovered))}",
                case.call(asked[-1]),
            ],
        )
    else:
        found.open_question("no traffic after a peer had recovered")
    return found


RULE = Rule("R20", "fleet", check, "several instances with traffic until the end")
