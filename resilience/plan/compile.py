"""Compile a plan to its timeline: pure arithmetic and every check that needs more than one key.

The schema has already checked shapes and units. Here names are resolved (phases, proxies, loads, faults, breakers),
times are made absolute, and contradictions are refused with the path of the key that causes them. All problems are
collected before `PlanInvalid` is raised.
"""

from __future__ import annotations

from collections.abc import Iterator

from resilience.plan.arrivals import arrivals, offset_ns
from resilience.plan.bounds import bound_problems, schedule_problems
from resilience.plan.problems import Path, PlanInvalid, Problem
from resilience.plan.references import references
from resilience.plan.requests import unsendable
from resilience.plan.schema import Fault, Plan
from resilience.plan.soundness import breaker_problems, hold_problems, phase_problems, settle_problems
from resilience.plan.targets import tap_problems, target_problems, wire_of
from resilience.plan.timeline import FaultSpan, Operation, PhaseSpan, Timeline
from resilience.plan.toxics import clash, toxic_problems
from resilience.plan.units import format_duration


def compile_plan(plan: Plan, *, filled: bool = True) -> Timeline:
    """Timeline of a plan; raises `PlanInvalid` with every problem found.

    `filled=False` is for a plan from a record: its addresses and requests hold variables, and are not looked at; and what was
    run once can be judged, although its bounds would be refused today.
    """
    problems: list[Problem] = []
    phases = _phases(plan, problems)
    duration_ns = phases[-1].end_ns
    due = {name: arrivals(plan, name, phases, problems) for name in plan.load}
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
        problems.extend(tap_problems(plan))
        problems.extend(bound_problems(plan))
    if problems:
        raise PlanInvalid(problems, plan.name)
    timeline = Timeline(
        name=plan.name,
        duration_ns=duration_ns,
        phases=phases,
        segments={name: segments for name, (segments, _) in due.items()},
        faults=faults,
        operations=_operations(phases, faults, duration_ns, tuple(plan.load)),
        shapes={name: shape for name, (_, shape) in due.items() if shape is not None},
    )
    # Only a timeline that is sound tells when the load is back.
    problems.extend(hold_problems(plan, timeline))
    if filled:
        problems.extend(schedule_problems(plan, timeline))
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
        problems.extend(target_problems(plan, fault, path))
        if fault.duration <= 0:
            problems.append(Problem((*path, "duration"), "a fault lasts longer than zero"))
        if fault.duration > plan.allow.max_fault_duration:
            limit = format_duration(plan.allow.max_fault_duration)
            problems.append(Problem((*path, "duration"), f"longer than allow.max_fault_duration, {limit}"))
        start = offset_ns(fault.start, phases, (*path, "start"))
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
        what = f"{fault.on} {fault.target}: {fault.kind}"
        yield (
            index,
            FaultSpan(fault.id, wire_of(plan, fault), start, start + fault.duration, fault.target, what),
        )


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
            meet = (
                span.start_ns < other.end_ns and other.start_ns < span.end_ns and span.target == other.target
            )
            if meet and clash(plan.faults[index], plan.faults[other_index]):
                yield Problem(
                    ("faults", index, "start"),
                    f"{span.fault_id!r} and {other.fault_id!r} overlap and are the same on {span.target!r}: healing "
                    f"one would heal the other; move one of them{_way_out(plan.faults[index])}",
                )


def _way_out(fault: Fault) -> str:
    return " or give the toxics different names" if fault.toxic is not None else ""


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
