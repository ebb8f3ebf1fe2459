"""The path of states that one breaker took, each step with what its events and what the wire say of it.

The steps come from the events where there are any, else from runs of admissions and rejections on the wire. The
wire's evidence for a step counts the calls whose decision lies for certain within it: an open step is borne out by
rejections and by the absence of arrivals, a half-open or closed one by admissions.

A breaker that is open lets nobody in, so a call that was let in after an opening for certain, and perhaps when half-open began, is the
one that it began with. How far its decision reaches back says only how long the call was on its way. (Whether the breaker kept to that
is for R4 and R5 to say: the path tells what is known of a step.)
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from resilience.breaker.episodes import Opening
from resilience.breaker.evidence import FOREVER_NS, Track
from resilience.breaker.observation import NS_PER_S, Interval
from resilience.breaker.report import PathStep

MOST_PROBES = 40
"""Probes of one half-open step that are told by their times; `admitted` counts them all."""


def find_path(track: Track, found: tuple[Opening, ...]) -> tuple[PathStep, ...]:
    """The steps in order; empty where nothing at all was observed."""
    if not track.calls and not track.transitions and not track.states:
        return ()
    steps = _steps_from_events(track, found) if track.transitions else _steps_from_wire(track, found)
    ends = [step.at for step in steps[1:]] + [Interval(FOREVER_NS, FOREVER_NS)]
    before = [None, *steps]
    return tuple(
        PathStep(step.state, step.at, step.events, _wire(track, earlier, step, until))
        for earlier, step, until in zip(before, steps, ends, strict=False)
    )


def _steps_from_events(track: Track, found: tuple[Opening, ...]) -> list[PathStep]:
    entries = {id(o.half_open_event): o.half_open for o in found if o.half_open_event is not None}
    begin = min(track.span.lo_ns, track.transitions[0].at.lo_ns)
    steps = [PathStep(track.transitions[0].from_state, Interval(begin, begin), {"initial": True})]
    for event in track.transitions:
        if event.from_state == event.to_state == steps[-1].state:
            continue  # a self-loop is no step
        at = entries.get(id(event)) or event.at
        told: dict[str, Any] = {"from": event.from_state, "to": event.to_state, "at_ns": _ends(event.at)}
        if event.seq is not None:
            told["seq"] = event.seq
        steps.append(PathStep(event.to_state, at, told))
    return steps


def _steps_from_wire(track: Track, found: tuple[Opening, ...]) -> list[PathStep]:
    begin = Interval(track.span.lo_ns, track.span.lo_ns)
    if not found and track.states:
        return [PathStep(track.states[0].state, begin)]
    steps = [PathStep("closed", begin)]
    for opening in found:
        steps.append(PathStep("open", opening.opened))
        if opening.half_open is not None:
            steps.append(PathStep("half_open", opening.half_open))
        if opening.to == "closed" and opening.resolved is not None:
            steps.append(PathStep("closed", opening.resolved))
    return steps


def _wire(track: Track, earlier: PathStep | None, step: PathStep, until: Interval) -> dict[str, Any] | None:
    """Calls decided for certain within the step, and the calls at its borders."""
    if not track.calls:
        return None
    inside = track.calls_deciding(step.at.lo_ns, until.hi_ns)
    # The call that half-open began with, and the one that ended it, belong to it.
    begin, end = (step.at.lo_ns, until.hi_ns) if step.state == "half_open" else (step.at.hi_ns, until.lo_ns)
    within = [c for c in inside if c.decision.hi_ns <= end]
    # Of those that were let in, the first may have been on its way since before half-open, but not since before the opening.
    opened = earlier is not None and step.state == "half_open" and earlier.state == "open"
    let_in_from = min(begin, earlier.at.hi_ns) if earlier is not None and opened else begin
    admitted = [c for c in within if c.admitted and c.decision.lo_ns >= let_in_from]
    rejected = [c for c in within if c.admitted is False and c.decision.lo_ns >= begin]
    if not admitted and not rejected:
        return None
    seen: dict[str, Any] = {"admitted": len(admitted), "rejected": len(rejected)}
    for name, calls in (("admitted", admitted), ("rejected", rejected)):
        if calls:
            first = min(calls, key=lambda c: c.decision.hi_ns)
            last = max(calls, key=lambda c: c.decision.lo_ns)
            seen[f"first_{name}"] = {"id": first.id, "at_ns": _ends(first.decision)}
            seen[f"last_{name}"] = {"id": last.id, "at_ns": _ends(last.decision)}
    succeeded = [c for c in admitted if c.kind == "success"]
    failed = [c for c in admitted if c.kind == "failure"]
    seen["succeeded"], seen["failed"] = len(succeeded), len(failed)
    wanted = rejected if step.state in {"open", "forced_open"} else admitted
    seen["supports"] = bool(wanted)
    if step.state == "half_open":
        seen["probes_ns"] = [_ends(c.decision) for c in admitted[:MOST_PROBES]]
    return seen


def _ends(interval: Interval) -> list[int]:
    return [interval.lo_ns, interval.hi_ns]


def polls_agree(track: Track, path: tuple[PathStep, ...], slack_ns: int) -> list[str]:
    """Polled states that no step of the path explains, one line each."""
    odd: list[str] = []
    spans = [*pairwise(path), *([(path[-1], None)] if path else [])]
    for poll in track.states:
        possible = {
            step.state
            for step, following in spans
            if step.at.lo_ns - slack_ns <= poll.at.hi_ns
            and (following is None or following.at.hi_ns + slack_ns >= poll.at.lo_ns)
        }
        if poll.state not in possible:
            origin = track.span.lo_ns
            at = (poll.at.lo_ns - origin) / NS_PER_S
            odd.append(
                f"poll at {at:.3f} s read {poll.state}; explained would be {', '.join(sorted(possible))}"
            )
    return odd
