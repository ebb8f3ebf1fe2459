"""Totals that a breaker's metrics show, held against what was seen happen: shared arithmetic of R17.

Between two reads of a total its growth is the number of events whose instant lay between the reads. Events that lie there for
certain give the least growth, events that may the greatest. Calls that nobody can be named for, and records that were lost, leave
the question open. Whoever counts may have been started anew without a word: a total that fell says so of all that the same source
counts, and where its totals could not be read for a while nobody knows. Totals from two sources are compared each with its own.

A total that may count others' calls (`Counter.others`: what a service's own metrics show, where a retry around the breaker makes
several attempts of a call, or somebody else calls as well) can only be too small: what is seen to have happened must be in it. And
what a breaker counts while it is forced open or disabled no library promises.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from resilience.breaker.automaton import is_by_hand
from resilience.breaker.evidence import CallEvidence, Track
from resilience.breaker.observation import COUNTERS, Counter, Interval
from resilience.breaker.rules.base import Case, Finding


def check(case: Case, found: Finding) -> None:
    """Compare each two neighbouring reads of each total."""
    track = case.track
    # A call that ran across a cut belongs to one stretch, and is counted on the other side as well.
    inside = [c for c in track.counters if c.at.lo_ns > track.alone.lo_ns and c.at.hi_ns < track.alone.hi_ns]
    for source in sorted({c.source for c in inside}):
        told = [c for c in inside if c.source == source]
        anew = _anew(told)
        for name in COUNTERS:
            reads = [c for c in told if c.name == name]
            if len(reads) < 2 or not (track.eventful if name == "opened" else track.calls):
                continue
            if any(read.others for read in reads) and _switched(track):
                continue
            grown = _grown(reads, list(_events(track, name)), case.spec.delta_ns)
            for pair, expected in zip(pairwise(reads), grown, strict=True):
                _compare(case, found, pair, expected, anew)


def _anew(told: Sequence[Counter]) -> list[Interval]:
    """When whoever counts was started anew, as far as a total that fell tells; its others may have grown beyond what they were."""
    each = (pairwise([c for c in told if c.name == name]) for name in COUNTERS)
    return [
        Interval(before.at.lo_ns, after.at.hi_ns)
        for pairs in each
        for before, after in pairs
        if after.value < before.value
    ]


def _compare(
    case: Case,
    found: Finding,
    reads: tuple[Counter, Counter],
    expected: tuple[int, int],
    anew: Iterable[Interval],
) -> None:
    (before, after), (least, most) = reads, expected
    grown = after.value - before.value
    if grown < 0:
        found.open_question(f"truncated: the total of {after.name} fell")
    elif grown < least or (grown > most and not after.others):
        lo, hi = before.at.lo_ns, after.at.hi_ns
        if case.track.blind(lo, hi) or case.track.unheard:
            found.open_question("calls or events may be unknown between two reads")
            return
        unread = (gap.at or case.track.span for gap in case.track.lost("totals"))
        if any(at.lo_ns <= hi and at.hi_ns >= lo for at in (*anew, *unread)):
            found.open_question(f"truncated: the total of {after.name} may have begun anew")
            return
        happened = f"at least {least}" if after.others else _range(least, most)
        found.fail(
            f"the total of {after.name} grew by {grown}, where {happened} happened",
            Interval(before.at.lo_ns, after.at.hi_ns),
            [_line(case, before), _line(case, after)],
        )
    elif least or not after.others:
        found.exercised += 1


def _switched(track: Track) -> bool:
    """Whether the breaker was ever forced open or disabled."""
    return any(is_by_hand(t.from_state, t.to_state) for t in track.transitions) or any(
        is_by_hand(s.state, s.state) for s in track.states
    )


def _events(track: Track, name: str) -> Iterator[tuple[Interval, bool]]:
    """(when, for certain) of each event that a total counts."""
    if name == "opened":
        for event in track.transitions:
            if event.to_state == "open":
                yield event.at, True
        return
    for call in track.calls:
        yield from _of_call(call, name)
        if len(call.arrivals) > 1:
            # Attempts inside one call: nobody knows how many the breaker saw, nor how each of them ended.
            whole = Interval(call.decision.lo_ns, call.finish.hi_ns if call.finish else call.decision.hi_ns)
            for _ in call.arrivals:
                yield whole, False


def _of_call(call: CallEvidence, name: str) -> Iterator[tuple[Interval, bool]]:
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


def _grown(
    reads: Sequence[Counter], events: Iterable[tuple[Interval, bool]], delta_ns: int
) -> list[tuple[int, int]]:
    """Least and greatest growth between each two neighbouring reads, in one pass over the events."""
    least = [0] * (len(reads) - 1)
    begun: list[int] = []
    over: list[int] = []
    looked = [read.at.lo_ns for read in reads]
    for at, certain in events:
        lo, hi = at.lo_ns - delta_ns, at.hi_ns + delta_ns
        begun.append(lo)
        over.append(hi)
        # Only the first read that was certainly later than it, and the one before that, can have it between them for certain.
        after = bisect_right(looked, hi)
        if certain and 0 < after < len(reads) and reads[after - 1].at.hi_ns < lo:
            least[after - 1] += 1
    begun.sort()
    over.sort()
    return [
        (sure, bisect_right(begun, after.at.hi_ns) - bisect_left(over, before.at.lo_ns))
        for sure, (before, after) in zip(least, pairwise(reads), strict=True)
    ]


def _range(least: int, most: int) -> str:
    return str(least) if least == most else f"{least} to {most}"


def _line(case: Case, read: Counter) -> str:
    return f"{read.name} read at {case.within(read.at)} from {read.source}: {read.value}"
