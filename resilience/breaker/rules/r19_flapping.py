"""R19: openings within the horizon stay within the budget that the specification sets.

Openings are counted where they were seen, and where a total of them was read: one that grew by more than the budget between two reads
within the horizon says so without telling when each was. Where nothing but a total tells of them, and was read too seldom to say whether
they came within one horizon, the question stays open; as it does where openings that were seen are not known well enough.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from resilience.breaker.observation import Counter, Interval
from resilience.breaker.rules.base import Case, Finding, Rule
from resilience.breaker.spec import BreakerSpec

TOO_COARSE: Final = "too coarse: when it opened is not known well enough"


def check(case: Case) -> Finding:
    """Count openings in each window of the horizon that begins at an opening."""
    if case.spec.openings_max is None:
        return Finding(idle_why="no budget of openings is specified")
    found = Finding(exercised=1)
    opened = [o.opened for o in case.openings]
    if (crowd := crowded(opened, case.spec)) is not None:
        index, inside = crowd
        there = case.openings[index : index + inside]
        found.fail(
            too_many(inside, case.spec),
            Interval(there[0].opened.lo_ns, there[-1].opened.hi_ns),
            [f"opened at {case.within(o.opened)}" for o in there],
            f"holds if openings_max = {inside}",
        )
    elif perhaps_crowded(opened, case.spec):
        found.open_question(TOO_COARSE)
    _by_total(case, found)
    return found


def _by_total(case: Case, found: Finding) -> None:
    """The same of totals that were read, of each source by itself."""
    told = [read for read in (*case.totals_before, *case.track.counters) if read.name == "opened"]
    seen = bool(case.openings) or case.track.eventful
    for source in sorted({read.source for read in told}):
        reads = [read for read in told if read.source == source]
        _within_horizon(case, found, reads)
        if not (seen or found.failures) and _perhaps_by_total(reads, case.spec):
            found.open_question(f"{TOO_COARSE}: their total was read too seldom")


def _perhaps_by_total(reads: Sequence[Counter], spec: BreakerSpec) -> bool:
    """Whether more openings than are allowed may have come within one horizon: all that a window of that length touches."""
    grown = [max(0, after.value - before.value) for before, after in pairwise(reads)]
    first = inside = 0
    for last, count in enumerate(grown):
        inside += count
        # The earliest end of what lies between two reads, and the latest beginning of another such stretch.
        while reads[last].at.lo_ns - reads[first + 1].at.hi_ns > spec.horizon_ns:
            inside -= grown[first]
            first += 1
        if spec.openings_max is not None and inside > spec.openings_max:
            return True
    return False


def _within_horizon(case: Case, found: Finding, reads: Sequence[Counter]) -> None:
    """What a total grew by happened between the beginning of one read and the end of another."""
    budget = case.spec.openings_max
    first = 0
    for last, read in enumerate(reads):
        long_ago = read.at.hi_ns - case.spec.horizon_ns
        while first < last and (reads[first].at.lo_ns < long_ago or reads[first].value > read.value):
            first += 1  # or counted by a life that is over
        grown = read.value - reads[first].value
        if budget is not None and grown > budget:
            found.fail(
                too_many(grown, case.spec),
                Interval(reads[first].at.lo_ns, read.at.hi_ns),
                [
                    f"{each.name} read at {case.within(each.at)} from {each.source}: {each.value}"
                    for each in (reads[first], read)
                ],
                f"holds if openings_max = {grown}",
            )


def within_reach(told: Sequence[Counter], spec: BreakerSpec) -> tuple[Counter, ...]:
    """Of reads in order of time, those that a horizon after the last of them may reach back to: from the one before it on, of each source."""
    if spec.openings_max is None:
        return ()
    by_source: dict[str, list[Counter]] = defaultdict(list)
    for read in told:
        if read.name == "opened":
            by_source[read.source].append(read)
    kept: list[Counter] = []
    for reads in by_source.values():
        oldest = reads[-1].at.lo_ns - spec.horizon_ns
        kept += reads[max(0, bisect_left(reads, oldest, key=lambda read: read.at.lo_ns) - 1) :]
    return tuple(kept)


def crowded(opened: Sequence[Interval], spec: BreakerSpec) -> tuple[int, int] | None:
    """The first opening from which on there are too many within the horizon, and how many; None if there is none."""
    latest = sorted(at.hi_ns for at in opened)
    for index, begin in enumerate(sorted(at.lo_ns for at in opened)):
        # Certain: those that began after this one's earliest moment and ended, at the latest, within the horizon.
        inside = bisect_right(latest, begin + spec.horizon_ns) - index
        if spec.openings_max is not None and inside > spec.openings_max:
            return index, inside
    return None


def perhaps_crowded(opened: Sequence[Interval], spec: BreakerSpec) -> bool:
    """Whether more openings than are allowed may lie within the horizon, as little as is known of when each was."""
    earliest = sorted(at.lo_ns for at in opened)
    latest = sorted(at.hi_ns for at in opened)
    return spec.openings_max is not None and any(
        # Those that are not over when the window begins, and may have begun when it ends.
        bisect_right(earliest, begin + spec.horizon_ns) - index > spec.openings_max
        for index, begin in enumerate(latest)
    )


def too_many(inside: int, spec: BreakerSpec) -> str:
    """What is wrong with so many openings."""
    return f"{inside} openings within {spec.horizon_ns / 1e9:g} s, where {spec.openings_max} are allowed"


RULE = Rule("R19", "flapping", check, "a budget, `openings_max`")
