"""Analyses that are made once a run and used by several expectations: breakers, recoveries, arrivals on the wire. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from resilience.analysis.attribution import Unattributed, refuse_unattributed
from resilience.analysis.baseline import against_baseline
from resilience.analysis.clocks import callers_clocks, judged_by_clocks, widened_notes
from resilience.analysis.evidence import NS_PER_S, RecordReader, RunEvidence
from resilience.analysis.exercise import unexercised
from resilience.analysis.health import BaselineRefused
from resilience.analysis.metastability import sustaining_loop
from resilience.analysis.recovery import Recovery, recovery_of
from resilience.breaker.observation import Fault, Interval, Observation
from resilience.breaker.report import BreakerReport
from resilience.breaker.spec import BreakerSpec, SpecError
from resilience.breaker.verify import verify
from resilience.breaker.wire import from_record
from resilience.load.identity import DEFAULT
from resilience.metrics.clocks import worker_clocks
from resilience.plan.schema import Breaker, ConformsExpectation, RecoversExpectation
from resilience.plan.schema.expect_promises import (
    CoherenceExpectation,
    HitRateExpectation,
    MetastableExpectation,
    OrdersExpectation,
    SocketsExpectation,
)
from resilience.plan.soundness import DEFAULT_HOLD_NS
from resilience.plan.specs import specification
from resilience.run.streams import load_streams


@dataclass(frozen=True, slots=True)
class RecoveryFinding:
    """Recovery of one load after one fault, or the problem that kept it from being judged."""

    fault: str
    load: str
    reference_s: float | None = None
    hold_s: float = 0.0
    coarse: bool = False
    recovery: Recovery | None = None
    components: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """Results by the plan's names: breakers by breaker, recoveries by expectation, arrivals (ids) by proxy."""

    followed: frozenset[str]
    breakers: Mapping[str, BreakerReport]
    breaker_problems: Mapping[str, str]
    recoveries: Mapping[str, RecoveryFinding]
    arrivals: Mapping[str, Sequence[str]]
    unexercised: tuple[str, ...] = ()
    notes: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """What loads wrote down of their calls, by load; read where an expectation needs it."""
    notes_lost: Mapping[str, int] = field(default_factory=dict)
    amplification: Mapping[str, float] = field(default_factory=dict)
    """Attempts per call on the wire after the fault, by expectation; missing where no tap could count them."""
    loops: Mapping[str, str] = field(default_factory=dict)
    timeouts_s: Mapping[str, float] = field(default_factory=dict)

    def notes_problem(self, load: str) -> str:
        """Why nothing can be said from a load's notes; empty when something can."""
        if lost := self.notes_lost.get(load, 0):
            return f"{lost} notes of {load} did not fit into the record"
        return "" if self.notes.get(load) else f"{load} wrote nothing down; give it `record`"


def analyse(evidence: RunEvidence, reader: RecordReader) -> Findings:
    """Make every analysis that the plan asks for; a problem with one is said in its place and spoils no other."""
    breakers: dict[str, BreakerReport] = {}
    problems: dict[str, str] = {}
    for name, breaker in evidence.plan.breakers.items():
        try:
            breakers[name] = _verify(evidence, reader, name, breaker)
        except (SpecError, Unattributed) as error:
            problems[name] = str(error)
        except Exception as error:  # noqa: BLE001 - a checker that crashes yields unknown, never a pass
            problems[name] = f"checker error: {type(error).__name__}: {error}"
    recoveries = {
        name: _recovery(evidence, wanted, breakers)
        for name, wanted in evidence.plan.expect.items()
        if isinstance(wanted, RecoversExpectation)
    }
    proxies = {p for e in evidence.plan.expect.values() if (p := getattr(e, "proxy", None))}
    return Findings(
        followed=frozenset(evidence.plan.breakers),
        breakers=breakers,
        breaker_problems=problems,
        recoveries=recoveries,
        arrivals={proxy: _arrival_ids(reader, proxy) for proxy in proxies},
        unexercised=tuple(unexercised(evidence, reader, breakers)),
        **_promises(evidence, reader),
    )


_NOTED = (SocketsExpectation, CoherenceExpectation, HitRateExpectation, OrdersExpectation)


def _promises(evidence: RunEvidence, reader: RecordReader) -> dict[str, Any]:
    """What the expectations beyond single calls need of the record, and nothing where the plan has none."""
    wanted = evidence.plan.expect.values()
    found: dict[str, Any] = {}
    if any(isinstance(each, _NOTED) for each in wanted):
        clocks = worker_clocks(evidence.workers)
        found["notes"] = {
            load: list(widened_notes(reader.notes(load), clocks)) for load in evidence.plan.load
        }
        lost: dict[str, int] = {}
        for line in reader.figures():
            lost[line["load"]] = lost.get(line["load"], 0) + int(line["n"].get("notes_lost", 0))
        found["notes_lost"] = lost
    probes = {n: e for n, e in evidence.plan.expect.items() if isinstance(e, MetastableExpectation)}
    if probes:
        ratios = {name: _amplification(evidence, reader, each) for name, each in probes.items()}
        found["amplification"] = {name: ratio for name, ratio in ratios.items() if ratio is not None}
        loops = {name: _loop(evidence, ratio) for name, ratio in ratios.items()}
        found["loops"] = {name: loop for name, loop in loops.items() if loop is not None}
        streams = load_streams(evidence.plan, evidence.timeline, "http://unknown", evidence.seed)
        found["timeouts_s"] = {stream.name: stream.timeout_ns / NS_PER_S for stream in streams}
    return found


def _amplification(
    evidence: RunEvidence, reader: RecordReader, wanted: MetastableExpectation
) -> float | None:
    """Requests per request id before the faulted proxy while the aftermath was watched; None where no tap saw any."""
    span = evidence.timeline.phase(wanted.watch)
    from_ns, to_ns = evidence.epoch_ns + span.start_ns, evidence.epoch_ns + span.end_ns
    proxy = evidence.faults[wanted.fault].proxy
    if proxy is None:
        return None
    ids = [
        str(record["id"])
        for record in reader.wire(proxy)
        if record.get("what") == "arrival" and record.get("id") and from_ns <= _last(record["at"]) < to_ns
    ]
    return len(ids) / len(set(ids)) if ids else None


def _last(at: Any) -> int:
    return int(at[1] if isinstance(at, list) else at)


def _loop(evidence: RunEvidence, amplification: float | None) -> str | None:
    """What keeps a system down, from what was seen last of its breakers and of retries on the wire."""
    states: dict[tuple[str, str], str] = {}
    for event in evidence.events.get("breaker.state", ()):
        states[str(event["breaker"]), str(event["instance"])] = str(event["state"])
    return sustaining_loop(amplification=amplification, breakers=tuple(states.values()))


def breaker_spec(evidence: RunEvidence, breaker: Breaker) -> BreakerSpec:
    """Specification of a breaker: from the plan, or from what the lab said it runs. Raises `SpecError`."""
    facts = evidence.environment.get("system", {}).get("facts", {})
    return specification(evidence.plan, breaker, facts)


def _verify(evidence: RunEvidence, reader: RecordReader, name: str, breaker: Breaker) -> BreakerReport:
    spec = breaker_spec(evidence, breaker)
    rows = list(reader.calls(breaker.load))
    if spec.scope == "instance":
        refuse_unattributed(evidence, breaker, rows)
    required = frozenset(
        rule
        for wanted in evidence.plan.expect.values()
        if isinstance(wanted, ConformsExpectation) and wanted.breaker in ("*", name)
        for rule in wanted.require
    )

    def judged(errors: Sequence[Interval]) -> BreakerReport:
        history = _history(evidence, reader, name, breaker, rows, spec.timeout_ns, errors)
        return verify(history, spec, required=required, strict=evidence.strict, origin_ns=evidence.epoch_ns)

    return judged_by_clocks(judged, callers_clocks(evidence, breaker.load))


def _history(
    evidence: RunEvidence,
    reader: RecordReader,
    name: str,
    breaker: Breaker,
    rows: Sequence[Any],
    timeout_ns: int | None,
    errors: Sequence[Interval],
) -> list[Observation]:
    stimulus = evidence.plan.stimulus.get(breaker.load)
    return from_record(
        breaker=name,
        run_id=evidence.run_id,
        calls=[{"kind": "call", "load": breaker.load, "rows": rows}],
        wire=reader.wire(breaker.observe.wire) if breaker.observe.wire else (),
        transitions=evidence.events.get("breaker.transition", ()),
        polls=evidence.events.get("breaker.state", ()),
        totals=evidence.events.get("breaker.total", ()),
        faults=[
            Fault(
                fault.fault_id,
                Interval(*fault.injected_ns),
                Interval(*fault.healed_ns) if fault.healed_ns is not None else None,
            )
            for fault in evidence.faults.values()
            if fault.injected_ns is not None
        ],
        gaps=[g for g in evidence.events.get("gap", ()) if g.get("proxy") in (None, breaker.observe.wire)],
        timeout_ns=timeout_ns,
        correlate=stimulus.correlate if stimulus is not None else DEFAULT,
        errors=errors,
    )


def _arrival_ids(reader: RecordReader, proxy: str) -> list[str]:
    # By the tap's own number: a record that was delivered twice is one request.
    ids = {
        record["n"]: str(record["id"])
        for record in reader.wire(proxy)
        if record.get("what") == "arrival" and record.get("id") is not None
    }
    return list(ids.values())


def _recovery(
    evidence: RunEvidence, wanted: RecoversExpectation, breakers: Mapping[str, BreakerReport]
) -> RecoveryFinding:
    loads = [wanted.load] if wanted.load is not None else list(evidence.plan.load)
    found = [_recovery_of_load(evidence, wanted, load, breakers) for load in loads]

    def slowest(finding: RecoveryFinding) -> tuple[int, float]:
        # A load that could not be judged comes first, then a censored one, then the slowest.
        if finding.recovery is None:
            return 2, 0.0
        time = finding.recovery.time_to_recover
        return (1, time.low_s) if time.high_s is None else (0, time.high_s)

    return max(found, key=slowest)


def _recovery_of_load(
    evidence: RunEvidence, wanted: RecoversExpectation, load: str, breakers: Mapping[str, BreakerReport]
) -> RecoveryFinding:
    fault = evidence.faults[wanted.fault]
    if fault.injected_ns is None:
        return RecoveryFinding(wanted.fault, load, problem=f"the fault {wanted.fault} was not injected")
    if fault.verified_ns is None:
        return RecoveryFinding(wanted.fault, load, problem=f"{wanted.fault} was not verified as healed")
    try:
        baseline, points = against_baseline(evidence, load)
    except BaselineRefused as refused:
        return RecoveryFinding(wanted.fault, load, problem=str(refused))
    span = evidence.timeline.phase("baseline")
    verified_s = evidence.at_s(fault.verified_ns[1])
    rate = max(
        (s.end_per_s for s in evidence.timeline.segments[load] if s.end_ns == span.end_ns), default=0.0
    )
    back_s = evidence.timeline.load_back_ns(load, int(verified_s * NS_PER_S), rate) / NS_PER_S
    hold_s = wanted.hold / 1e9 if wanted.hold is not None else _hold_s(breakers)
    recovery = recovery_of(
        # The run ends when its timeline does: what is still draining afterwards offers nothing.
        [p for p in points if p.second < evidence.timeline.duration_ns / NS_PER_S],
        baseline,
        fault_on_s=evidence.at_s(fault.injected_ns[0]),
        reference_s=back_s,
        hold_s=hold_s,
    )
    return RecoveryFinding(
        wanted.fault,
        load,
        reference_s=back_s,
        hold_s=hold_s,
        coarse=baseline.coarse,
        recovery=recovery,
        components=_components(evidence, wanted.fault, recovery, breakers),
    )


def _hold_s(breakers: Mapping[str, BreakerReport]) -> float:
    waits = [float(report.spec.get("wait_ns", 0)) / NS_PER_S for report in breakers.values()]
    return max((DEFAULT_HOLD_NS / NS_PER_S, *(2 * wait for wait in waits)))


def _components(
    evidence: RunEvidence, fault_id: str, recovery: Recovery, breakers: Mapping[str, BreakerReport]
) -> dict[str, Any]:
    """Parts of a recovery: breaker open after the fault went in, closed after it was healed, then load by load."""
    fault = evidence.faults[fault_id]
    assert fault.injected_ns is not None  # the caller has looked
    healed_ns = (fault.healed_ns or fault.injected_ns)[0]
    parts: dict[str, Any] = {
        "goodput": recovery.goodput.to_json(),
        "latency": recovery.latency.to_json(),
        "queue_drained": recovery.queue.to_json(),
    }
    for name, report in breakers.items():
        for instance in report.instances:
            label = f"{name}@{instance.instance}"
            opened = [s.at for s in instance.path if s.state == "open" and s.at.hi_ns >= fault.injected_ns[0]]
            closed = [s.at for s in instance.path if s.state == "closed" and s.at.hi_ns >= healed_ns]
            if opened:
                parts[f"breaker_open {label}"] = _after(opened[0], fault.injected_ns[0])
            if closed:
                parts[f"breaker_closed {label}"] = _after(closed[-1], healed_ns)
    return parts


def _after(at: Interval, since_ns: int) -> dict[str, float]:
    low_s, high_s = (at.lo_ns - since_ns) / NS_PER_S, (at.hi_ns - since_ns) / NS_PER_S
    return {"value": round((low_s + high_s) / 2, 3), "plus_minus": round((high_s - low_s) / 2, 3)}
