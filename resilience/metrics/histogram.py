"""A log-linear histogram of non-negative integers that merges exactly.

Theory of operation. Values below 1024 have a bucket each. Above, every octave [2^e, 2^(e+1)) is cut into 512 buckets of
equal width, so a bucket is never wider than 1/512 of its lower edge and its midpoint is within 1/1024 (0.098 %) of every
value in it. The bucket of v is

    shift = max(bit_length(v) - 10, 0);  bucket = shift * 512 + (v >> shift)

which runs through the integers without a gap: neighbouring buckets have neighbouring indices. A histogram is nothing but
counts by bucket; merging adds counts, so any order of merging, over any number of workers, gives the same histogram as
one that saw every value. (The layout is that of Gil Tene's HdrHistogram, with a fixed precision and no upper bound.)

A histogram that is only read any more can be told to be `compact`: two small arrays instead of a dictionary, a tenth of the
memory. Counting on unpacks it.

What it deliberately does not do: keep the values, interpolate between buckets, or know units.
"""

import math
from collections.abc import Iterable, Mapping
from operator import mul
from typing import Any, Self

import numpy as np
import numpy.typing as npt

_SUB_BITS = 9
_SUB_BUCKETS = 1 << _SUB_BITS
RELATIVE_ERROR = 1 / (2 * _SUB_BUCKETS)
"""The worst relative error of a quantile that comes from the layout: 1/1024."""


def bucket_of(value: int) -> int:
    """The bucket that counts `value`; a negative value counts as 0."""
    if value <= 0:
        return 0
    shift = max(value.bit_length() - _SUB_BITS - 1, 0)
    return (shift << _SUB_BITS) + (value >> shift)


def bucket_bounds(bucket: int) -> tuple[int, int]:
    """The smallest and the largest integer that `bucket` counts."""
    shift = max((bucket >> _SUB_BITS) - 1, 0)
    low = (bucket - (shift << _SUB_BITS)) << shift
    return low, low + (1 << shift) - 1


def bucket_value(bucket: int) -> int:
    """The value that stands for everything in `bucket`: its midpoint."""
    low, high = bucket_bounds(bucket)
    return (low + high + 1) // 2 if high > low else low


def buckets_of(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """`bucket_of` for a whole array of integers below 2^53."""
    positive = np.maximum(values, 0)
    _, exponent = np.frexp(positive.astype(np.float64))
    shift = np.maximum(exponent.astype(np.int64) - (_SUB_BITS + 1), 0)
    return (shift << _SUB_BITS) + (positive >> shift)


def sparse_counts(values: npt.NDArray[np.int64]) -> dict[int, int]:
    """Counts by bucket of an array of values: the cheap path from samples to a histogram."""
    if values.size == 0:
        return {}
    dense = np.bincount(buckets_of(values))
    present = np.flatnonzero(dense)
    return dict(zip(present.tolist(), dense[present].tolist(), strict=True))


class Histogram:
    """Counts of non-negative integers by log-linear bucket."""

    __slots__ = ("_open", "_packed", "count")

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self._open: dict[int, int] = {b: n for b, n in (counts or {}).items() if n}
        self._packed: _Packed | None = None
        """Buckets, in order, and their counts; `_open` is empty then."""
        self.count: int = sum(self._open.values())
        """How many values were recorded."""

    @classmethod
    def from_json(cls, counts: Mapping[str, int]) -> Self:
        """The histogram whose `to_json` is `counts`: bucket (as text) to count."""
        return cls({int(bucket): n for bucket, n in counts.items()})

    @classmethod
    def total(cls, histograms: Iterable["Histogram"]) -> Self:
        """The sum of any number of histograms, as a new one."""
        whole = cls()
        pieces = []
        for histogram in histograms:
            if histogram.count:
                pieces.append(histogram._arrays())  # noqa: SLF001 - of its own class
                whole.count += histogram.count
        if pieces:
            whole._packed = _summed(pieces)
        return whole

    def to_json(self) -> dict[str, int]:
        """Sparse counts by bucket, in order of the buckets; the keys are text because JSON wants it."""
        buckets, counts = self._arrays()
        return dict(zip(map(str, buckets.tolist()), counts.tolist(), strict=True))

    def record(self, value: int, times: int = 1) -> None:
        """Count one value."""
        self._merge_counts({bucket_of(value): times})

    def record_all(self, values: Iterable[int]) -> None:
        """Count every value of an iterable (or of an integer array)."""
        array = np.fromiter(values, dtype=np.int64)
        self._merge_counts(sparse_counts(array))

    def add(self, other: "Histogram") -> None:
        """Add every count of `other` to this one."""
        packed, single = other._packed, other._open  # noqa: SLF001 - of its own class
        if packed is None:
            self._merge_counts(single)
        else:
            self._merge_arrays(packed, other.count)

    def add_json(self, counts: Mapping[str, int]) -> None:
        """Add counts in the form of `to_json`."""
        if len(counts) < _MANY:
            self._merge_counts({int(bucket): n for bucket, n in counts.items()})
            return
        buckets = np.fromiter(map(int, counts), np.int64, len(counts))
        added = np.fromiter(counts.values(), np.int64, len(counts))
        self._merge_arrays((buckets, added), int(added.sum()))

    def compact(self) -> None:
        """Take less memory, until more is counted."""
        if self._packed is None and self._open:
            self._packed, self._open = self._arrays(), {}

    def _arrays(self) -> "_Packed":
        """Buckets in order and their counts, to be read."""
        if self._packed is not None:
            return self._packed
        buckets = np.array(sorted(self._open), dtype=np.int64)
        return _narrow(buckets, np.array([self._open[b] for b in buckets.tolist()], dtype=np.int64))

    def _merge_arrays(self, more: "_Packed", count: int) -> None:
        self._packed, self._open = _summed([self._arrays(), more]), {}
        self.count += count

    def _merge_counts(self, counts: Mapping[int, int]) -> None:
        if self._packed is not None:
            buckets, known = self._packed
            self._open = dict(zip(buckets.tolist(), known.tolist(), strict=True))
            self._packed = None
        mine = self._open
        for bucket, n in counts.items():
            mine[bucket] = mine.get(bucket, 0) + n
            self.count += n

    def quantile(self, q: float) -> int | None:
        """The smallest recorded value (to the layout's precision) that at least a share q of all values do not exceed.

        q is in [0, 1]. None when nothing was recorded.
        """
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"a quantile is between 0 and 1, not {q}")
        if self.count == 0:
            return None
        # The product is rounded first: 0.95 * 20 is 19.000000000000004 in floating point, and would ask for the 20th.
        rank = max(1, math.ceil(round(q * self.count, 6)))
        buckets, counts = self._arrays()
        place = int(np.searchsorted(np.cumsum(counts, dtype=np.int64), rank))
        return bucket_value(int(buckets[min(place, buckets.size - 1)]))

    def max(self) -> int | None:
        """The largest recorded value to the layout's precision; None when nothing was recorded."""
        return bucket_value(int(self._arrays()[0][-1])) if self.count else None

    def mean(self) -> float | None:
        """The mean, from the midpoints of the buckets; None when nothing was recorded."""
        if self.count == 0:
            return None
        buckets, counts = self._arrays()
        total: int = sum(map(mul, map(bucket_value, buckets.tolist()), counts.tolist()))
        return total / self.count

    def count_above(self, value: int) -> int:
        """How many recorded values lie in a higher bucket than `value`."""
        buckets, counts = self._arrays()
        return int(counts[np.searchsorted(buckets, bucket_of(value), side="right") :].sum(dtype=np.int64))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"Histogram(count={self.count}, buckets={self._arrays()[0].size})"


_Packed = tuple[npt.NDArray[np.integer[Any]], npt.NDArray[np.integer[Any]]]
_MANY = 64
"""From so many buckets on arrays are quicker than dictionaries."""


def _summed(pieces: Iterable[_Packed]) -> _Packed:
    """Pieces added up; within one, no bucket appears twice."""
    known = [piece for piece in pieces if piece[0].size]
    if not known:
        empty = np.array([], dtype=np.int64)
        return empty, empty
    dense = np.zeros(max(int(buckets.max()) for buckets, _ in known) + 1, dtype=np.int64)
    for buckets, counts in known:
        dense[buckets] += counts
    present = np.flatnonzero(dense)
    return _narrow(present, dense[present])


def _narrow(buckets: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> _Packed:
    """The same in as few bytes as hold the numbers."""
    if not buckets.size:
        return buckets, counts
    return buckets.astype(np.min_scalar_type(buckets[-1])), counts.astype(np.min_scalar_type(counts.max()))
