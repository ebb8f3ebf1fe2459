"""Laws of the histogram, over generated values."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from resilience.metrics.histogram import (
    RELATIVE_ERROR,
    Histogram,
    bucket_bounds,
    bucket_of,
    bucket_value,
    buckets_of,
    sparse_counts,
)

VALUES = st.integers(0, 2**52)


@given(VALUES)
def test_histogram_bucket_holds_its_value_to_a_thousandth(value):
    """Every value lies inside its bucket, whose midpoint is within 0.1 % of it."""
    low, high = bucket_bounds(bucket_of(value))
    assert low <= value <= high
    assert abs(bucket_value(bucket_of(value)) - value) <= RELATIVE_ERROR * value <= 0.001 * value


@given(st.integers(0, 40_000))
def test_histogram_buckets_leave_no_gap(bucket):
    """Where one bucket ends, the next begins."""
    assert bucket_bounds(bucket)[1] + 1 == bucket_bounds(bucket + 1)[0]
    assert bucket_of(bucket_bounds(bucket)[0]) == bucket_of(bucket_bounds(bucket)[1]) == bucket


@given(st.lists(VALUES))
def test_histogram_array_path_agrees_with_single_values(values):
    """The numpy path puts every value into the same bucket as the scalar one."""
    array = np.array(values, dtype=np.int64)
    assert buckets_of(array).tolist() == [bucket_of(value) for value in values]
    one_by_one = Histogram()
    for value in values:
        one_by_one.record(value)
    assert Histogram(sparse_counts(array)) == one_by_one


@given(st.lists(st.lists(VALUES, max_size=20), max_size=6), st.randoms())
def test_histogram_merging_is_exact_in_any_order(parts, shuffler):
    """Any order of merging gives the histogram of all values, also through JSON."""
    whole = Histogram()
    whole.record_all(value for part in parts for value in part)
    shuffler.shuffle(parts)
    merged = Histogram()
    for k, part in enumerate(parts):
        single = Histogram()
        single.record_all(part)
        if k % 2:
            merged.add(single)
        else:
            merged.add_json(single.to_json())
    assert merged == whole
    assert merged.count == whole.count
    assert Histogram.from_json(whole.to_json()) == whole


@given(st.lists(VALUES, min_size=1, max_size=200), st.floats(0, 1))
def test_histogram_quantile_is_the_ranked_value(values, q):
    """A quantile is within 0.1 % of the value of that rank."""
    histogram = Histogram()
    histogram.record_all(values)
    rank = max(1, int(np.ceil(round(q * len(values), 6))))
    exact = sorted(values)[rank - 1]
    assert abs(histogram.quantile(q) - exact) <= 0.001 * exact


@given(st.lists(st.lists(VALUES, max_size=20), max_size=4))
def test_histogram_compact_is_the_same_histogram(parts):
    """Compact or not, at whatever moment: the same counts, quantiles and extremes, and counting goes on."""
    plain, compact = Histogram(), Histogram()
    for part in parts:
        plain.record_all(part)
        compact.record_all(part)
        compact.compact()
        assert compact == plain
        assert compact.to_json() == plain.to_json()
        assert [compact.quantile(q) for q in (0.0, 0.5, 1.0)] == [plain.quantile(q) for q in (0.0, 0.5, 1.0)]
        assert (compact.max(), compact.mean(), compact.count) == (plain.max(), plain.mean(), plain.count)
        assert compact.count_above(1000) == plain.count_above(1000)
    compact.add(plain)
    plain.add(plain)
    assert compact == plain
