"""R3: once every feasible order of the outcomes satisfies the trip condition, no later call is let in.

Judged by the automaton; see `swept`.
"""

from resilience.breaker.rules.swept import swept

RULE = swept("R3", "not late", "at least the threshold of failures in a row, with traffic after it")
