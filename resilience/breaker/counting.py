"""How a breaker counts: what one outcome more does to a row or a window, what the counts then say, and which openings are in a row.

Pure functions of a specification and a configuration; the automaton decides what follows from them.
"""

from __future__ import annotations

from collections.abc import Iterator

from resilience.breaker.configuration import NEVER_NS, Clock, Key, Result
from resilience.breaker.observation import Interval
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.window import Count, Timed, empty


def periods(spec: BreakerSpec, key: Key, clock: Clock, by: Interval) -> Iterator[tuple[Key, Clock]]:
    """A window whose periods count from closing, as it may stand at some instant of `by`."""
    if not spec.tumbling or not spec.window_ns or spec.tumbling_from != "closing":
        yield key, clock
        return
    surely, perhaps = _over(spec, clock, by)
    for period in range(max(surely, key.period), perhaps + 1):
        yield (key if period == key.period else _emptied(spec, key)._replace(period=period)), clock
    if perhaps < key.period:
        yield key, clock


def active(spec: BreakerSpec, key: Key, clock: Clock, by: Interval) -> Iterator[tuple[Key, Clock]]:
    """A window whose periods each begin with what happens after the last one, when something happens at some instant of `by`."""
    surely, perhaps = _over(spec, clock, by)
    if surely < 1:
        yield key, clock
    if perhaps >= 1:
        began = max(clock.now_ns, clock.since_lo + spec.window_ns - spec.eps_ns)
        since = clock._replace(now_ns=began, since_lo=began, since_hi=max(began, by.hi_ns))
        yield _emptied(spec, key), since


def _over(spec: BreakerSpec, clock: Clock, by: Interval) -> tuple[int, int]:
    """How many periods are over, surely and perhaps."""
    surely = (clock.now_ns - clock.since_hi - spec.eps_ns) // spec.window_ns
    return surely, (by.hi_ns - clock.since_lo + spec.eps_ns) // spec.window_ns


def _emptied(spec: BreakerSpec, key: Key) -> Key:
    return key._replace(failures=0, window=empty(spec))


def tally(
    spec: BreakerSpec,
    key: Key,
    clock: Clock,
    by: Interval,
    result: Result,
    *,
    unseen: int = 0,
    begun: bool = True,
    habit: str = "",
) -> tuple[Key, bool, bool]:
    """The key with one outcome more, and whether that may trip it, and whether it must."""
    failed = result.what == "failure"
    if spec.trip == "never":
        return key, False, False
    if spec.trip == "consecutive":
        if not failed and habit != "success_fails":
            if habit == "cumulative":
                return key, False, False
            return key._replace(failures=0) if key.failures else key, False, False
        count = min(key.failures + 1, spec.failures)
        return key._replace(failures=count), count >= spec.failures, count >= spec.failures
    after = pushed(spec, key, clock, result, begun=begun)
    if isinstance(after.window, Count):
        return after, *after.window.trips(spec)
    assert after.window is not None
    return after, *after.window.trips(spec, Interval(clock.now_ns, by.hi_ns), unseen)


def pushed(spec: BreakerSpec, key: Key, clock: Clock, result: Result, *, begun: bool = True) -> Key:
    """The key with one outcome more in its window; where calls are counted at their start, with that as well if `begun`."""
    failed = result.what == "failure"
    if isinstance(key.window, Count):
        return key._replace(window=key.window.push(spec, failed=failed, slow=result.slow))
    assert key.window is not None
    window, now_ns = key.window, clock.now_ns
    if spec.counted_at != "start":
        return key._replace(window=window.push(spec, result.at, now_ns, failed=failed, slow=result.slow))
    if begun:
        started = Interval(result.begun_ns, result.at.hi_ns)
        window = window.push(spec, started, now_ns, failed=False, slow=False)
    if failed or result.slow:
        window = window.push(spec, result.at, now_ns, failed=failed, slow=result.slow, total=0)
    return key._replace(window=window)


def unheeded(spec: BreakerSpec, key: Key, clock: Clock, result: Result) -> Iterator[tuple[Key, Clock]]:
    """What an outcome leaves that changes no count: where calls are counted at their start, its start."""
    counts = key.state == "closed" or spec.window_survives
    if spec.counted_at != "start" or not counts or not isinstance(key.window, Timed):
        yield key, clock
        return
    start = result._replace(what="neutral", slow=False)
    for begun in starts_counted(spec, clock, start):
        yield pushed(spec, key, clock, start, begun=begun), clock


def starts_counted(spec: BreakerSpec, clock: Clock, result: Result) -> tuple[bool, ...]:
    """Whether the start of a call counts with its outcome: both, where it may have been counted before the window was emptied."""
    lost = spec.counted_at == "start" and not spec.window_survives and result.begun_ns <= clock.since_hi
    return (True, False) if lost else (True,)


def holds(spec: BreakerSpec, key: Key, at: Interval) -> tuple[bool, bool]:
    """Whether the trip condition may hold at some instant of `at`, and whether it must throughout."""
    if isinstance(key.window, Count):
        return key.window.trips(spec)
    if key.window is not None:
        return key.window.trips(spec, at)
    reached = spec.trip == "consecutive" and key.failures >= spec.failures
    return reached, reached


def due_by(spec: BreakerSpec, key: Key, clock: Clock, by: Interval, *, must: bool) -> int:
    """When a breaker that looks from time to time must have seen that its condition holds."""
    if not must:
        return NEVER_NS
    due = by.hi_ns + spec.evaluation_ns + spec.eps_ns
    if not holds(spec, key, Interval(clock.now_ns, due))[1]:
        return NEVER_NS
    period_ends = clock.since_lo + (key.period + 1) * spec.window_ns - spec.eps_ns
    if spec.tumbling and spec.window_ns and due >= period_ends:
        return NEVER_NS  # by then it may count anew
    return min(clock.due_ns, due)


def resolved(spec: BreakerSpec, good: int, bad: int, slow: int) -> str:
    """Where so many results lead a breaker that counts its probes; "" while it waits for more."""
    if spec.successes_of is not None:
        if good >= spec.successes:
            return "closed"
        return "open" if bad > spec.successes_of - spec.successes else ""
    total = good + bad
    if total < spec.resolving_results:
        return ""
    assert spec.close_ratio is not None
    dragging = spec.slow_ratio is not None and slow >= spec.slow_ratio * total - 1e-9
    return "open" if dragging or bad >= spec.close_ratio * total - 1e-9 else "closed"


def before_or_after(clock: Clock, by: Interval) -> Iterator[tuple[Clock, Interval]]:
    """When an outcome came: before an instant by which the breaker had not opened, so that it opened nothing; or afterwards."""
    if clock.now_ns < clock.unopened_ns:
        yield clock, Interval(by.lo_ns, min(by.hi_ns, clock.unopened_ns))
        clock = clock._replace(now_ns=clock.unopened_ns)
    if clock.now_ns <= by.hi_ns:
        yield clock, by


def openings_after_a_hand(spec: BreakerSpec, key: Key, to: str) -> frozenset[int]:
    """The openings in a row after somebody's hand: nobody promises whether it goes on counting, begins anew, or is one of them."""
    if spec.backoff == 1.0:
        return frozenset({key.nth})
    if to == "open":
        # From closed it is the first one, whoever opened it: closing has ended the row.
        return frozenset({1} if key.state == "closed" else {1, key.nth, key.nth + 1} - {0})
    return frozenset({0, 1, key.nth} if to == "half_open" else {1, key.nth})
