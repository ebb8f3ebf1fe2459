"""R13: an outcome of a call begun in an earlier epoch changes nothing.

Judged by the automaton; see `swept`.
"""

from resilience.breaker.rules.swept import swept

RULE = swept("R13", "stale outcomes", "a slow call that spans a change of state, with each outcome")
