"""Expectations on the system as a whole: it is well before, during and after, and its pools are idle again. Pure."""

from __future__ import annotations

from resilience.analysis.checks.base import unknown
from resilience.analysis.evidence import RunEvidence
from resilience.analysis.findings import Findings
from resilience.analysis.judgement import FAIL, PASS, UNKNOWN, Judgement, compose
from resilience.analysis.validator import (
    AFTER,
    ILL,
    WELL,
    Limits,
    Reading,
    StageHealth,
    SystemHealthValidator,
)
from resilience.plan.schema.expect_promises import HealthExpectation, PoolExpectation, no_more_than
from resilience.plan.units import NS_PER_S, format_duration

_VERDICTS = {WELL: PASS, ILL: FAIL}


def readings_of(evidence: RunEvidence, service: str | None = None) -> list[Reading]:
    """All `health` events of the record, or those of one service's instances."""
    return [
        Reading.from_event(event)
        for event in evidence.events.get("health", ())
        if service is None or event.get("service") == service
    ]


def system_health(evidence: RunEvidence, limits: Limits | None = None) -> dict[str, StageHealth]:
    """The validator's report on a run."""
    left = [fault.fault_id for fault in evidence.faults.values() if not fault.healed_and_verified]
    return SystemHealthValidator(readings_of(evidence), limits=limits).report(left)


def check_health(evidence: RunEvidence, _: Findings, name: str, wanted: HealthExpectation) -> Judgement:
    """The stages that the plan names, composed."""
    expected = f"the system is well {', '.join(wanted.healthy)}"
    limits = Limits(
        memory_bytes=no_more_than(wanted.memory, Limits().memory_bytes),
        descriptors=int(no_more_than(wanted.descriptors, Limits().descriptors)),
    )
    report = system_health(evidence, limits)
    stages = [report[stage] for stage in wanted.healthy]
    said = [f"{s.stage}: {'; '.join((*s.ill, *s.unknown)[:3]) or s.verdict}" for s in stages]
    if not any(stage.readings for stage in stages):
        return unknown(name, expected, "no instance could be asked how it is")
    return Judgement(
        name,
        expected,
        ", ".join(said),
        compose(_VERDICTS.get(stage.verdict, UNKNOWN) for stage in stages),
        evidence={stage.stage: stage.to_json() for stage in stages},
    )


def check_pool(evidence: RunEvidence, _: Findings, name: str, wanted: PoolExpectation) -> Judgement:
    """Saturated under load, if that is asked for, and every connection back and idle in time after it."""
    saturated = ", saturated before" if wanted.saturated else ""
    expected = f"pool of {wanted.pool} idle {wanted.idle_within.text} after the load{saturated}"
    readings = [r for r in readings_of(evidence, wanted.pool) if r.connections is not None]
    if not readings:
        return unknown(name, expected, f"{wanted.pool} does not say how its pool is")
    verdicts: list[str] = []
    observed: list[str] = []
    if wanted.saturated:
        size = max(r.connections or 0 for r in readings)
        full = [r for r in readings if r.stage != AFTER and r.connections == size and r.idle == 0]
        # A pool that never filled up was not put to the test, which is not its fault.
        verdicts.append(PASS if full else UNKNOWN)
        observed.append(f"{len(full)} readings found all {size} connections in use")
    end_ns = evidence.epoch_ns + evidence.timeline.duration_ns
    latest: dict[str, float | None] = {}
    for reading in readings:
        if reading.at_ns < end_ns:
            latest.setdefault(reading.instance, None)
        elif latest.get(reading.instance) is None and reading.idle == reading.connections:
            latest[reading.instance] = (reading.at_ns - end_ns) / NS_PER_S
    never = [instance for instance, after_s in latest.items() if after_s is None]
    slowest_s = max((s for s in latest.values() if s is not None), default=0.0)
    if never:
        verdicts.append(FAIL)
        observed.append(f"{', '.join(never)} never had all connections idle")
    else:
        verdicts.append(PASS if wanted.idle_within.holds(slowest_s * NS_PER_S) else FAIL)
        observed.append(f"idle {format_duration(slowest_s * NS_PER_S)} after the load")
    return Judgement(name, expected, ", ".join(observed), compose(verdicts), evidence={"pool": wanted.pool})
