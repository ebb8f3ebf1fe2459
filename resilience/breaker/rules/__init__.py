"""The rules that a breaker's history is judged by: one module a rule, one line here."""

from typing import Final

from resilience.breaker.rules import (
    r01_edges,
    r02_not_early,
    r03_not_late,
    r04_leak,
    r05_min_open,
    r06_max_open,
    r07_timer,
    r08_probes,
    r09_progress,
    r10_close,
    r11_reopen,
    r12_reset,
    r13_stale,
    r14_classify,
    r15_fast_fail,
    r16_fallback,
    r17_agreement,
    r18_backoff,
    r19_flapping,
    r20_fleet,
)
from resilience.breaker.rules.base import Rule

ALL: Final[tuple[Rule, ...]] = (
    r01_edges.RULE,
    r02_not_early.RULE,
    r03_not_late.RULE,
    r04_leak.RULE,
    r05_min_open.RULE,
    r06_max_open.RULE,
    r07_timer.RULE,
    r08_probes.RULE,
    r09_progress.RULE,
    r10_close.RULE,
    r11_reopen.RULE,
    r12_reset.RULE,
    r13_stale.RULE,
    r14_classify.RULE,
    r15_fast_fail.RULE,
    r16_fallback.RULE,
    r17_agreement.RULE,
    r18_backoff.RULE,
    r19_flapping.RULE,
    r20_fleet.RULE,
)

SWEPT: Final = frozenset(
    {"R2", "R3", "R6", "R7", "R9", "R12", "R13", "R14", "R18"}
)  # judged by the automaton
