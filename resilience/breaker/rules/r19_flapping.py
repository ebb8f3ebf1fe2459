"""R19: openings within the horizon stay within the budget that the specification sets."""

from __future__ import annotations

from bisect import bisect_right

from resilience.breaker.observation import Interval
from resilience.breaker.rules.base import Case, Finding, Rule


def check(case: Case) -> Finding:
    """Count openings in each window of the horizon that begins at an opening."""
    budget = case.spec.openings_max
    if budget is None:
        return Finding(idle_why="no budget of openings is specified")
    found = Finding(exercised=1)
    latest = sorted(o.opened.hi_ns for o in case.openings)
    earliest = sorted(o.opened.lo_ns for o in case.openings)
    for index, begin in enumerate(earliest):
        # Certain: those that began after this one's earliest moment and ended, at the latest, within the horizon.
        inside = bisect_right(latest, begin + case.spec.horizon_ns) - index
        if inside > budget:
            found.fail(
                f"{inside} openings within {case.spec.horizon_ns / 1e9:g} s, where {budget} are allowed",
                Interval(begin, latest[index + inside - 1]),
                [f"opened at {case.within(o.opened)}" for o in case.openings[index : index + inside]],
                f"holds if openings_max = {inside}",
            )
            break
    return found


RULE = Rule("R19", "flapping", check, "a budget, `openings_max`")
