"""R9: an ended probe frees its slot, however it ended.

Judged by the automaton; see `swept`.
"""

from resilience.breaker.rules.swept import swept

RULE = swept(
    "R9",
    "progress",
    "more probes, one after the other, than are permitted at once",
    applies=lambda case: case.spec.permitted is not None,
)
