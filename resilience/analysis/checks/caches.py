"""An expectation on a cache server: what it evicted, how full it was, how often it was started, as it says itself. Pure."""

from __future__ import annotations

import math

from resilience.analysis.caches import life_of
from resilience.analysis.checks.base import unknown
from resilience.analysis.evidence import RunEvidence
from resilience.analysis.findings import Findings
from resilience.analysis.judgement import FAIL, PASS, UNKNOWN, Judgement, compose
from resilience.plan.schema.expect_promises import CacheExpectation


def check_cache(evidence: RunEvidence, _: Findings, name: str, wanted: CacheExpectation) -> Judgement:
    """Every figure that the plan compares."""
    bounds = wanted.bounds()
    expected = f"{', '.join(f'{figure} {bound.text}' for figure, bound in bounds.items())} ({wanted.cache})"
    life = life_of(e for e in evidence.events.get("cache", ()) if e["cache"] == wanted.cache)
    if not life.looks:
        return unknown(
            name, expected, f"{wanted.cache} told nothing of itself: no address, or no answer there"
        )
    values = {"evicted": life.evicted, "filled": life.filled, "restarts": life.restarts}
    verdicts: list[str] = []
    observed: list[str] = []
    for figure, bound in bounds.items():
        value = values[figure]
        if value is None:
            verdicts.append(UNKNOWN)
            observed.append(f"{figure}: the server does not say")
            continue
        if figure == "evicted" and life.restarts and bound.holds(value) != bound.holds(math.inf):
            verdicts.append(UNKNOWN)
            observed.append(f"evicted at least {value:.3g}: what was counted last before a restart is lost")
            continue
        verdicts.append(PASS if bound.holds(value) else FAIL)
        observed.append(f"{figure} {value:.3g}")
    return Judgement(
        name, expected, ", ".join(observed), compose(verdicts), evidence={**values, "looks": life.looks}
    )
