"""Rules that the automaton judges: what they share.

Such a rule is a guard of the automaton. It FAILs if the history has no explanation and changing what this rule says
is what explains it. It PASSes if the history is explained *and* would not be by a breaker that breaks just this rule in
the ways listed for it (a threshold one off, a longer wait, ...): only then was it tested. Otherwise the history is
silent about it, and the verdict is UNKNOWN with the alternative that the traffic did not rule out. Where a history is explained by one
mistake, the other rules are judged beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from resilience.breaker.automaton import Automaton
from resilience.breaker.observation import Interval
from resilience.breaker.report import rule_order
from resilience.breaker.rules.base import Case, Finding, Rule


def swept(rule: str, title: str, stimulus: str, applies: Callable[[Case], bool] | None = None) -> Rule:
    """A rule whose verdict is read off the conformance of the track."""

    def check(case: Case) -> Finding:
        if applies is not None and not applies(case):
            return Finding(idle_why="does not apply to this specification")
        return judged(rule, case)

    return Rule(rule, title, check, stimulus)


def judged(rule: str, case: Case) -> Finding:
    """What the automaton says of a rule; rules with a look of their own come here where only the wire was seen."""
    found = Finding()
    known = case.explainer.conformance()
    if known.why_not:
        found.open_question(known.why_not)
    elif known.stuck is not None:
        _blamed(rule, case, found)
    elif known.holes:
        found.open_question(truncated(case, known.holes))
    else:
        _tested(rule, case, found)
    return found


def truncated(case: Case, holes: Sequence[Interval]) -> str:
    """The reason where records were lost, with the times in which the breaker could have done anything."""
    spans = ", ".join(case.within(hole) for hole in holes[:3])
    return f"truncated: anything may have happened in {spans}{' and elsewhere' if len(holes) > 3 else ''}"


def _blamed(rule: str, case: Case, found: Finding) -> None:
    changes = case.explainer.explanations()
    blamed = {change.rule for change in changes}
    words = [change.words for change in changes]
    if rule not in blamed and len(blamed) == 1 and not changes[0].automaton.relaxed:
        # One thing is wrong and known: what else there is to say is said of the breaker with that mistake.
        _tested(rule, case, found, changes[0].automaton)
    elif rule not in blamed:
        found.open_question("not judged: the history has no explanation, see R17")
    elif len(blamed) > 1:
        found.open_question(f"one of {', '.join(sorted(blamed, key=rule_order))} is violated, see R17")
    else:
        found.fail(
            f"explained only if {' or '.join(words)}",
            case.explainer.window(),
            case.witness_lines(),
            *[f"holds if {word}" for word in words],
        )


def _tested(rule: str, case: Case, found: Finding, mistaken: Automaton | None = None) -> None:
    """Every breaker that differs just here must be refuted; else say which one is not."""
    if mistaken is None and rule in case.settled:
        found.exercised += 1
        return
    several = case.explainer.alternatives(mistaken)
    others = [change for change in several if change.rule == rule and not change.wider]
    for change in others:
        if mistaken is not None and mistaken.habit and change.automaton.habit != mistaken.habit:
            # An automaton has one habit at a time: this one would be refuted for want of the mistake itself.
            found.idle_why, found.exercised = (
                "not judged beside the mistake that explains the history, see R17",
                0,
            )
            return
        if case.explainer.explains(change.automaton):
            found.idle_why = f"not exercised: would also be explained if {change.words}"
            found.exercised = 0
            return
        found.exercised += 1
