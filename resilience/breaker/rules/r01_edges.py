"""R1: each transition starts where the last one ended, and is legal or declared manual."""

from __future__ import annotations

from itertools import pairwise

from resilience.breaker.observation import Interval, Transition
from resilience.breaker.rules.base import Case, Finding, Rule

_LEGAL = frozenset({
    ("closed", "open"),
    ("open", "half_open"),
    ("half_open", "open"),
    ("half_open", "closed"),
})  # fmt: skip


def check(case: Case) -> Finding:
    """Walk the reported transitions in the order that the track settled on."""
    found = Finding(idle_why="no events" if not case.track.eventful else "not exercised")
    if case.track.lost("events", "sse"):
        found.open_question("truncated")
    events = case.track.transitions
    for event in events:
        if not _legal(event, case):
            found.fail(
                f"{event.from_state} to {event.to_state} is not a legal transition",
                event.at,
                [_line(case, event)],
            )
        else:
            found.exercised += 1
    for before, after in pairwise(events):
        if after.from_state == before.to_state or found.unsettled:
            continue
        if before.seq is not None and after.seq is not None and after.seq != before.seq + 1:
            found.open_question("truncated")
            continue
        found.fail(
            f"a transition left {after.from_state} though the last one entered {before.to_state}",
            Interval(min(before.at.lo_ns, after.at.lo_ns), max(before.at.hi_ns, after.at.hi_ns)),
            [_line(case, before), _line(case, after)],
        )
    return found


def _legal(event: Transition, case: Case) -> bool:
    if event.manual or {"forced_open", "disabled"} & {event.from_state, event.to_state}:
        return True
    if event.from_state == event.to_state:
        return case.spec.self_loops
    if (event.from_state, event.to_state) == ("open", "closed"):
        # Where half-open is only computed on reading, nobody may have read it in between; and a late success may do it (R13).
        return case.spec.half_open_event == "none" or case.spec.success_while_open_closes
    return (event.from_state, event.to_state) in _LEGAL


def _line(case: Case, event: Transition) -> str:
    number = "" if event.seq is None else f" (seq {event.seq})"
    return f"event at {case.within(event.at)}{number}: {event.from_state} to {event.to_state}"


RULE = Rule("R1", "edges", check, "a trip and a recovery")
