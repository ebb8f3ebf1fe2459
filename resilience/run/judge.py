"""From a run record to its verdict: a pure function of the folder, today or in a year.

Precedence: a fault that was left in place beats everything; then a run that was stopped; then a run that the generator
spoilt; then a broken expectation; then a set-up that failed; then missing evidence; else pass. A record without an end
belongs to a runner that died: it is judged as far as it went, and its verdict is `aborted`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from resilience.analysis.checks import CHECKERS
from resilience.analysis.checks.wholeness import system_health
from resilience.analysis.evidence import RecordReader, RunEvidence, read_evidence
from resilience.analysis.findings import Findings, analyse
from resilience.analysis.judgement import FAIL, UNKNOWN, Judgement
from resilience.breaker.report import BreakerReport
from resilience.breaker.report import Verdict as OfRule
from resilience.load.schedule import counts_by_phase
from resilience.metrics.machine import crowded_phases
from resilience.metrics.validity import Validity, judge_validity
from resilience.run.ending import Ending, Verdict, worst
from resilience.run.streams import load_phases, load_streams

VERSION = 1


def judge_record(
    reader: RecordReader, *, strict: bool | None = None, ending: Ending | None = None
) -> dict[str, Any]:
    """The verdict as it stands in `verdict.json`. `strict` and `ending` override what the record says."""
    evidence = read_evidence(reader, strict=strict)
    findings = analyse(evidence, reader)
    judgements = [_check(evidence, findings, name) for name in evidence.plan.expect]
    failed = any(judgement.verdict == FAIL for judgement in judgements)
    timed = any(_depends_on_timing(report) for report in findings.breakers.values())
    validity = _validity(evidence, doubtful=failed and timed)
    over = ending or _ending(evidence)
    reasons = _reasons(evidence, findings, judgements, validity, over)
    verdict = worst(reasons or {Verdict.PASS})
    reason = reasons.get(verdict, "every expectation holds")
    return {
        "v": VERSION,
        "verdict": verdict.value,
        "reason": reason,
        "notice": evidence.environment.get("system", {}).get("facts", {}).get("notice"),
        "also": {v.value: text for v, text in reasons.items() if v is not verdict},
        "name": evidence.plan.name,
        "plan": evidence.plan.name,
        "purpose": evidence.plan.purpose,
        "started": evidence.environment.get("started"),
        "seed": evidence.seed,
        "strict": evidence.strict,
        "duration_s": evidence.timeline.duration_ns / 1e9,
        "stack": evidence.environment.get("stack"),
        "command": evidence.environment.get("command"),
        "shared_host": evidence.environment.get("shared_host"),
        "expectations": [judgement.to_json() for judgement in judgements],
        "breakers": {name: report.to_json() for name, report in findings.breakers.items()},
        "breaker_problems": dict(findings.breaker_problems),
        "recovery": _recovery(findings),
        "validity": None if validity is None else validity.to_json(),
        "unexercised": list(findings.unexercised),
        "health": {stage: found.to_json() for stage, found in system_health(evidence).items()},
        "faults": [_fault(evidence, fault_id) for fault_id in evidence.faults],
        "loads": _loads(evidence),
        "phases": [
            {
                "name": span.name,
                "start_s": span.start_ns / 1e9,
                "end_s": span.end_ns / 1e9,
                "judge": span.judge,
            }
            for span in evidence.timeline.phases
        ],
    }


def _check(evidence: RunEvidence, findings: Findings, name: str) -> Judgement:
    wanted = evidence.plan.expect[name]
    try:
        return CHECKERS[type(wanted)](evidence, findings, name, wanted)
    except Exception as error:  # noqa: BLE001 - a checker that crashes yields unknown, never a pass
        text = f"{type(error).__name__}: {error}"
        return Judgement(name, str(wanted), "checker error", UNKNOWN, evidence={"why": text})


def _depends_on_timing(report: BreakerReport) -> bool:
    """Whether a breaker may have failed because of its machine: by a timer of its own that rang late, or rejections that took long."""
    timers = report.spec["entry"] != "lazy" or report.spec["dwell_ns"] or report.spec["evaluation_ns"]
    found = (instance.rules.get("R15") for instance in report.instances)
    return bool(timers) or any(rule is not None and rule.verdict is OfRule.FAIL for rule in found)


def _ending(evidence: RunEvidence) -> Ending:
    if not evidence.ending:
        return Ending("aborted", "the runner died before the run was over; judged as far as it went")
    return Ending(
        str(evidence.ending.get("reason")),
        str(evidence.ending.get("detail", "")),
        int(evidence.ending.get("signal", 0)),
    )


def _validity(evidence: RunEvidence, *, doubtful: bool) -> Validity | None:
    """None when no load was ever started: there is nothing to be valid."""
    if not evidence.epoch_ns:
        return None
    phases = load_phases(evidence.timeline)
    base_url = str(evidence.environment.get("system", {}).get("base_url", "http://unknown"))
    streams = load_streams(evidence.plan, evidence.timeline, base_url, evidence.seed)
    scheduled = {stream.name: counts_by_phase(stream, phases) for stream in streams}
    measured = judge_validity(evidence.table, scheduled, evidence.workers, phases)
    crowded = crowded_phases(evidence.events.get("machine", ()), phases, evidence.epoch_ns)
    if not evidence.plan.load and not doubtful:
        # Nothing but stimuli: a busy machine widens intervals, so that rules stay open; what they still show is shown. But a breaker
        # that has timers of its own may have failed because they rang late, and a rejection that took long may have waited for a processor.
        crowded = ()
    # What the stack itself holds against the run comes first: then the numbers say nothing, however good they are.
    doubts = _doubts(evidence)
    valid = measured.valid and not crowded and not doubts
    return replace(measured, valid=valid, reasons=(*doubts, *measured.reasons, *crowded))


def _doubts(evidence: RunEvidence) -> tuple[str, ...]:
    """What the stack itself holds against the run."""
    return tuple(dict.fromkeys(str(event["text"]) for event in evidence.events.get("doubt", ())))


def _reasons(
    evidence: RunEvidence,
    findings: Findings,
    judgements: list[Judgement],
    validity: Validity | None,
    ending: Ending,
) -> dict[Verdict, str]:
    """Every verdict that applies, with its sentence."""
    reasons = _of_the_run(evidence, validity, ending)
    if validity is None:
        return reasons  # without load there is nothing that an expectation could have been broken by
    failed = [judgement for judgement in judgements if judgement.verdict == FAIL]
    open_ = [judgement for judgement in judgements if judgement.verdict == UNKNOWN]
    if failed:
        reasons[Verdict.FAIL] = _sentence(_first(failed), len(failed))
    if findings.unexercised and ending.reason == "completed":
        reasons[Verdict.UNKNOWN] = "; ".join(findings.unexercised)
    elif open_:
        reasons[Verdict.UNKNOWN] = _sentence(_first(open_), len(open_))
    return reasons


def _of_the_run(evidence: RunEvidence, validity: Validity | None, ending: Ending) -> dict[Verdict, str]:
    """What holds of the run itself, whatever its expectations came to."""
    reasons: dict[Verdict, str] = {}
    seen = ending.verified if ending.reason == "record_failed" else frozenset()
    left = [
        f.fault_id for f in evidence.faults.values() if not f.healed_and_verified and f.fault_id not in seen
    ]
    if left:
        reasons[Verdict.UNHEALED] = f"not verified as healed: {', '.join(left)}; run `chaos-spike undo`"
    doubts = _doubts(evidence) if validity is not None else ()
    if doubts:
        reasons[Verdict.INVALID] = "; ".join(doubts)
    if doubts and ending.reason in {"setup_failed", "unhealed"}:
        return reasons  # a fault that could not be put in, or not be taken out in time: that came of the same
    if ending.reason == "setup_failed":
        reasons[Verdict.SETUP_FAILED] = ending.detail
    elif ending.reason != "completed":
        # Also for a reason that this version does not know: a run that did not complete is never a pass.
        reasons[Verdict.ABORTED] = ending.detail or ending.reason
    elif validity is None:
        reasons[Verdict.INVALID] = "no load was offered"
    elif not validity.valid:
        reasons[Verdict.INVALID] = "; ".join(validity.reasons[:2])
    return reasons


def _first(found: list[Judgement]) -> Judgement:
    """The one that broke first; those without a time keep the plan's order behind the others."""
    return min(found, key=lambda j: j.at_s if j.at_s is not None else float("inf"))


def _sentence(judgement: Judgement, count: int) -> str:
    why = judgement.evidence.get("why")
    more = f" (and {count - 1} more)" if count > 1 else ""
    observed = f"{judgement.observed}: {why}" if why else judgement.observed
    return f"{judgement.expectation}: expected {judgement.expected}, observed {observed}{more}"


def _recovery(findings: Findings) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for finding in findings.recoveries.values():
        if finding.recovery is None:
            found[finding.fault] = {"load": finding.load, "problem": finding.problem}
            continue
        found[finding.fault] = {
            "load": finding.load,
            "reference_s": finding.reference_s,
            "hold_s": finding.hold_s,
            "coarse_baseline": finding.coarse,
            "time_to_recover_s": finding.recovery.time_to_recover.to_json(),
            "components": dict(finding.components),
            "relapses": finding.recovery.relapses,
            "depth": round(finding.recovery.depth, 4),
            "lost_good_operations": round(finding.recovery.lost_good_operations, 1),
            "resilience_ratio": round(finding.recovery.resilience_ratio, 4),
        }
    return found


def _fault(evidence: RunEvidence, fault_id: str) -> dict[str, Any]:
    fault = evidence.faults[fault_id]

    def times(interval: tuple[int, int] | None) -> dict[str, Any] | None:
        if interval is None:
            return None
        return {"at": list(interval), "at_s": [round(evidence.at_s(end), 4) for end in interval]}

    points = evidence.environment.get("system", {}).get("proxies", {}) if fault.on == "proxy" else {}
    point: Mapping[str, Any] = points.get(fault.target, {})
    return {
        "id": fault.fault_id,
        "kind": fault.kind,
        "on": fault.on,
        "target": fault.target,
        "toxiproxy": point.get("admin_url"),
        "planned_s": list(fault.planned_s),
        "injected": times(fault.injected_ns),
        "healed": times(fault.healed_ns),
        "verified": fault.verified_ns is not None and not fault.unhealed,
        "verified_at": times(fault.verified_ns),
        "error": fault.error,
    }


def _loads(evidence: RunEvidence) -> dict[str, Any]:
    return {
        load: {
            span.name: evidence.table.phase(load, span.name).to_json() for span in evidence.timeline.phases
        }
        for load in evidence.plan.load
        if load in evidence.table.loads
    }
