"""R17: events, polls, totals and the wire admit one trajectory, and an event comes within its greatest delay.

This is the whole automaton at once. Where exactly one other rule explains the contradiction, that rule fails as well,
and by name; what no single change explains fails here alone.
"""

from __future__ import annotations

from resilience.breaker.path import find_path, polls_agree
from resilience.breaker.rules import counted
from resilience.breaker.rules.base import Case, Finding, Rule
from resilience.breaker.rules.swept import truncated


def check(case: Case) -> Finding:
    """Sweep the track; without calls, at least hold polls against events."""
    found = Finding()
    counted.check(case, found)
    known = case.explainer.conformance()
    if known.why_not == "no calls observed" and case.track.states and case.track.transitions:
        _polls_against_events(case, found)
        return found
    if known.why_not:
        found.open_question(known.why_not)
        return found
    if known.stuck is None and known.holes:
        found.open_question(truncated(case, known.holes))
        return found
    if known.stuck is None:
        sources = [bool(case.track.calls), case.track.eventful, bool(case.track.states)]
        found.exercised += sum(sources) - 1
        found.idle_why = "only one source of evidence"
        found.rank = -known.most
        found.margin = f"at most {known.most} explanations at a time"
        return found
    words = [change.words for change in case.explainer.explanations()]
    found.fail(
        f"no trajectory explains what was observed up to {case.at(known.at_ns)}",
        case.explainer.window(),
        case.witness_lines(),
        *([f"holds if {word}" for word in words] or ["no single change explains it"]),
    )
    return found


def _polls_against_events(case: Case, found: Finding) -> None:
    slack = case.spec.delta_ns
    odd = polls_agree(case.track, find_path(case.track, case.openings), slack)
    if not odd:
        found.exercised += len(case.track.states)
    elif case.track.unheard:
        found.open_question("truncated")
    elif case.spec.half_open_event == "entry":
        found.fail("polls and events contradict each other", case.track.span, odd)
    else:
        found.open_question("events about half-open come late in this dialect")


RULE = Rule("R17", "agreement", check, "two sources of evidence")
