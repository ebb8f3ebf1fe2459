"""The verdicts on the stretches of one breaker's life, joined to verdicts on the whole of it.

A rule fails if it fails anywhere, with its smallest witness. It stays open if it was tested and not settled anywhere. Else it passes if
it was fully tested in at least one stretch: the others then only had nothing to say. What concerns the whole (the share of
slow rejections, openings within a horizon) is counted over all stretches.
"""

from __future__ import annotations

from dataclasses import replace

from resilience.breaker.observation import Interval
from resilience.breaker.report import InstanceReport, PathStep, RuleVerdict, Verdict, Witness
from resilience.breaker.rules.r15_fast_fail import many_slow
from resilience.breaker.rules.r19_flapping import TOO_COARSE, crowded, perhaps_crowded, too_many
from resilience.breaker.spec import BreakerSpec


def joined(
    before: InstanceReport, after: InstanceReport, spec: BreakerSpec, *, unplaced: int = 0
) -> InstanceReport:
    """One report on two stretches, the later one second. `unplaced`: gaps that are in both, since nobody knows where they lie."""
    path = _path(before.path, after.path)
    rules = {name: _rule(verdict, after.rules[name]) for name, verdict in before.rules.items()}
    if "R19" in rules and spec.openings_max is not None:
        rules["R19"] = _flapping(rules["R19"], [step.at for step in path if step.state == "open"], spec)
    counts = {name: count + after.observations[name] for name, count in before.observations.items()}
    counts["gaps"] -= unplaced
    return replace(before, path=path, rules=rules, observations=counts)


def _rule(before: RuleVerdict, after: RuleVerdict) -> RuleVerdict:
    both = (before, after)
    share = (before.share[0] + after.share[0], before.share[1] + after.share[1])
    spoken = [verdict for verdict in both if verdict.margin is not None]
    chosen = min(both, key=_weight)
    if chosen.rule == "R15" and chosen.verdict is Verdict.FAIL and chosen.blame and not many_slow(*share):
        # Slow rejections that are many in one stretch, and few in the whole.
        chosen = replace(chosen, verdict=Verdict.PASS, reason="", witness=None, blame=())
    return replace(
        chosen,
        exercised=before.exercised + after.exercised,
        unsettled=before.unsettled + after.unsettled,
        margin=min(spoken, key=lambda verdict: verdict.rank).margin if spoken else None,
        rank=min((verdict.rank for verdict in spoken), default=0),
        share=share,
    )


def _weight(verdict: RuleVerdict) -> tuple[int, int]:
    """The lower, the more it says of the whole; of two failures the one with the smaller window."""
    if verdict.verdict in {Verdict.FAIL, Verdict.DECLARED}:
        window = verdict.witness.window if verdict.witness else None
        width = window.hi_ns - window.lo_ns if window else 0
        return (0 if verdict.verdict is Verdict.FAIL else 1), width
    if verdict.verdict is Verdict.PASS:
        return 3, 0
    return (2 if verdict.unsettled or verdict.reason.startswith("checker error") else 4), 0


def _path(before: tuple[PathStep, ...], after: tuple[PathStep, ...]) -> tuple[PathStep, ...]:
    """A stretch begins in the state in which the one before it ended: what was seen of that state is one step's."""
    if not before or not after or before[-1].state != after[0].state:
        return before + after
    last, first = before[-1], after[0]
    if last.wire is None or first.wire is None:
        return (*before[:-1], replace(last, wire=last.wire or first.wire), *after[1:])
    wire = {**first.wire, **last.wire}
    for name, value in first.wire.items():
        if name.startswith("last_"):
            wire[name] = value
        elif isinstance(value, bool):
            wire[name] = value or last.wire.get(name, False)
        elif isinstance(value, int):
            wire[name] = value + last.wire.get(name, 0)
    return (*before[:-1], replace(last, wire=wire), *after[1:])


def _flapping(verdict: RuleVerdict, opened: list[Interval], spec: BreakerSpec) -> RuleVerdict:
    """R19 over openings of several stretches."""
    if verdict.verdict is Verdict.FAIL:
        return verdict
    if (crowd := crowded(opened, spec)) is None:
        if verdict.verdict is Verdict.PASS and perhaps_crowded(opened, spec):
            unsettled = verdict.unsettled + 1
            return replace(verdict, verdict=Verdict.UNKNOWN, reason=TOO_COARSE, unsettled=unsettled)
        return verdict
    inside = sorted(opened)[crowd[0] : crowd[0] + crowd[1]]
    return replace(
        verdict,
        verdict=Verdict.FAIL,
        reason=too_many(crowd[1], spec),
        witness=Witness(
            Interval(inside[0].lo_ns, inside[-1].hi_ns),
            tuple(f"opening number {n}" for n in range(1, len(inside) + 1)),
        ),
    )
