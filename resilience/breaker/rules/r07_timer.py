"""R7: the wait counts from the opening, whatever rejections or late outcomes follow.

Judged by the automaton; see `swept`.
"""

from resilience.breaker.rules.swept import swept

RULE = swept("R7", "timer purity", "rejections and late failures while the breaker is open")
