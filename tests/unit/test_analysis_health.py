"""Health and recovery by their definitions, on small literal series."""

from __future__ import annotations

import pytest

from resilience.analysis.health import BaselineRefused, SecondPoint, health_at, measure_baseline
from resilience.analysis.recovery import recovery_of
from resilience.analysis.statistics import mann_kendall_p, theil_sen_slope
from resilience.metrics.shares import wilson_interval

P95_NS = 20_000_000.0


def point(second: int, *, good: int = 50, offered: int = 50, slow: int = 2, degraded: int = 0) -> SecondPoint:
    """One second; what is neither good nor degraded failed."""
    return SecondPoint(second, offered, good, degraded, offered - good - degraded, 5e6, slow, 1.0)


def steady(start: int, end: int) -> list[SecondPoint]:
    """Seconds in which all is well."""
    return [point(second) for second in range(start, end)]


BASELINE = measure_baseline(steady(0, 30), P95_NS)


def test_wilson_interval_of_small_samples_is_wide() -> None:
    """Three of thirty may well be 3 %; published values for 3/30 at 95 %."""
    low, high = wilson_interval(3, 30)
    assert low == pytest.approx(0.0346, abs=5e-4)
    assert high == pytest.approx(0.2562, abs=5e-4)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_theil_sen_ignores_an_outlier() -> None:
    """One wild value does not tilt the slope."""
    assert theil_sen_slope([(0, 0), (1, 1), (2, 2), (3, 90), (4, 4)]) == pytest.approx(1.0)


def test_mann_kendall_sees_a_trend_and_not_a_flat_line() -> None:
    """A rise over twelve values is significant; a constant is not."""
    assert mann_kendall_p([float(v) for v in range(12)]) < 0.001
    assert mann_kendall_p([1.0] * 12) == 1.0


def test_baseline_with_a_trend_is_refused() -> None:
    """A baseline whose response time climbs all the way is no baseline."""
    rising = [SecondPoint(s, 50, 50, 0, 0, 5e6 * (1 + s / 10)) for s in range(20)]
    with pytest.raises(BaselineRefused, match="median response time rises"):
        measure_baseline(rising, P95_NS)


def test_baseline_whose_median_wanders_within_what_is_ordinary_is_none_the_less_one() -> None:
    """Measured on a quiet lab: seven medians that rise by more than a quarter, where one answer in twenty took twice as long anyway."""
    medians = (1.87, 1.94, 2.19, 2.19, 2.2, 2.24, 2.69)
    points = [SecondPoint(s, 30, 30, 0, 0, ms * 1e6) for s, ms in enumerate(medians)]
    assert measure_baseline(points, 5.3e6).bins == 7
    with pytest.raises(BaselineRefused, match="median response time rises by 28%"):
        measure_baseline(points, 2.4e6)


@pytest.mark.parametrize(
    ("medians", "p95", "said"),
    [
        ((100, 50, 25, 12, 8, 6.5, 6, 5.6, 5.3, 5.1), 97, "falls"),
        ((5, 5.2, 5.4, 5.6, 6, 7, 9, 14, 25, 60), 61, "rises"),
        (tuple(2 + 0.4 * s for s in range(22)), 60, "rises"),
    ],
)
def test_baseline_with_a_trend_is_refused_however_far_its_percentile_lies(
    medians: tuple[float, ...], p95: float, said: str
) -> None:
    """A warm-up, a collapse, and a steady climb under a slow tail: the trend itself makes the percentile wide, which must not excuse it."""
    points = [SecondPoint(s, 30, 30, 0, 0, ms * 1e6) for s, ms in enumerate(medians)]
    with pytest.raises(BaselineRefused, match=f"median response time {said}"):
        measure_baseline(points, p95 * 1e6)


def test_baseline_without_good_operations_is_refused() -> None:
    """Nothing good is nothing to compare with; neither are two seconds."""
    with pytest.raises(BaselineRefused, match="no operation"):
        measure_baseline([point(s, good=0) for s in range(10)], P95_NS)
    with pytest.raises(BaselineRefused, match="at least 3"):
        measure_baseline(steady(0, 2), P95_NS)


@pytest.mark.parametrize(
    ("sample", "healthy"),
    [
        (point(1), True),
        (point(1, good=48), True),  # two operations are always allowed
        (point(1, good=47), False),
        (point(1, good=0, degraded=50), False),  # a fallback is not good
        (point(1, slow=15), False),  # 30 % beyond the baseline's p95 is no noise
        (point(1, slow=6), True),  # 12 % of 50 may be
        (SecondPoint(1, 50, 50, 0, 0, 5e6, 2, 9.0), False),  # a queue that is not drained
        (SecondPoint(1, 0, 0, 0, 0, 0.0), True),
    ],
)
def test_health_follows_its_three_conditions(sample: SecondPoint, *, healthy: bool) -> None:
    """Goodput, exceedance and queue each can make a second unhealthy."""
    assert health_at(sample, BASELINE).healthy is healthy


def broken(start: int, end: int) -> list[SecondPoint]:
    """Seconds in which everything is answered by the fallback."""
    return [point(second, good=0, degraded=50) for second in range(start, end)]


def test_recovery_is_given_to_one_bin() -> None:
    """Healthy from second 43 on, reference at 40.5: recovered after 2.5 to 3.5 s."""
    series = [*steady(0, 35), *broken(35, 43), *steady(43, 60)]
    found = recovery_of(series, BASELINE, fault_on_s=35.0, reference_s=40.5, hold_s=10)
    assert found.time_to_recover.low_s == pytest.approx(2.5)
    assert found.time_to_recover.high_s == pytest.approx(3.5)
    assert found.depth == 1.0
    assert found.lost_good_operations == pytest.approx(8 * 50)
    assert 0 < found.resilience_ratio < 1


def test_recovery_that_was_never_lost_is_at_most_one_bin() -> None:
    """A system that was healthy at the reference recovered within the bin that holds it."""
    found = recovery_of(steady(0, 60), BASELINE, fault_on_s=35.0, reference_s=40.5, hold_s=10)
    assert found.time_to_recover.low_s == 0
    assert found.time_to_recover.high_s == pytest.approx(0.5)
    assert str(found.time_to_recover) == "<= 0.5 s"


def test_recovery_not_held_long_enough_is_censored_and_never_null() -> None:
    """Nine healthy seconds at the end are not ten."""
    series = [*steady(0, 35), *broken(35, 51), *steady(51, 60)]
    found = recovery_of(series, BASELINE, fault_on_s=35.0, reference_s=40.0, hold_s=10)
    assert found.time_to_recover.censored
    assert found.time_to_recover.to_json() == {"censored_above_s": 11.0}
    never = recovery_of(
        [*steady(0, 35), *broken(35, 60)], BASELINE, fault_on_s=35.0, reference_s=40.0, hold_s=10
    )
    assert never.time_to_recover.to_json() == {"censored_above_s": 20.0}


def test_relapse_restarts_the_hold() -> None:
    """Healthy, ill again, healthy: recovered at the second time, one relapse counted."""
    series = [*steady(0, 35), *broken(35, 41), *steady(41, 45), *broken(45, 46), *steady(46, 60)]
    found = recovery_of(series, BASELINE, fault_on_s=35.0, reference_s=40.0, hold_s=10)
    assert found.relapses == 1
    assert found.time_to_recover.low_s == pytest.approx(6.0)
