"""Laws of the schedule, over generated shapes."""

import heapq
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from resilience.load import schedule
from resilience.load.model import Herd, RateSegment, Replay

RATES = st.one_of(st.just(0.0), st.floats(0.1, 300.0), st.integers(0, 500).map(float))


@st.composite
def rate_shapes(draw):
    """Up to five linear segments, with gaps, of at most two seconds each."""
    at = 0
    segments = []
    for _ in range(draw(st.integers(1, 5))):
        at += draw(st.sampled_from([0, 0, 1, 333_333_333]))
        end = at + draw(st.integers(1, 2_000_000_000))
        segments.append(RateSegment(at, end, draw(RATES), draw(RATES)))
        at = end
    return tuple(segments)


SHAPES = st.one_of(
    rate_shapes(),
    st.builds(Herd, st.integers(1, 50), st.integers(0, 10**9), st.integers(1, 4), st.integers(1, 10**9)),
    st.lists(st.integers(0, 10**10), max_size=50).map(lambda xs: Replay(tuple(sorted(xs)))),
)
ARRIVALS = st.sampled_from(["uniform", "poisson"])


@settings(deadline=None)
@given(SHAPES, ARRIVALS, st.integers(0, 2**32), st.integers(0, 11 * 10**9))
def test_schedule_count_agrees_with_iterator(shape, arrival, seed, at):
    """count(t) is the number of iterated offsets before t, for every t, on and beside every arrival."""
    due = list(schedule.offsets(shape, arrival, seed))
    for t in {0, at, schedule.end_ns(shape), *due[:3], *[x + 1 for x in due[-3:]]}:
        assert schedule.count(shape, arrival, seed, t) == sum(1 for x in due if x < t)


@settings(deadline=None)
@given(SHAPES, ARRIVALS, st.integers(0, 2**32), st.integers(1, 5))
def test_schedule_stripes_reunite(shape, arrival, seed, stripes):
    """The stripes of a schedule, merged, are the schedule; stripe s has the arrivals s, s + n, s + 2n ..."""
    whole = list(schedule.offsets(shape, arrival, seed))
    parts = [list(schedule.offsets(shape, arrival, seed, stripe=s, stripes=stripes)) for s in range(stripes)]
    assert list(heapq.merge(*parts)) == whole
    for s, part in enumerate(parts):
        assert part == whole[s::stripes]
        assert len(part) == schedule.in_stripe(len(whole), s, stripes)


@settings(deadline=None)
@given(SHAPES, ARRIVALS, st.integers(0, 2**32))
def test_schedule_is_ordered_and_inside_its_shape(shape, arrival, seed):
    """Offsets never go back, and none lies before 0 or at or after the end."""
    due = list(schedule.offsets(shape, arrival, seed))
    assert all(a <= b for a, b in pairwise(due))
    assert all(0 <= x < schedule.end_ns(shape) for x in due)
    assert due == list(schedule.offsets(shape, arrival, seed))


@settings(deadline=None)
@given(rate_shapes())
def test_schedule_puts_nothing_where_the_rate_is_zero(shape):
    """A silent segment, or a gap between segments, has no arrival."""
    for due in schedule.offsets(shape, "uniform", 0):
        (segment,) = [s for s in shape if s.start_ns <= due < s.end_ns]
        assert segment.start_per_s > 0 or segment.end_per_s > 0
