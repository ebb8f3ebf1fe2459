"""R5: half-open is not entered before the least wait is over: FAIL iff h+ - o- < Wmin - eps."""

from __future__ import annotations

from resilience.breaker.observation import Interval, State
from resilience.breaker.rules.base import Case, Finding, Rule, ms
from resilience.breaker.rules.swept import judged


def check(case: Case) -> Finding:
    """Compare each opening with the entry into half-open that followed it."""
    if not case.track.eventful:
        return judged("R5", case) if case.track.calls or not case.track.states else _by_polls(case)
    found = Finding()
    spec = case.spec
    shortest: int | None = None
    for opening in case.openings:
        entry = opening.half_open
        if entry is None or (opening.by_hand_ns is not None and opening.by_hand_ns <= entry.hi_ns):
            continue
        if spec.success_while_open_closes and opening.half_open_event is None and opening.to == "closed":
            continue  # closed by a late success (R13), and what was let in then was let in by a closed breaker
        least, _ = spec.wait_of(opening.nth)
        bound = least - spec.eps_ns
        at_most = entry.hi_ns - opening.opened.lo_ns + spec.delta_ns
        at_least = entry.lo_ns - opening.opened.hi_ns
        if at_most < bound:
            found.fail(
                f"open for at most {ms(at_most)}, where {ms(least)} were promised",
                Interval(opening.opened.lo_ns, entry.hi_ns),
                [
                    f"opened at {case.within(opening.opened)} ({opening.source})",
                    f"half-open at {case.within(entry)}",
                    *[case.call(c) for c in opening.probes(spec.delta_ns)[:2]],
                ],
                f"holds if wait is in [{ms(max(at_least, 0))}, {ms(at_most)}]",
            )
        elif at_least < bound:
            found.open_question("too coarse")
        else:
            found.exercised += 1
        shortest = at_least if shortest is None else min(shortest, at_least)
    if shortest is not None:
        found.rank = shortest
        found.margin = f"shortest wait at least {ms(shortest)}"
    return found


def _by_polls(case: Case) -> Finding:
    """Where only a state was read from time to time: open for no longer than from the last other read to the next."""
    found = Finding()
    least, _ = case.spec.wait_of(1)
    before: State | None = None
    seen: list[State] = []
    for poll in case.track.states:
        if poll.state == "open":
            seen.append(poll)
            continue
        if seen and before is not None and poll.state in {"closed", "half_open"}:
            at_most = poll.at.hi_ns - before.at.lo_ns
            if at_most < least - case.spec.eps_ns:
                lines = [f"read at {case.within(p.at)}: {p.state}" for p in (before, seen[0], seen[-1], poll)]
                window = Interval(before.at.lo_ns, poll.at.hi_ns)
                found.fail(f"open for at most {ms(at_most)}, where {ms(least)} were promised", window, lines)
            elif poll.at.lo_ns - before.at.hi_ns < least:
                found.open_question("too coarse")
            elif seen[-1].at.lo_ns - seen[0].at.hi_ns >= least:
                found.exercised += 1
            else:
                found.open_question("too coarse")
        before, seen = (poll if poll.state in {"closed", "half_open"} else None), []
    return found


RULE = Rule("R5", "minimum open time", check, "traffic across the end of the wait")
