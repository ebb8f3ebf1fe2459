"""R16: every rejection is answered by the fallback."""

from __future__ import annotations

from resilience.breaker.rules.base import Case, Finding, Rule, hull


def check(case: Case) -> Finding:
    """Look at the answer of every rejected call; an answer nobody looked at leaves the rule open."""
    found = Finding()
    rejected = [c for c in case.track.calls if c.admitted is False]
    for call in rejected:
        if call.fallback is True:
            found.exercised += 1
        elif call.fallback is False:
            found.fail("a rejection was not answered by the fallback", hull([call]), [case.call(call)])
    if not found.exercised and rejected:
        found.idle_why = "answers were not observed"
    elif any(c.fallback is None for c in rejected):
        found.open_question("some answers were not observed")
    return found


RULE = Rule("R16", "fallback", check, "calls while the breaker is open")
