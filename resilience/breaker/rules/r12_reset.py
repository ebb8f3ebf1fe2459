"""R12: after closing, the trip count starts at nothing.

Judged by the automaton; see `swept`.
"""

from resilience.breaker.rules.swept import swept

RULE = swept("R12", "reset", "a single failure soon after closing")
