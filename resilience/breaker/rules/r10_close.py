"""R10: a half-open breaker closes at the S-th qualifying success, within eps: not before, and not later."""

from __future__ import annotations

from resilience.breaker.episodes import Opening
from resilience.breaker.observation import Interval
from resilience.breaker.rules import outcomes
from resilience.breaker.rules.base import Case, Finding, Rule, ms
from resilience.breaker.rules.swept import judged


def check(case: Case) -> Finding:
    """Each opening: whether it closed with too few successes, or stayed unclosed with enough of them."""
    if not case.track.eventful or case.spec.close_ratio is not None or case.spec.successes_of is not None:
        return judged("R10", case)
    found = Finding()
    for opening in case.openings:
        if opening.half_open is None or opening.by_hand_ns is not None:
            continue
        if case.spec.success_while_open_closes and opening.half_open_event is None:
            continue  # closed by a late success (R13), not by a probe
        if opening.to == "closed" and opening.resolved is not None:
            _closed(case, opening, opening.resolved, found)
        _too_late(case, opening, found)
    return found


def _closed(case: Case, opening: Opening, closed: Interval, found: Finding) -> None:
    spec = case.spec
    needed = spec.successes
    by = closed.hi_ns + spec.delta_ns
    enough = outcomes.possible(case, opening, "success", by)
    if len(enough) < needed:
        begin = opening.half_open.lo_ns if opening.half_open else opening.opened.lo_ns
        why = case.track.blind(begin, by) or (None if case.track.calls else "no calls observed")
        if why is not None:
            found.open_question(why)
            return
        found.fail(
            f"closed after at most {len(enough)} of {needed} successes",
            Interval(begin, closed.hi_ns),
            [
                f"half-open at {case.within(opening.half_open or opening.opened)}",
                *[case.call(c) for c in enough],
                f"closed at {case.within(closed)} ({opening.source})",
            ],
            f"holds if successes = {len(enough)}",
        )
        return
    by_then = sorted((c for c in enough if c.finish), key=lambda c: c.finish.lo_ns if c.finish else 0)
    if by_then[needed - 1].kind == "unknown":
        return  # whether that was a success at all is not known
    earliest = sorted(c.finish.lo_ns for c in enough if c.finish)[needed - 1]
    if closed.hi_ns <= earliest + spec.eps_ns or not case.track.calls:
        found.exercised += 1
        return
    sure = outcomes.certain(case, opening, "success")
    if len(sure) >= needed and (last := sure[needed - 1].finish) and closed.lo_ns <= last.hi_ns + spec.eps_ns:
        # The breaker knew of the S-th success at some instant of a wide interval: the event narrows it.
        found.exercised += 1
    else:
        found.open_question("too coarse")


def _too_late(case: Case, opening: Opening, found: Finding) -> None:
    """Enough successes for certain, no failure in between, and still not closed."""
    spec = case.spec
    sure = outcomes.certain(case, opening, "success")
    if len(sure) < spec.successes:
        return
    last = sure[spec.successes - 1].finish
    assert last is not None
    due = last.hi_ns + spec.eps_ns + spec.delta_ns
    end = opening.resolved.lo_ns if opening.resolved else case.track.span.hi_ns
    if end <= due or case.track.unheard:
        return
    if outcomes.possible(case, opening, "failure", last.hi_ns + spec.delta_ns) and spec.successes > 1:
        return  # the successes need not have been in a row
    found.fail(
        f"not closed {ms(end - last.hi_ns)} after success number {spec.successes}",
        Interval(opening.half_open.lo_ns if opening.half_open else last.lo_ns, due),
        [
            f"half-open at {case.within(opening.half_open or opening.opened)}",
            *[case.call(c) for c in sure[: spec.successes]],
            f"next transition: {opening.to or 'none'} at {case.at(end) if opening.resolved else 'no time'}",
        ],
        f"holds if successes >= {sum(1 for c in sure if c.finish and c.finish.hi_ns <= end)}",
    )


RULE = Rule("R10", "close", check, "successful probes in half-open")
