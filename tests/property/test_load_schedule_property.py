"""Laws of the schedule, over generated shapes."""

import heapq
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilience.load import schedule, shapes
from resilience.load.model import Closed, Herd, RateSegment, Replay, Shape

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


SECONDS = st.integers(0, 2_000).map(lambda ms: ms / 1000)
LASTING = st.integers(1, 2_000).map(lambda ms: ms / 1000)
PARTS = {"before_s": SECONDS, "rise_s": SECONDS, "hold_s": LASTING, "fall_s": SECONDS, "after_s": SECONDS}
NAMED = {
    "constant": st.builds(shapes.constant, RATES, LASTING),
    "ramp": st.builds(shapes.ramp, RATES, RATES, LASTING),
    "step": st.lists(st.tuples(RATES, LASTING), min_size=1, max_size=4).map(
        lambda levels: shapes.step(*levels)
    ),
    "spike": st.builds(shapes.spike, RATES, RATES, **PARTS),
    "then": st.lists(st.builds(shapes.ramp, RATES, RATES, LASTING), min_size=1, max_size=3).map(
        lambda ramps: shapes.then(*ramps)
    ),
    "herd": st.builds(shapes.herd, st.integers(1, 50), at_s=SECONDS),
    "batches": st.builds(shapes.batches, st.integers(1, 25), st.integers(1, 4), gap_s=LASTING, at_s=SECONDS),
    "replay": st.lists(SECONDS, max_size=30).map(shapes.replay),
    "closed": st.builds(shapes.closed, st.integers(1, 9), think_s=SECONDS, duration_s=LASTING),
}
"""Every shape that a plan or a caller can name."""


def test_schedule_properties_know_every_named_shape():
    """A new shape has to stand here, too."""
    made = {
        name
        for name, of in vars(shapes).items()
        if callable(of)
        and getattr(of, "__annotations__", {}).get("return") in {shapes.Rates, Herd, Replay, Closed, Shape}
    }
    assert made == set(NAMED)


@pytest.mark.parametrize("name", NAMED)
def test_schedule_of_every_named_shape_agrees_with_its_count(name):
    """Whole, in stripes and drawn again with its seed: a schedule has as many arrivals before each instant as its count says."""

    @settings(deadline=None, max_examples=40)
    @given(NAMED[name], ARRIVALS, st.integers(0, 2**32), st.integers(1, 4), st.integers(0, 10**10))
    def check(shape, arrival, seed, stripes, at):
        due = list(schedule.offsets(shape, arrival, seed))
        end = schedule.end_ns(shape)
        for t in (0, at, end // 2, end):
            assert schedule.count(shape, arrival, seed, t) == sum(1 for x in due if x < t)
        assert schedule.count(shape, arrival, seed, end) == len(due)
        assert due == list(schedule.offsets(shape, arrival, seed))
        parts = [schedule.offsets(shape, arrival, seed, stripe=s, stripes=stripes) for s in range(stripes)]
        assert list(heapq.merge(*parts)) == due

    check()
