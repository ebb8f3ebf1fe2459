"""R15: a rejection is quick, and reaches no dependency.

Quickness is judged over all rejections, because a call is timed by its caller and a busy machine delays single
callers: the share of slow ones may not exceed one in twenty. A request on the wire for a call that was rejected
fails the rule at once.
"""

from __future__ import annotations

from resilience.breaker.evidence import CallEvidence
from resilience.breaker.observation import Interval
from resilience.breaker.rules.base import Case, Finding, Rule, hull, ms

_SLOW_SHARE = 0.05


def check(case: Case) -> Finding:
    """Time every rejection, and look for each on the wire."""
    found = Finding()
    bound = case.spec.rejection_bound_ns
    rejected = [c for c in case.track.calls if c.admitted is False]
    for call in rejected:
        if call.arrivals:
            found.fail(
                "a rejected call reached the dependency",
                hull([call], *call.arrivals),
                [case.call(call), f"its request was on the wire at {case.within(call.arrivals[0])}"],
            )
    timed = [c for c in rejected if c.end is not None]
    found.exercised += len(timed)
    if not timed:
        return found
    slow = [c for c in timed if _least(c) > bound]
    maybe = [c for c in timed if _most(c) > bound]
    worst = max(timed, key=_least)
    found.margin = f"slowest rejection {ms(_least(worst))} of {ms(bound)}"
    if len(slow) > _SLOW_SHARE * len(timed):
        assert worst.end is not None
        found.fail(
            f"{len(slow)} of {len(timed)} rejections took longer than {ms(bound)}",
            Interval(worst.start.lo_ns, worst.end.hi_ns),
            [f"{case.call(c)}, answered after at least {ms(_least(c))}" for c in slow[:5]],
            f"holds if reject_ms >= {_least(worst) / 1e6:.0f}",
        )
    elif len(maybe) > _SLOW_SHARE * len(timed):
        found.open_question("too coarse")
    return found


def _least(call: CallEvidence) -> int:
    return call.end.lo_ns - call.start.hi_ns if call.end else 0


def _most(call: CallEvidence) -> int:
    return call.end.hi_ns - call.start.lo_ns if call.end else 0


RULE = Rule("R15", "fast failure", check, "calls while the breaker is open")
