"""Schedules whose answer is known by hand."""

from itertools import pairwise

import pytest

from resilience.load import schedule
from resilience.load.model import Closed, Herd, RateSegment, Replay

SECOND = 10**9


def test_schedule_constant_rate_is_evenly_spaced():
    """50/s for two seconds is an arrival every 20 ms, from the first instant."""
    due = list(schedule.offsets((RateSegment(0, 2 * SECOND, 50.0, 50.0),), "uniform", 0))
    assert due == [k * 20_000_000 for k in range(100)]


def test_schedule_ramp_follows_the_closed_form():
    """A ramp from r0 to r1 over T has t_i = T (sqrt(r0^2 + 2 i (r1 - r0) / T) - r0) / (r1 - r0)."""
    due = list(schedule.offsets((RateSegment(0, 10 * SECOND, 10.0, 110.0),), "uniform", 0))
    assert len(due) == 600
    for i, at in enumerate(due):
        closed_form = 10 * ((10.0**2 + 2 * i * 100 / 10) ** 0.5 - 10) / 100
        assert at == pytest.approx(closed_form * SECOND, abs=2)


def test_schedule_falling_ramp_mirrors_the_rising_one():
    """A fall offers as many as the rise of the same height, and most of them early."""
    rise = list(schedule.offsets((RateSegment(0, 4 * SECOND, 0.0, 100.0),), "uniform", 0))
    fall = list(schedule.offsets((RateSegment(0, 4 * SECOND, 100.0, 0.0),), "uniform", 0))
    assert len(rise) == len(fall) == 200
    assert sum(1 for at in fall if at < 2 * SECOND) == 150


def test_schedule_stages_join_without_a_seam():
    """Half an arrival left over by one stage is carried into the next: gaps never double or vanish."""
    two = (RateSegment(0, 50_000_000, 30.0, 30.0), RateSegment(50_000_000, SECOND, 30.0, 30.0))
    one = (RateSegment(0, SECOND, 30.0, 30.0),)
    assert list(schedule.offsets(two, "uniform", 0)) == list(schedule.offsets(one, "uniform", 0))


def test_schedule_has_no_drift_over_a_day():
    """After a day at a rate that no float can hold, the last arrival is still exact."""
    day = (RateSegment(0, 86_400 * SECOND, 1 / 3, 1 / 3),)
    total = schedule.count(day, "uniform", 0, 86_400 * SECOND)
    assert total == 28_800  # 0.333333/s * 86,400 s = 28,799.97, and the one at the very start counts


def test_schedule_poisson_is_reproducible_and_of_the_right_size():
    """The same seed gives the same arrivals, another seed others, and the count is near rate times duration."""
    shape = (RateSegment(0, 100 * SECOND, 100.0, 100.0),)
    first = list(schedule.offsets(shape, "poisson", 7))
    assert first == list(schedule.offsets(shape, "poisson", 7))
    assert first != list(schedule.offsets(shape, "poisson", 8))
    assert 9_500 < len(first) < 10_500


def test_schedule_poisson_gaps_are_exponential():
    """The variance of the gaps equals the square of their mean, which even spacing would not show."""
    due = list(schedule.offsets((RateSegment(0, 200 * SECOND, 50.0, 50.0),), "poisson", 1))
    gaps = [b - a for a, b in pairwise(due)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert variance / mean**2 == pytest.approx(1.0, abs=0.1)


def test_schedule_herd_is_due_at_once():
    """Every user of a wave has the same offset; waves are a gap apart."""
    due = list(schedule.offsets(Herd(3, SECOND, waves=2, gap_ns=5), "uniform", 0))
    assert due == [SECOND] * 3 + [SECOND + 5] * 3


def test_schedule_closed_model_has_no_arrivals():
    """A closed model is not scheduled: its users decide."""
    closed = Closed(users=5, think_ns=SECOND, start_ns=0, end_ns=SECOND)
    assert list(schedule.offsets(closed, "uniform", 0)) == []
    assert schedule.count(closed, "uniform", 0, SECOND) == 0
    assert schedule.end_ns(closed) == SECOND


def test_schedule_refuses_shapes_that_cannot_be_driven():
    """Going back in time, negative rates and waves without a gap are errors with a reason."""
    with pytest.raises(ValueError, match="must not decrease"):
        Replay((2, 1))
    with pytest.raises(ValueError, match="later end"):
        RateSegment(5, 5, 1.0, 1.0)
    with pytest.raises(ValueError, match="0/s or more"):
        RateSegment(0, 5, -1.0, 1.0)
    with pytest.raises(ValueError, match="gap"):
        Herd(5, 0, waves=2)
