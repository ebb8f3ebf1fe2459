"""The budget of openings: kept, overrun, or not to be told from what was seen."""

from __future__ import annotations

import pytest

from resilience.breaker.joining import joined
from resilience.breaker.observation import Boot, Interval, Observation, Transition
from resilience.breaker.report import InstanceReport, Verdict
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.verify import verify

MS = 1_000_000
SPEC = BreakerSpec.from_mapping({"failures": 3, "wait_ms": 100, "openings_max": 2, "horizon_ms": 2000})


def report(*opened_ms: tuple[int, int], boot: bool = True) -> InstanceReport:
    """A breaker that was told to have opened within each of these, and half-open and closed soon after."""
    history: list[Observation] = [Boot("i", Interval(0, 0), "1")] if boot else []
    for lo, hi in opened_ms:
        before = "closed"
        for number, state in enumerate(("open", "half_open", "closed")):
            at = Interval((lo + 100 * number) * MS, (hi + 100 * number) * MS)
            history.append(Transition("b", "i", before, state, at, "1"))
            before = state
    (found,) = verify(history, SPEC).instances
    return found


@pytest.mark.parametrize(
    ("opened_ms", "verdict"),
    [
        ([(100, 110), (900, 910), (3500, 3510)], Verdict.PASS),
        ([(100, 110), (900, 910), (1900, 1910)], Verdict.FAIL),
        ([(100, 110), (900, 910), (2105, 2115)], Verdict.UNKNOWN),  # 1995 ms after the first, or 2015
        ([(100, 700), (1200, 1300), (2600, 2650)], Verdict.UNKNOWN),
        ([(100, 500), (1200, 1300), (2600, 2650)], Verdict.PASS),
    ],
)
def test_breaker_openings_within_the_budget(opened_ms: list[tuple[int, int]], verdict: Verdict) -> None:
    """Overrun for certain, kept for certain, or neither."""
    found = report(*opened_ms).rules["R19"]
    assert found.verdict is verdict, found.reason


@pytest.mark.parametrize(
    ("third_ms", "verdict"),
    [((1900, 1910), Verdict.FAIL), ((2105, 2115), Verdict.UNKNOWN), ((3500, 3510), Verdict.PASS)],
)
def test_breaker_openings_of_two_stretches_are_counted_together(
    third_ms: tuple[int, int], verdict: Verdict
) -> None:
    """What is judged in pieces is judged like the whole."""
    found = joined(report((100, 110), (900, 910)), report(third_ms), SPEC).rules["R19"]
    assert found.verdict is verdict, found.reason
