"""R6: a lazy breaker lets in the first call after the greatest wait; a timed one is half-open by then.

Judged by the automaton; see `swept`.
"""

from resilience.breaker.rules.swept import swept

RULE = swept("R6", "maximum open time", "traffic across the end of the wait")
