"""R14: outcomes that the specification calls neutral change no count.

Judged by the automaton; see `swept`.
"""

from resilience.breaker.rules.swept import swept

RULE = swept("R14", "classification", "cancelled or excluded calls between failures and in half-open")
