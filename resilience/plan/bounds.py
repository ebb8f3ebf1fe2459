"""Bounds that a run cannot break or cannot keep, and abort conditions that it could never meet. Pure.

Each of these is well formed, and says nothing of a system. What is certain to be one is a problem, and the plan is refused: a share below
0%, a condition that has to hold for longer than the run lasts, an abort condition on the good side. What may be meant, such
as an expectation that something goes wrong, is a doubt: it is told, and the plan is run.

Nobody looks here when a record is judged again: what was run once is judged, whatever is refused today.
"""

from __future__ import annotations

from collections.abc import Iterator

from resilience.load import schedule
from resilience.load.model import Closed, Shape
from resilience.plan.arrivals import shape_of
from resilience.plan.problems import Path, Problem
from resilience.plan.schema import Abort, LoadExpectation, OpensExpectation, Plan, RecoversExpectation
from resilience.plan.schema.expect_promises import HitRateExpectation
from resilience.plan.soundness import rest_after
from resilience.plan.timeline import Timeline
from resilience.plan.units import NS_PER_S, Comparison, format_duration, format_rate

_BAD_WHEN_HIGH = frozenset(
    {
        *(
            "p50",
            "p90",
            "p95",
            "p99",
            "max",
            "told_p99",
            "message_p95",
            "message_p99",
            "errors",
            "unanswered",
        ),
        *("time_to_recover", "amplification", "growth", "leak", "stale", "doubled", "lost"),
        *("scales_out", "ready", "idle_within", "memory", "descriptors"),
    }
)
_BAD_WHEN_LOW = frozenset(
    {
        *("protected", "goodput", "throughput", "peak", "connected", "welcomed", "broadcast", "hit_rate"),
    }
)
"""Figures of which one end is the bad one. Of the others (fallbacks, refusals, evictions, restarts) either may be asked for."""


def bound_problems(plan: Plan) -> Iterator[Problem]:
    """Comparisons that come to the same whatever is observed."""
    for path, _, comparison in _comparisons(plan):
        if comparison.settled is not None:
            yield Problem(
                path, f"{comparison.text!r} {_always(comparison.settled)}: nothing could change that"
            )
    for index, abort in enumerate(plan.abort):
        for key, limit in (("errors", abort.errors), ("memory", abort.memory)):
            if limit is None:
                continue
            path = ("abort", index, key)
            if limit.operator in ("<", "<=") or (limit.operator == "==" and not limit.bound):
                turned = f"> {limit.text.lstrip('<=> ')}"
                message = f"{limit.text!r} would stop the run while all is well; say what is too much, such as {turned!r}"
                yield Problem(path, message)
            elif limit.settled is not None:
                yield Problem(path, f"{limit.text!r} {_always(limit.settled)}: nothing could change that")
            elif limit.operator == "==" and (key == "memory" or limit.bound != 1):
                figure = limit.text.lstrip("= ")
                message = f"{limit.text!r} asks for exactly that figure, which a run may well never show; say {'> ' + figure!r}"
                yield Problem(path, message)


def _always(settled: bool) -> str:
    return "holds whatever happens" if settled else "can never hold"


def schedule_problems(plan: Plan, timeline: Timeline) -> Iterator[Problem]:
    """What the run offers no time, or no calls, for."""
    for index, abort in enumerate(plan.abort):
        path: Path = ("abort", index, "for")
        lasts, settle_ns = format_duration(timeline.duration_ns), _settle_ns(plan, abort)
        if abort.hold + settle_ns >= timeline.duration_ns:
            if settle_ns:
                lasts += f", and of a load the last {format_duration(settle_ns)} at each moment are left out"
            yield Problem(path, f"the run lasts {lasts}: nothing can hold for that long in it; shorten `for`")
        elif abort.load is not None and _has_schedule(plan, timeline, abort.load):
            needed = max(1, -(-abort.hold // NS_PER_S))
            longest = _longest_stretch(plan, timeline, abort.load, needed)
            if longest < needed:
                message = (
                    f"the load {abort.load!r} offers calls in no more than {longest} seconds in a row, and the condition "
                    "needs one in every second of `for`"
                )
                yield Problem(path, message)
    for name, expectation in plan.expect.items():
        if isinstance(expectation, LoadExpectation | HitRateExpectation):
            yield from _offered_problems(plan, timeline, name, expectation)


def _offered_problems(
    plan: Plan, timeline: Timeline, name: str, expectation: LoadExpectation | HitRateExpectation
) -> Iterator[Problem]:
    """Windows in which nothing is offered, and rates that are more than what is."""
    phase = expectation.phase
    if phase is None or not _has_schedule(plan, timeline, expectation.load):
        return
    span = timeline.phase(phase)
    offered = _offered(plan, timeline, expectation.load, span.start_ns, span.end_ns)
    if not offered:
        message = f"the load {expectation.load!r} offers nothing in the phase {phase!r}: there would be nothing to look at"
        yield Problem(("expect", name, "phase"), message)
        return
    wanted = expectation.throughput if isinstance(expectation, LoadExpectation) else None
    most_per_s = offered * NS_PER_S / (span.end_ns - span.start_ns)
    even = plan.load[expectation.load].arrival == "uniform"
    if even and wanted is not None and wanted.operator in (">", ">=") and not wanted.holds(most_per_s):
        message = f"{wanted.text!r} can never hold: the load {expectation.load!r} offers {format_rate(most_per_s)} in that phase"
        yield Problem(("expect", name, "throughput"), message)


def bound_doubts(plan: Plan, timeline: Timeline) -> Iterator[Problem]:
    """What may be meant, and is more likely a slip: the wrong side of a figure, and times that the run does not have."""
    for path, figure, comparison in _comparisons(plan):
        up, down = comparison.operator in (">", ">="), comparison.operator in ("<", "<=")
        if (figure in _BAD_WHEN_HIGH and up) or (figure in _BAD_WHEN_LOW and down):
            other = "<" if up else ">"
            message = (
                f"{comparison.text!r} holds when things are bad; if they are to be good, write {other!r}"
            )
            yield Problem(path, message)
    for name, expectation in plan.expect.items():
        if isinstance(expectation, OpensExpectation):
            span = timeline.fault(expectation.fault)
            if expectation.within > span.end_ns - span.start_ns:
                message = (
                    f"longer than {span.fault_id!r} lasts ({format_duration(span.end_ns - span.start_ns)}): a breaker that "
                    "opens after the fault has gone would do"
                )
                yield Problem(("expect", name, "within"), message)
        elif isinstance(expectation, RecoversExpectation):
            yield from _unseen_recovery(plan, timeline, name, expectation)


def _unseen_recovery(
    plan: Plan, timeline: Timeline, name: str, wanted: RecoversExpectation
) -> Iterator[Problem]:
    """A recovery that takes longer than there is time to look is never late, only unknown."""
    bound = wanted.time_to_recover
    rest_ns, hold_ns, _ = rest_after(plan, timeline, wanted)
    if bound.operator not in ("<", "<=") or not bound.holds(rest_ns):
        return
    more = format_duration(bound.bound + hold_ns - rest_ns)
    message = (
        f"the run has {format_duration(rest_ns)} left for it, so that a later recovery is unknown and never a failure; "
        f"make the last phase {more} longer, or ask for less"
    )
    yield Problem(("expect", name, "time_to_recover"), message)


def _comparisons(plan: Plan) -> Iterator[tuple[Path, str, Comparison]]:
    """Every comparison of an expectation that the plan wrote down, with its path and figure."""
    for name, expectation in plan.expect.items():
        for figure in sorted(expectation.model_fields_set):
            value = getattr(expectation, figure)
            if isinstance(value, Comparison):
                yield ("expect", name, figure), figure, value


def _settle_ns(plan: Plan, abort: Abort) -> int:
    """How long the youngest seconds of a load are left alone (`resilience.run.abort`)."""
    if abort.load not in plan.load:
        return 0
    return NS_PER_S * max(2, 1 - (-plan.load[abort.load].call.deadline // NS_PER_S))


def _shape(timeline: Timeline, load: str) -> Shape:
    return shape_of(timeline.segments[load], timeline.shapes.get(load))


def _has_schedule(plan: Plan, timeline: Timeline, load: str) -> bool:
    """Whether it is known before the run what is offered when: users who wait decide for themselves, and those on a socket go on."""
    return not isinstance(_shape(timeline, load), Closed) and plan.load[load].websocket is None


def _offered(plan: Plan, timeline: Timeline, load: str, start_ns: int, end_ns: int) -> int:
    """Calls that are due between two offsets; of Poisson arrivals, which depend on the seed, at most 1: whether there can be any."""
    shape = _shape(timeline, load)
    if plan.load[load].arrival == "poisson" and isinstance(shape, tuple):
        return int(schedule.expected(shape, end_ns) > schedule.expected(shape, start_ns))
    return schedule.count(shape, "uniform", 0, end_ns) - schedule.count(shape, "uniform", 0, start_ns)


def _longest_stretch(plan: Plan, timeline: Timeline, load: str, enough: int) -> int:
    """Seconds in a row in each of which something may be due; no more than `enough`, so that a soak of days is not walked to its end."""
    longest = current = 0
    for start_ns in range(0, timeline.duration_ns, NS_PER_S):
        current = current + 1 if _offered(plan, timeline, load, start_ns, start_ns + NS_PER_S) else 0
        longest = max(longest, current)
        if longest == enough:
            break
    return longest
