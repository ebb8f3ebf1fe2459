"""R2: when a breaker opens, some feasible order of the outcomes so far satisfies its trip condition.

Judged by the automaton; see `swept`.
"""

from resilience.breaker.rules.swept import swept

RULE = swept("R2", "not early", "exactly the threshold of failures in a row, and one less before a success")
