"""R15: a rejection is quick, and reaches no dependency.

Quickness is judged over all rejections, because a call is timed by its caller and a busy machine delays single
callers: the share of slow ones may not exceed one in twenty. Time in which the whole path stood still is not held
against a rejection: calls kept starting and not one was answered. A breaker that is slow to reject answers its calls
late but steadily, so nothing of its slowness is excused. Where callers queue for a lock, waiting for it is not either. A request on the wire for a call that was rejected fails at once.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import pairwise

from resilience.breaker.evidence import CallEvidence
from resilience.breaker.observation import Interval
from resilience.breaker.rules.base import Case, Finding, Rule, hull, ms

_SLOW_SHARE = 0.05
_MANY = 10  # fewer slow ones than this may all lie in one stall that too little traffic shows
_WAITING = 3  # calls that started while none was answered make a silence a standstill


def check(case: Case) -> Finding:
    """Time every rejection, and look for each on the wire."""
    found = Finding()
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
    if timed and not found.failures:
        _time(case, timed, found)
    return found


def many_slow(slow: int, timed: int) -> bool:
    """Whether so many of so many rejections are more than single callers that were held up."""
    return slow >= _MANY and slow > _SLOW_SHARE * timed


def _time(case: Case, timed: list[CallEvidence], found: Finding) -> None:
    bound = case.spec.rejection_bound_ns
    maybe = [c for c in timed if _most(c) > bound]
    still = _Standstills(case)
    queue = _Queue(case) if case.spec.excess == "queues" else None
    least = {c.id: _least(c) - max(still.within(c), queue.within(c) if queue else 0) for c in maybe}
    slow = [c for c in maybe if least[c.id] > bound]
    worst = max(timed, key=_least)
    found.rank = -_least(worst)
    found.share = len(slow), len(timed)
    found.margin = f"slowest rejection {ms(_least(worst))} of {ms(bound)}"
    if many_slow(len(slow), len(timed)):
        worst = max(slow, key=lambda c: least[c.id])
        assert worst.end is not None
        found.fail(
            f"{len(slow)} of {len(timed)} rejections took longer than {ms(bound)}",
            Interval(worst.start.lo_ns, worst.end.hi_ns),
            [f"{case.call(c)}, answered after at least {ms(least[c.id])}" for c in slow[:5]],
            f"holds if reject_ms >= {least[worst.id] / 1e6:.0f}",
        )
    elif len(maybe) > _SLOW_SHARE * len(timed):
        found.open_question(
            f"too coarse: {len(maybe)} of {len(timed)} rejections were slow, but not certainly by the breaker"
        )


class _Standstills:
    """When calls started and none was answered: the machine's slowness, not the breaker's."""

    def __init__(self, case: Case) -> None:
        calls = case.track.calls
        starts = sorted(c.start.lo_ns for c in calls)
        answers = sorted(c.end.hi_ns for c in calls if c.end is not None)
        self._spans = [
            (before, after)
            for before, after in pairwise((*starts[:1], *answers))  # it may stand still before any answer
            if after - before > case.spec.eps_ns
            and bisect_left(starts, after) - bisect_right(starts, before) >= _WAITING
        ]

    def within(self, call: CallEvidence) -> int:
        """Nanoseconds of a call's life that were standstill."""
        assert call.end is not None
        lo, hi = call.start.lo_ns, call.end.hi_ns
        begin = bisect_left(self._spans, lo, key=lambda span: span[1])
        total = 0
        for before, after in self._spans[begin:]:
            if before >= hi:
                break
            total += min(after, hi) - max(before, lo)
        return total


class _Queue:
    """Where callers wait for a lock, the time until the last call that was let in before this one's answer had ended."""

    def __init__(self, case: Case) -> None:
        self._track = case.track

    def within(self, call: CallEvidence) -> int:
        """Nanoseconds of a call's life in which it may have waited for its turn."""
        assert call.end is not None
        lo, hi = call.start.lo_ns, call.end.hi_ns
        ends = [
            min(hi, other.finish.hi_ns if other.finish else hi)
            for other in self._track.calls_deciding(lo - self._track.longest_ns, hi)
            if other.admitted is not False and (other.finish is None or other.finish.hi_ns >= lo)
        ]
        return max([end - lo for end in ends], default=0)


def _least(call: CallEvidence) -> int:
    return call.end.lo_ns - call.start.hi_ns if call.end else 0


def _most(call: CallEvidence) -> int:
    return call.end.hi_ns - call.start.lo_ns if call.end else 0


RULE = Rule("R15", "fast failure", check, "calls while the breaker is open")
