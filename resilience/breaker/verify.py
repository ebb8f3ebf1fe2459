"""Judge a history of breaker observations against a specification: the front door of this package.

    history ──tracks──▶ evidence per (breaker, instance, boot) ──openings──▶ rules ──▶ verdicts, and a path of states

Each track is judged alone. A rule that the dialect declares to deviate is held to the ideal first: if it fails there
but keeps to what the dialect declares, its verdict is DECLARED, with the same witness. `strict` accepts no
declarations: DECLARED is FAIL then. The history is still explained by what the library does, one deviation at a time: held to the
ideal in everything at once, a library with several deviations would only be inexplicable, and no rule would be named. A rule that crashes is UNKNOWN ("checker error"): a broken checker must never pass a breaker.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

from resilience.breaker.conform import ASKED_CAP, Explainer
from resilience.breaker.episodes import openings
from resilience.breaker.evidence import FOREVER_NS, Track, tracks, tracks_of
from resilience.breaker.joining import joined
from resilience.breaker.observation import Counter, Observation
from resilience.breaker.path import find_path
from resilience.breaker.report import BreakerReport, InstanceReport, RuleVerdict, Verdict, Witness, rule_order
from resilience.breaker.rules import ALL, SWEPT
from resilience.breaker.rules.base import Case, Rule
from resilience.breaker.rules.r19_flapping import within_reach
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.stretches import LONG, stretches, survey

_Life: TypeAlias = tuple[str, str | None, str | None]
"""Breaker, instance, boot."""

__all__ = ["ALL", "verify"]


def verify(
    history: Iterable[Observation],
    spec: BreakerSpec,
    *,
    rules: Sequence[Rule] = ALL,
    required: Iterable[str] = frozenset(),
    strict: bool = False,
    origin_ns: int | None = None,
    most: int = LONG,
) -> BreakerReport:
    """Judge every (breaker, instance, boot) of a history; see BreakerReport for what comes back.

    `required` names the rules that must be settled for the verdict to be "pass"; a name that is no rule is a
    ValueError. With `strict`, the dialect's declared deviations fail. Times in the report count from `origin_ns`, by default the
    first observation.

    The history need not be in order. It is iterated over twice: one that is not to be held in memory reads its source anew each
    time; an iterator, which could not, is kept. More than `most` observations are judged in stretches (see `stretches`).
    """
    needed = frozenset(required)
    if unknown := needed - {rule.id for rule in rules}:
        raise ValueError(f"no such rule: {', '.join(sorted(unknown, key=rule_order))}")
    if isinstance(history, Iterator):
        history = list(history)
    around = survey(history)
    if origin_ns is None:
        origin_ns = around.origin_ns if around.origin_ns < FOREVER_NS else 0
    found: dict[_Life, InstanceReport] = {}
    totals: dict[_Life, tuple[Counter, ...]] = {}
    if around.count <= most:
        _fold(tracks(history, spec), spec, origin_ns, rules, found, totals, strict=strict)
    else:
        for stretch in stretches(history, spec, around, most):
            _fold(tracks_of(stretch, spec), spec, origin_ns, rules, found, totals, strict=strict)
    return BreakerReport(
        # Lives of one instance stay in the order in which they came.
        instances=tuple(found[key] for key in sorted(found, key=lambda life: (life[0], life[1] or ""))),
        spec=(spec.idealised() if strict else spec).to_json(),
        strict=strict,
        origin_ns=origin_ns,
        required=needed,
    )


def _fold(
    those: Sequence[Track],
    spec: BreakerSpec,
    origin_ns: int,
    rules: Sequence[Rule],
    found: dict[_Life, InstanceReport],
    totals: dict[_Life, tuple[Counter, ...]],
    *,
    strict: bool,
) -> None:
    """Judge some tracks, and join what comes of it to what is known of the same lives; `totals` are handed on from stretch to stretch."""
    cases = [Case(t, openings(t, spec), spec, origin_ns, Explainer(t, spec)) for t in those]
    # The last life of each instance stands for it.
    last = {(c.track.breaker, c.track.instance): c.openings for c in cases}
    peers = {
        name: tuple(its for (breaker, _), its in last.items() if breaker == name)
        for name in {track.breaker for track in those}
    }
    for alone in cases:
        track = alone.track
        life = (track.breaker, track.instance, track.boot)
        before = found.get(life)
        tested = frozenset(
            name for name, rule in (before.rules if before else {}).items() if rule.verdict is Verdict.PASS
        )
        earlier = totals.get(life, ())
        totals[life] = within_reach((*earlier, *track.counters), spec)
        case = replace(alone, peers=peers[track.breaker], settled=tested, totals_before=earlier)
        report = _judge(track, case, rules, strict=strict)
        unplaced = sum(1 for gap in track.gaps if gap.at is None)
        found[life] = joined(before, report, spec, unplaced=unplaced) if before else report


def _judge(track: Track, case: Case, rules: Sequence[Rule], *, strict: bool) -> InstanceReport:
    ideals: dict[str, Case] = {}
    unusual = any(call.outcome in {"cancelled", "excluded"} for call in track.calls)
    for rule in case.spec.deviations:
        if rule == "R14" and not unusual:
            continue  # nothing to classify: with or without the deviation it is the same history
        ideal = case.spec.idealised(rule)
        ideals[rule] = replace(
            case,
            spec=ideal,
            openings=openings(track, ideal),
            explainer=Explainer(track, ideal, cap=ASKED_CAP),
        )
    return InstanceReport(
        breaker=track.breaker,
        instance=track.instance,
        boot=track.boot,
        path=find_path(track, case.openings),
        rules={
            rule.id: _undeclared(_apply(rule, case, ideals.get(rule.id)), strict=strict) for rule in rules
        },
        observations={
            "calls": len(track.calls),
            "transitions": len(track.transitions),
            "polls": len(track.states),
            "totals": len(track.counters),
            "arrivals": sum(len(call.arrivals) for call in track.calls),
            "unattributed_calls": len(track.orphans),
            "unattributed_arrivals": len(track.strays),
            "gaps": len(track.gaps),
        },
    )


def _apply(rule: Rule, case: Case, ideal: Case | None) -> RuleVerdict:
    verdict = _checked(rule, case)
    if ideal is None or verdict.verdict is Verdict.FAIL:
        return verdict
    if rule.id in SWEPT or not case.track.eventful:
        if case.explainer.conformance().accepted and ideal.explainer.conformance().stuck is not None:
            # Explained with the deviation, and not without it: no other rule needs to be looked at.
            reason = f"{case.spec.deviations[rule.id]} (dialect {case.spec.dialect})"
            witness = Witness(ideal.explainer.window(), tuple(ideal.witness_lines()))
            return replace(verdict, verdict=Verdict.DECLARED, reason=reason, witness=witness, exercised=1)
        return verdict
    by_ideal = _checked(rule, ideal)
    if by_ideal.verdict is Verdict.FAIL:
        return replace(
            by_ideal,
            verdict=Verdict.DECLARED,
            reason=f"{case.spec.deviations[rule.id]} (dialect {case.spec.dialect}): {by_ideal.reason}",
        )
    return by_ideal


def _undeclared(verdict: RuleVerdict, *, strict: bool) -> RuleVerdict:
    """With `strict`, what a dialect declares is a failure like any other."""
    return (
        replace(verdict, verdict=Verdict.FAIL) if strict and verdict.verdict is Verdict.DECLARED else verdict
    )


def _checked(rule: Rule, case: Case) -> RuleVerdict:
    try:
        found = rule.check(case)
    except Exception as error:  # noqa: BLE001 - whatever a checker dies of, the breaker was not judged
        reason = f"checker error: {type(error).__name__}: {error}"
        return RuleVerdict(rule.id, rule.title, Verdict.UNKNOWN, reason)
    verdict = found.verdict(rule)
    if verdict.verdict is Verdict.UNKNOWN and verdict.reason.startswith("not exercised") and rule.stimulus:
        if case.track.orphans or case.track.strays:
            return replace(verdict, reason="unattributed: calls that may be this instance's name none")
        _, _, would = verdict.reason.partition(": ")
        reason = f"not exercised: needs {rule.stimulus}" + (f" ({would})" if would else "")
        return replace(verdict, reason=reason)
    return verdict
