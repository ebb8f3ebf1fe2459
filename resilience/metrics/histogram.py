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
        self._packed: tuple[npt.NDArray[np.int32], npt.NDArray[np.integer[Any]]] | None = None
        """Buckets and their counts; `_open` is empty then."""
        self.count: int = sum(self._open.values())
        """How many values were recorded."""

    @classmethod
    def from_json(cls, counts: Mapping[str, int]) -> Self:
        """The histogram whose `to_json` is `counts`: bucket (as text) to count."""
        return cls({int(bucket): n for bucket, n in counts.items()})

    def to_json(self) -> dict[str, int]:
        """Sparse counts by bucket, in order of the buckets; the keys are text because JSON wants it."""
        counts = self._counts()
        return {str(bucket): counts[bucket] for bucket in sorted(counts)}

    def record(self, value: int, times: int = 1) -> None:
        """Count one value."""
        self._merge_counts({bucket_of(value): times})

    def record_all(self, values: Iterable[int]) -> None:
        """Count every value of an iterable (or of an integer array)."""
        array = np.fromiter(values, dtype=np.int64)
        self._merge_counts(sparse_counts(array))

    def add(self, other: "Histogram") -> None:
        """Add every count of `other` to this one."""
        self._merge_counts(other._counts())  # noqa: SLF001 - of its own class

    def add_json(self, counts: Mapping[str, int]) -> None:
        """Add counts in the form of `to_json`."""
        self._merge_counts({int(bucket): n for bucket, n in counts.items()})

    def compact(self) -> None:
        """Take less memory, until more is counted."""
        if self._open:
            buckets = np.array(sorted(self._open), dtype=np.int32)
            counts = np.array([self._open[bucket] for bucket in buckets.tolist()], dtype=np.int64)
            self._packed = (buckets, counts.astype(np.min_scalar_type(counts.max())))
            self._open = {}

    def _counts(self) -> dict[int, int]:
        """Counts by bucket, to be read."""
        if self._packed is None:
            return self._open
        buckets, counts = self._packed
        return dict(zip(buckets.tolist(), counts.tolist(), strict=True))

    def _merge_counts(self, counts: Mapping[int, int]) -> None:
        mine = self._open = self._counts()
        self._packed = None
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
        seen = 0
        bucket = 0
        counts = self._counts()
        for bucket in sorted(counts):
            seen += counts[bucket]
            if seen >= rank:
                break
        return bucket_value(bucket)

    def max(self) -> int | None:
        """The largest recorded value to the layout's precision; None when nothing was recorded."""
        return bucket_value(max(self._counts())) if self.count else None

    def mean(self) -> float | None:
        """The mean, from the midpoints of the buckets; None when nothing was recorded."""
        if self.count == 0:
            return None
        return sum(bucket_value(bucket) * n for bucket, n in self._counts().items()) / self.count

    def count_above(self, value: int) -> int:
        """How many recorded values lie in a higher bucket than `value`."""
        limit = bucket_of(value)
        return sum(n for bucket, n in self._counts().items() if bucket > limit)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self._counts() == other._counts()

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"Histogram(count={self.count}, buckets={len(self._counts())})"
