"""The rules that a breaker's history is judged by: one module a rule, one line here."""

from typing import Final

from resilience.breaker.rules import (
    r01_edges,
    r04_leak,
    r05_min_open,
    r08_probes,
    r10_close,
    r11_reopen,
    r15_fast_fail,
    r16_fallback,
)
from resilience.breaker.rules.base import Rule

ALL: Final[tuple[Rule, ...]] = (
    r01_edges.RULE,
    r04_leak.RULE,
    r05_min_open.RULE,
    r08_probes.RULE,
    r10_close.RULE,
    r11_reopen.RULE,
    r15_fast_fail.RULE,
    r16_fallback.RULE,
)
