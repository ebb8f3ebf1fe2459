"""Was every planned fault really in place, did anything meet it, and was every stimulus played to its end? Pure.

A run whose fault never went in, was taken out early, or touched nothing proves nothing, however well every expectation
holds. Neither does one whose stimulus was cut short or gave up: what the rest would have shown, nobody knows. Signs that a fault was met, any one of which suffices: traffic on the wire before its proxy while it was in place, a breaker that
moved, an operation that failed or was answered by a fallback, or a second that was not healthy by the baseline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from resilience.analysis.baseline import against_baseline
from resilience.analysis.evidence import FaultFacts, RecordReader, RunEvidence
from resilience.analysis.health import BaselineRefused, health_at
from resilience.breaker.report import BreakerReport, label
from resilience.plan.units import NS_PER_S, format_duration

SHORTFALL_S = 0.5
"""A fault may be in place this much shorter than planned: putting it in and taking it out takes time.

A restart is over when it has gone in; how long it may take to come back is all that its duration says.
"""


def unexercised(
    evidence: RunEvidence, reader: RecordReader, breakers: Mapping[str, BreakerReport]
) -> Iterator[str]:
    """One sentence for each planned fault, and each stimulus, that the run did not really put the system to."""
    yield from _cut_short(evidence)
    for fault in evidence.faults.values():
        planned_s = fault.planned_s[1] - fault.planned_s[0]
        if fault.injected_ns is None:
            yield f"the fault {fault.fault_id} was not injected"
        elif fault.kind != "restart" and fault.in_place_s < planned_s - max(SHORTFALL_S, 0.05 * planned_s):
            why = f" ({fault.healed_because})" if fault.healed_because not in ("", "healed") else ""
            lasted = format_duration(fault.in_place_s * NS_PER_S)
            planned = format_duration(planned_s * NS_PER_S)
            yield f"the fault {fault.fault_id} was in place for {lasted} of {planned}{why}"
        elif not _was_met(evidence, reader, breakers, fault):
            yield f"the fault {fault.fault_id} did not show: nothing in the record says that any call met it"


def _cut_short(evidence: RunEvidence) -> Iterator[str]:
    """What kept a stimulus from its end; a script whose end nobody wrote down did not get there either."""
    events = evidence.events.get("stimulus", ()) if evidence.plan.stimulus else ()
    cuts = {str(event.get("why")) for event in events if event["state"] == "cut"}
    for why in sorted(cuts):
        yield f"the stimulus did not come to its end: {why}"
    for name in evidence.plan.stimulus:
        own = [event for event in events if event.get("load") == name]
        for event in own:
            if event.get("ended_early"):
                yield f"the stimulus {label(name, event.get('instance'))} did not come to its end: {event.get('why')}"
        if cuts:
            continue
        played = {event.get("instance") for event in own} or {None}
        ended = {event.get("instance") for event in own if event["state"] == "ended"}
        for instance in sorted(played - ended, key=str):
            yield f"the stimulus {label(name, instance)} did not come to its end: the record holds none"


def _was_met(
    evidence: RunEvidence, reader: RecordReader, breakers: Mapping[str, BreakerReport], fault: FaultFacts
) -> bool:
    assert fault.injected_ns is not None  # the caller has looked
    assert fault.healed_ns is not None
    from_ns, to_ns = fault.injected_ns[0], fault.healed_ns[1]
    wire = reader.wire(fault.proxy) if fault.proxy is not None else ()
    if any(from_ns <= record["at"][1] and record["at"][0] <= to_ns for record in wire):
        return True
    if _was_missed(evidence, fault.target, from_ns, to_ns):
        return True
    moves = (step.at for report in breakers.values() for i in report.instances for step in i.path[1:])
    if any(from_ns <= at.hi_ns and at.lo_ns <= to_ns for at in moves):
        return True
    return any(
        _suffered(evidence, load, evidence.at_s(from_ns), evidence.at_s(to_ns)) for load in evidence.plan.load
    )


def _was_missed(evidence: RunEvidence, target: str, from_ns: int, to_ns: int) -> bool:
    """Whether the faulted instance itself gave no good answer when it was asked how it is, or its process was seen to be gone."""
    during = (
        event
        for event in (*evidence.events.get("health", ()), *evidence.events.get("resource", ()))
        if target in (event.get("instance"), event.get("process"))
        and from_ns <= event["at"][1]
        and event["at"][0] <= to_ns
    )
    return any(
        event.get("gone") or (event["kind"] == "health" and event.get("live") is not True) for event in during
    )


def _suffered(evidence: RunEvidence, load: str, from_s: float, to_s: float) -> bool:
    """Whether any second of a load that overlaps the fault was worse than its baseline."""
    points = evidence.points(load)
    if any(p.failed or p.degraded for p in points if from_s < p.second + 1 and p.second < to_s):
        return True
    try:
        baseline, points = against_baseline(evidence, load)
    except BaselineRefused:
        return False
    during = [point for point in points if from_s < point.second + 1 and point.second < to_s]
    return any(not health_at(point, baseline).healthy for point in during)
