"""R18: the n-th opening in a row lasts as configured.

Judged by the automaton; see `swept`.
"""

from resilience.breaker.rules.swept import swept

RULE = swept("R18", "back-off", "several openings in a row", applies=lambda case: case.spec.backoff != 1.0)
