"""Totals that a breaker's metrics show, held against what was seen happen: shared arithmetic of R17.

Between two reads of a total its growth is the number of events whose instant lay between the reads. Events that lie there for
certain give the least growth, events that may the greatest. Calls that nobody can be named for, and records that were lost, leave
the question open; a total that fell was reset by something that this history does not tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from resilience.breaker.observation import COUNTERS, Counter, Interval
from resilience.breaker.rules.base import Case, Finding


def check(case: Case, found: Finding) -> None:
    """Compare each two neighbouring reads of each total."""
    track = case.track
    for name in COUNTERS:
        # A call that ran across a cut belongs to one stretch, and is counted on the other side as well.
        inside = (
            c for c in track.counters if c.at.lo_ns > track.alone.lo_ns and c.at.hi_ns < track.alone.hi_ns
        )
        reads = [c for c in inside if c.name == name]
        events = list(_events(case, name))
        if not reads or not (track.eventful if name == "opened" else track.calls):
            continue
        for before, after in pairwise(reads):
            grown = after.value - before.value
            least, most = _between(events, before.at, after.at, case.spec.delta_ns)
            if grown < 0:
                found.open_question(f"truncated: the total of {name} fell")
            elif least <= grown <= most:
                found.exercised += 1
            elif track.blind(before.at.lo_ns, after.at.hi_ns) or track.unheard:
                found.open_question("calls or events may be unknown between two reads")
            else:
                found.fail(
                    f"the total of {name} grew by {grown}, where {_range(least, most)} happened",
                    Interval(before.at.lo_ns, after.at.hi_ns),
                    [_line(case, before), _line(case, after)],
                )


def _events(  # noqa: C901 - one case a total
    case: Case, name: str
) -> Iterator[tuple[Interval, bool]]:
    """(when, for certain) of each event that a total counts."""
    if name == "opened":
        for event in case.track.transitions:
            if event.to_state == "open":
                yield event.at, True
        return
    for call in case.track.calls:
        if name == "rejected":
            if call.admitted is not True:
                yield call.decision, call.admitted is False
        elif call.admitted is not False:
            if name == "admitted":
                yield call.decision, call.admitted is True
            elif call.finish is not None:
                kind = "success" if name == "succeeded" else "failure"
                if call.kind in {kind, "unknown", "neutral"}:
                    yield call.finish, call.kind == kind and call.admitted is True


def _between(
    events: Iterable[tuple[Interval, bool]], before: Interval, after: Interval, delta_ns: int
) -> tuple[int, int]:
    least = most = 0
    for at, certain in events:
        if at.hi_ns + delta_ns < before.lo_ns or at.lo_ns - delta_ns > after.hi_ns:
            continue
        most += 1
        least += certain and at.lo_ns - delta_ns > before.hi_ns and at.hi_ns + delta_ns < after.lo_ns
    return least, most


def _range(least: int, most: int) -> str:
    return str(least) if least == most else f"{least} to {most}"


def _line(case: Case, read: Counter) -> str:
    return f"{read.name} read at {case.within(read.at)} from {read.source}: {read.value}"
