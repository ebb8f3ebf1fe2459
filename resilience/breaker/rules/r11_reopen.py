"""R11: a qualifying failure in half-open opens the breaker within eps, and nothing else does.

The fresh wait that the reopening starts is R5's and R6's concern, since each reopening is an opening of its own.
"""

from __future__ import annotations

from resilience.breaker.episodes import Opening
from resilience.breaker.observation import Interval
from resilience.breaker.rules import outcomes
from resilience.breaker.rules.base import Case, Finding, Rule, ms
from resilience.breaker.rules.swept import judged


def check(case: Case) -> Finding:
    """Each half-open state: whether a failure failed to open it, or it opened without one."""
    spec = case.spec
    by_count = spec.close_ratio is not None or spec.successes_of is not None or not spec.reopen_on_failure
    if not case.track.eventful or by_count:
        return judged("R11", case)
    found = Finding()
    for opening in case.openings:
        if opening.half_open is None or opening.by_hand_ns is not None:
            continue
        late = _ignored(case, opening, found)
        if opening.to == "open" and opening.resolved is not None and not late:
            _reopened(case, opening, opening.resolved, found)
    return found


def _reopened(case: Case, opening: Opening, reopened: Interval, found: Finding) -> None:
    spec = case.spec
    by = reopened.hi_ns + spec.delta_ns
    if opening.half_open_event is None:
        return  # from open to open: a late failure that the dialect lets restart the wait
    if outcomes.possible(case, opening, "failure", by):
        found.exercised += 1
        return
    begin = opening.half_open.lo_ns if opening.half_open else opening.opened.lo_ns
    if spec.dwell_ns is not None and reopened.hi_ns - begin >= spec.dwell_ns - spec.eps_ns:
        return  # the longest stay in half-open was over
    why = case.track.blind(begin, by) or (None if case.track.calls else "no calls observed")
    if why is not None:
        found.open_question(why)
        return
    found.fail(
        "opened again although no probe can have failed by then",
        Interval(begin, reopened.hi_ns),
        [
            f"half-open at {case.within(opening.half_open or opening.opened)}",
            *[case.call(c) for c in opening.possible_probes(spec.delta_ns)],
            f"open at {case.within(reopened)} ({opening.source})",
        ],
    )


def _ignored(case: Case, opening: Opening, found: Finding) -> bool:
    """A probe failed for certain, nothing else can have resolved the state before, and it went on."""
    spec = case.spec
    sure = outcomes.certain(case, opening, "failure")
    if not sure:
        return False
    first = sure[0].finish
    assert first is not None
    due = first.hi_ns + spec.eps_ns + spec.delta_ns
    end = opening.resolved.lo_ns if opening.resolved else case.track.span.hi_ns
    if end <= due or case.track.unheard:
        return False
    found.fail(
        f"a probe failed, and half-open went on for {ms(end - first.hi_ns)}",
        Interval(opening.half_open.lo_ns if opening.half_open else first.lo_ns, due),
        [
            f"half-open at {case.within(opening.half_open or opening.opened)}",
            case.call(sure[0]),
            f"next transition: {opening.to or 'none'} at {case.at(end) if opening.resolved else 'no time'}",
        ],
    )
    return True


RULE = Rule("R11", "reopen", check, "a failing probe in half-open")
