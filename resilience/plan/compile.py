"""Compile a plan to its timeline: pure arithmetic and every check that needs more than one key.

The schema has already checked shapes and units. Here names are resolved (phases, proxies, loads, faults, breakers),
times are made absolute, and contradictions are refused with the path of the key that causes them. All problems are
collected before `PlanInvalid` is raised.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from resilience.plan.problems import Path, PlanInvalid, Problem, nearest
from resilience.plan.references import known_proxies, references
from resilience.plan.requests import unsendable
from resilience.plan.schema import Plan, Ramp
from resilience.plan.soundness import breaker_problems, hold_problems, phase_problems, settle_problems
from resilience.plan.timeline import FaultSpan, Operation, PhaseSpan, Segment, Timeline
from resilience.plan.toxics import slot, toxic_problems
from resilience.plan.units import Moment, format_duration


def compile_plan(plan: Plan, *, filled: bool = True) -> Timeline:
    """Timeline of a plan; raises `PlanInvalid` with every problem found.

    `filled=False` is for a plan from a record: its addresses and requests hold variables, and are not looked at.
    """
    problems: list[Problem] = []
    phases = _phases(plan, problems)
    duration_ns = phases[-1].end_ns
    segments = {name: _segments(plan, name, phases, problems) for name in plan.load}
    placed = tuple(_faults(plan, phases, problems))
    faults = tuple(span for _, span in placed)
    problems.extend(_overlaps(plan, placed))
    problems.extend(references(plan))
    problems.extend(toxic_problems(plan))
    problems.extend(breaker_problems(plan))
    problems.extend(phase_problems(plan))
    problems.extend(settle_problems(plan, {span.fault_id: span for span in faults}))
    if filled:
        problems.extend(unsendable(plan))
    if problems:
        raise PlanInvalid(problems, plan.name)
    timeline = Timeline(
        name=plan.name,
        duration_ns=duration_ns,
        phases=phases,
        segments=segments,
        faults=faults,
        operations=_operations(phases, faults, duration_ns, tuple(plan.load)),
    )
    # Only a timeline that is sound tells when the load is back.
    problems.extend(hold_problems(plan, timeline))
    if problems:
        raise PlanInvalid(problems, plan.name)
    return timeline


def _phases(plan: Plan, problems: list[Problem]) -> tuple[PhaseSpan, ...]:
    spans: list[PhaseSpan] = []
    start_ns = 0
    for index, phase in enumerate(plan.phases):
        if phase.duration <= 0:
            problems.append(Problem(("phases", index, "duration"), "a phase lasts longer than zero"))
        if any(phase.name == span.name for span in spans):
            problems.append(Problem(("phases", index, "name"), f"the phase {phase.name!r} exists already"))
        if phase.name == "end":
            problems.append(
                Problem(("phases", index, "name"), "'end' means the end of the run; choose another name")
            )
        spans.append(PhaseSpan(phase.name, start_ns, start_ns + phase.duration, phase.judge))
        start_ns += phase.duration
    return tuple(spans)


def _segments(
    plan: Plan, load: str, phases: tuple[PhaseSpan, ...], problems: list[Problem]
) -> tuple[Segment, ...]:
    """Piecewise linear rate of one stream over the whole run, without a gap."""
    rates = plan.load[load].rate
    path: Path = ("load", load, "rate")
    for name in rates:
        if name != "default" and all(name != span.name for span in phases):
            known = ["default", *(span.name for span in phases)]
            problems.append(Problem((*path, name), f"no phase {name!r}{nearest(name, known)}", at_key=True))
    default = rates.get("default", 0.0)
    if isinstance(default, Ramp):
        problems.append(Problem((*path, "default"), "the default is a plain rate; a ramp belongs to a phase"))
        return ()
    base = [r if isinstance(r := rates.get(span.name, default), float) else default for span in phases]
    segments: list[Segment] = []
    for index, span in enumerate(phases):
        rate = rates.get(span.name, default)
        if not isinstance(rate, Ramp):
            segments.append(Segment(span.start_ns, span.end_ns, rate, rate))
            continue
        if rate.rise + rate.fall > span.end_ns - span.start_ns:
            problems.append(
                Problem(
                    (*path, span.name),
                    "rise and fall together are longer than the phase; shorten one of them",
                )
            )
            continue
        before = base[index - 1] if index else default
        after = base[index + 1] if index + 1 < len(phases) else default
        corners = (
            (span.start_ns, before if rate.rise else rate.ramp),
            (span.start_ns + rate.rise, rate.ramp),
            (span.end_ns - rate.fall, rate.ramp),
            (span.end_ns, after if rate.fall else rate.ramp),
        )
        for (t0, r0), (t1, r1) in itertools.pairwise(corners):
            if t1 > t0:
                segments.append(Segment(t0, t1, r0, r1))
    if all(segment.start_per_s == segment.end_per_s == 0 for segment in segments):
        problems.append(Problem(path, 'this stream never sends anything; write for example "default: 50/s"'))
    return tuple(segments)


def _offset_ns(moment: Moment, phases: tuple[PhaseSpan, ...], path: Path) -> int | Problem:
    if moment.anchor is None:
        offset_ns = moment.offset_ns
    elif moment.anchor == "end":
        offset_ns = phases[-1].end_ns + moment.offset_ns
    else:
        anchors = [span.start_ns for span in phases if span.name == moment.anchor]
        if not anchors:
            known = ["end", *(span.name for span in phases)]
            return Problem(path, f"no phase {moment.anchor!r}{nearest(moment.anchor, known)}")
        offset_ns = anchors[0] + moment.offset_ns
    if not 0 <= offset_ns < phases[-1].end_ns:
        return Problem(
            path, f"{moment.text!r} lies outside the run, which lasts {format_duration(phases[-1].end_ns)}"
        )
    return offset_ns


def _faults(
    plan: Plan, phases: tuple[PhaseSpan, ...], problems: list[Problem]
) -> Iterator[tuple[int, FaultSpan]]:
    """Each fault that has its place in time, with its index in the plan."""
    seen: set[str] = set()
    for index, fault in enumerate(plan.faults):
        path: Path = ("faults", index)
        if fault.id in seen:
            problems.append(Problem((*path, "id"), f"the fault id {fault.id!r} exists already"))
        seen.add(fault.id)
        if fault.proxy not in known_proxies(plan):
            hint = nearest(fault.proxy, known_proxies(plan))
            problems.append(Problem((*path, "proxy"), f"no proxy {fault.proxy!r}{hint}"))
        allowed = plan.allow.services
        if allowed is not None and fault.proxy not in allowed:
            problems.append(
                Problem((*path, "proxy"), f"{fault.proxy!r} may not be faulted; add it to allow.services")
            )
        if fault.duration <= 0:
            problems.append(Problem((*path, "duration"), "a fault lasts longer than zero"))
        if fault.duration > plan.allow.max_fault_duration:
            limit = format_duration(plan.allow.max_fault_duration)
            problems.append(Problem((*path, "duration"), f"longer than allow.max_fault_duration, {limit}"))
        start = _offset_ns(fault.start, phases, (*path, "start"))
        if isinstance(start, Problem):
            problems.append(start)
            continue
        if start + fault.duration > phases[-1].end_ns:
            end = format_duration(start + fault.duration)
            total = format_duration(phases[-1].end_ns)
            problems.append(
                Problem(
                    (*path, "duration"),
                    f"the fault would last until {end}, after the end of the run at {total}",
                )
            )
        yield index, FaultSpan(fault.id, fault.proxy, start, start + fault.duration)


def _overlaps(plan: Plan, placed: tuple[tuple[int, FaultSpan], ...]) -> Iterator[Problem]:
    for position, (index, span) in enumerate(placed):
        together = [f for _, f in placed if f.start_ns <= span.start_ns < f.end_ns]
        if len(together) > plan.allow.max_faults:
            names = ", ".join(f.fault_id for f in together)
            yield Problem(
                ("faults", index, "start"),
                f"{len(together)} faults at once ({names}); allow.max_faults is {plan.allow.max_faults}",
            )
        for other_index, other in placed[:position]:
            clash = (
                span.start_ns < other.end_ns and other.start_ns < span.end_ns and span.proxy == other.proxy
            )
            if clash and slot(plan.faults[index]) == slot(plan.faults[other_index]):
                yield Problem(
                    ("faults", index, "start"),
                    f"{span.fault_id!r} and {other.fault_id!r} overlap and are the same on {span.proxy!r}: healing "
                    "one would heal the other; move one of them or give the toxics different names",
                )


def _operations(
    phases: tuple[PhaseSpan, ...], faults: tuple[FaultSpan, ...], duration_ns: int, loads: tuple[str, ...]
) -> tuple[Operation, ...]:
    operations = [Operation(0, "load.start", name) for name in loads]
    for span in phases:
        operations.append(Operation(span.start_ns, "phase.start", span.name))
        operations.append(Operation(span.end_ns, "phase.end", span.name))
    for fault in faults:
        operations.append(Operation(fault.start_ns, "fault.inject", fault.fault_id))
        operations.append(Operation(fault.end_ns, "fault.heal", fault.fault_id))
    operations.append(Operation(duration_ns, "heal.all", "*"))
    return tuple(sorted(operations, key=lambda op: op.order))
