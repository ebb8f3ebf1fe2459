"""R20: every instance with traffic recovers once another one has, and the fleet keeps to its number of probes.

The number of probes over all instances is bounded by instances x permitted: a dependency that is getting well must not be run
over by the sum of its callers. And a replica must not stay stuck while its peers are long closed.
"""

from __future__ import annotations

from resilience.breaker.observation import Interval
from resilience.breaker.rules.base import Case, Finding, Rule, hull, ms
from resilience.breaker.rules.r08_probes import certain_probes, most_at_once


def check(case: Case) -> Finding:
    """Hold an instance that is still open against the recovery of its peers."""
    found = Finding(idle_why="a single instance" if len(case.peers) < 2 else "not exercised")
    if len(case.peers) < 2 or not case.openings:
        return found
    _probes(case, found)
    last = case.openings[-1]
    recovered = [
        opening.resolved.hi_ns
        for openings in case.peers
        for opening in openings
        if opening.to == "closed" and opening.resolved is not None
        if opening.resolved.hi_ns > last.opened.hi_ns or openings is case.openings
    ]
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


def _probes(case: Case, found: Finding) -> None:
    """Probes of all instances that were certainly in flight at one instant."""
    permitted = case.spec.permitted
    if permitted is None:
        return
    total = case.spec.probes == "total"
    spans = [
        span
        for openings in case.peers
        for opening in openings
        if opening.half_open is not None
        for span in certain_probes(case.spec, opening, total=total)
    ]
    most = most_at_once(spans)
    allowed = permitted * len(case.peers)
    found.rank = -len(most)
    found.margin = f"at most {len(most)} of {allowed} probes certainly at once in {len(case.peers)} instances"
    if len(most) > allowed:
        found.fail(
            f"{len(most)} probes at once over {len(case.peers)} instances, where {allowed} are permitted",
            hull(most),
            [case.call(call) for call in most],
            f"holds if permitted = {-(-len(most) // len(case.peers))}",
        )


RULE = Rule("R20", "fleet", check, "several instances with traffic until the end")
