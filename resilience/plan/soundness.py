"""Expectations and breakers that are well formed and could still never be judged. Pure.

A plan that passes these is not refused by a checker after the run has been made: specifications can be read, windows hold a whole
second, and what must be seen for a while has that while.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from resilience.breaker.dialects import find_dialect
from resilience.breaker.spec import BreakerSpec, SpecError
from resilience.plan.problems import Path, Problem
from resilience.plan.schema import Breaker, LoadExpectation, Plan, RecoversExpectation
from resilience.plan.timeline import FaultSpan, Timeline
from resilience.plan.units import NS_PER_S, format_duration

DEFAULT_HOLD_NS = 10 * NS_PER_S
"""How long a system stays healthy before it has recovered, unless the plan or a breaker's wait asks for longer."""


def breaker_problems(plan: Plan) -> Iterator[Problem]:
    """Specifications and dialects that the verifier does not know."""
    for name, breaker in plan.breakers.items():
        path: Path = ("breakers", name)
        try:
            if breaker.dialect is not None:
                find_dialect(breaker.dialect, path="dialect")
            written_spec(breaker)
        except SpecError as error:
            unknown_key = error.message.startswith("unknown key")
            yield Problem((*path, *error.path.split(".")), error.message, at_key=unknown_key)


def written_spec(breaker: Breaker) -> BreakerSpec | None:
    """The specification that the plan writes out, None where the lab's counts. Raises `SpecError`."""
    if isinstance(breaker.spec, str):
        return None
    mapping = dict(breaker.spec)
    if breaker.dialect is not None:
        mapping["dialect"] = breaker.dialect
    return BreakerSpec.from_mapping(mapping)


def phase_problems(plan: Plan) -> Iterator[Problem]:
    """Expectations on phases that are not judged."""
    unjudged = {phase.name for phase in plan.phases if not phase.judge}
    for name, expectation in plan.expect.items():
        phase = getattr(expectation, "phase", None)
        if phase in unjudged:
            message = f"the phase {phase!r} has `judge: false`: nothing in it is held to an expectation"
            yield Problem(("expect", name, "phase"), message)
        if isinstance(expectation, RecoversExpectation) and "baseline" in unjudged:
            message = "recovery is measured against the phase 'baseline', which has `judge: false`"
            yield Problem(("expect", name), message, at_key=True)


def settle_problems(plan: Plan, faults: Mapping[str, FaultSpan]) -> Iterator[Problem]:
    """Windows during a fault that hold no whole second once the fault has settled."""
    for name, expectation in plan.expect.items():
        span = faults.get(expectation.fault or "") if isinstance(expectation, LoadExpectation) else None
        if span is None or not isinstance(expectation, LoadExpectation):
            continue
        settle_ns = expectation.settle
        path: Path = ("expect", name, "settle")
        if settle_ns >= span.end_ns - span.start_ns:
            lasts = format_duration(span.end_ns - span.start_ns)
            yield Problem(
                path, f"the fault {span.fault_id!r} lasts {lasts}: nothing of it is left to look at"
            )
        # A fault goes in a little after its time: a second that begins with it is not whole.
        elif (span.start_ns + settle_ns) // NS_PER_S + 1 >= span.end_ns // NS_PER_S:
            message = f"between then and the end of {span.fault_id!r} lies no whole second of the run; make the fault longer"
            yield Problem(path, message)


def hold_problems(plan: Plan, timeline: Timeline) -> Iterator[Problem]:
    """Recoveries that the run is too short to see."""
    for name, expectation in plan.expect.items():
        if not isinstance(expectation, RecoversExpectation):
            continue
        rest_ns, hold_ns, since = rest_after(plan, timeline, expectation)
        if hold_ns < rest_ns:
            continue
        default = "" if expectation.hold is not None else " (the default)"
        message = (
            f"the run has {format_duration(rest_ns)} left {since}, and recovery must hold for "
            f"{format_duration(hold_ns)}{default}: lengthen the last phase, or shorten `hold`"
        )
        yield Problem(("expect", name, "hold"), message)


def rest_after(plan: Plan, timeline: Timeline, wanted: RecoversExpectation) -> tuple[int, int, str]:
    """What is left of the run for a recovery, how long it must hold (both in ns), and since when that counts, in words."""
    hold_ns = wanted.hold if wanted.hold is not None else _default_hold_ns(plan)
    healed_ns = timeline.fault(wanted.fault).end_ns
    loads = [wanted.load] if wanted.load is not None else list(plan.load)
    back = {load: timeline.load_back_ns(load, healed_ns, _baseline_per_s(timeline, load)) for load in loads}
    load, back_ns = max(back.items(), key=lambda item: item[1])
    since = (
        "once the fault is over"
        if back_ns == healed_ns
        else f"once the load {load!r} is back at its baseline"
    )
    return timeline.duration_ns - back_ns, hold_ns, since


def _default_hold_ns(plan: Plan) -> int:
    specs = [spec for breaker in plan.breakers.values() if (spec := written_spec(breaker)) is not None]
    return max(DEFAULT_HOLD_NS, *(2 * spec.wait_ns for spec in specs)) if specs else DEFAULT_HOLD_NS


def _baseline_per_s(timeline: Timeline, load: str) -> float:
    end_ns = timeline.phase("baseline").end_ns
    return max((s.end_per_s for s in timeline.segments[load] if s.end_ns == end_ns), default=0.0)
