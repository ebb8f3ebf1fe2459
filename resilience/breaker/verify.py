"""Judge a history of breaker observations against a specification: the front door of this package.

    history ──tracks──▶ evidence per (breaker, instance, boot) ──openings──▶ rules ──▶ verdicts, and a path of states

Each track is judged alone. A rule that the dialect declares to deviate is held to the ideal first: if it fails there
but keeps to what the dialect declares, its verdict is DECLARED, with the same witness; `strict` accepts no
declarations. A rule that crashes is UNKNOWN ("checker error"): a broken checker must never pass a breaker.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from resilience.breaker.episodes import openings
from resilience.breaker.evidence import Track, tracks
from resilience.breaker.observation import Fault, Gap, Observation
from resilience.breaker.path import find_path
from resilience.breaker.report import BreakerReport, InstanceReport, RuleVerdict, Verdict, rule_order
from resilience.breaker.rules import ALL
from resilience.breaker.rules.base import Case, Rule
from resilience.breaker.spec import BreakerSpec

__all__ = ["ALL", "verify"]


def verify(
    history: Sequence[Observation],
    spec: BreakerSpec,
    *,
    rules: Sequence[Rule] = ALL,
    required: Iterable[str] = frozenset(),
    strict: bool = False,
) -> BreakerReport:
    """Judge every (breaker, instance, boot) of a history; see BreakerReport for what comes back.

    `required` names the rules that must be settled for the verdict to be "pass"; a name that is no rule is a
    ValueError. The history need not be in order. With `strict`, the dialect's declared deviations fail.
    """
    needed = frozenset(required)
    if unknown := needed - {rule.id for rule in rules}:
        raise ValueError(f"no such rule: {', '.join(sorted(unknown, key=rule_order))}")
    held_to = spec.idealised() if strict else spec
    origin_ns = min((_begin(entry) for entry in history), default=0)
    found = tracks(history, held_to)
    return BreakerReport(
        instances=tuple(_judge(track, held_to, rules, origin_ns) for track in found),
        spec=held_to.to_json(),
        strict=strict,
        origin_ns=origin_ns,
        required=needed,
    )


def _begin(entry: Observation) -> int:
    if isinstance(entry, Gap):
        return entry.at.lo_ns if entry.at else 1 << 62
    if isinstance(entry, Fault):
        return entry.on.lo_ns
    return entry.start.lo_ns if hasattr(entry, "start") else entry.at.lo_ns


def _judge(track: Track, spec: BreakerSpec, rules: Sequence[Rule], origin_ns: int) -> InstanceReport:
    case = Case(track, openings(track, spec), spec, origin_ns)
    ideal = spec.idealised()
    strict_case = replace(case, openings=openings(track, ideal), spec=ideal) if spec.deviations else case
    verdicts = {rule.id: _apply(rule, case, strict_case) for rule in rules}
    return InstanceReport(
        breaker=track.breaker,
        instance=track.instance,
        boot=track.boot,
        path=find_path(track, case.openings),
        rules=verdicts,
        observations={
            "calls": len(track.calls),
            "transitions": len(track.transitions),
            "polls": len(track.states),
            "arrivals": sum(len(call.arrivals) for call in track.calls),
            "unattributed_calls": len(track.orphans),
            "unattributed_arrivals": len(track.strays),
            "gaps": len(track.gaps),
        },
    )


def _apply(rule: Rule, case: Case, ideal: Case) -> RuleVerdict:
    declared = case.spec.deviations.get(rule.id)
    verdict = _checked(rule, case)
    if declared is None or verdict.verdict is Verdict.FAIL:
        return verdict
    by_ideal = _checked(rule, ideal)
    if by_ideal.verdict is Verdict.FAIL:
        return replace(
            by_ideal,
            verdict=Verdict.DECLARED,
            reason=f"{declared} (dialect {case.spec.dialect}): {by_ideal.reason}",
        )
    return by_ideal


def _checked(rule: Rule, case: Case) -> RuleVerdict:
    try:
        found = rule.check(case)
    except Exception as error:  # noqa: BLE001 - whatever a checker dies of, the breaker was not judged
        reason = f"checker error: {type(error).__name__}: {error}"
        return RuleVerdict(rule.id, rule.title, Verdict.UNKNOWN, reason)
    verdict = found.verdict(rule)
    if verdict.verdict is Verdict.UNKNOWN and verdict.reason == "not exercised" and rule.stimulus:
        return replace(verdict, reason=f"not exercised: needs {rule.stimulus}")
    return verdict
