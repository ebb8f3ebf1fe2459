"""Small, robust statistics that the definitions need. Pure; sequences of floats in, floats out.

Sources: Theil (1950) and Sen (1968) for the slope; Mann (1945) and Kendall
(1975) for the trend test; the median absolute deviation with Hampel's factor 1.4826.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence

MAD_TO_SIGMA = 1.4826


def median_absolute_deviation(values: Sequence[float]) -> float:
    """Median distance to the median; 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    middle = statistics.median(values)
    return statistics.median(abs(value - middle) for value in values)


def robust_sigma(values: Sequence[float]) -> float:
    """Standard deviation as the median absolute deviation sees it."""
    return MAD_TO_SIGMA * median_absolute_deviation(values)


def theil_sen_slope(points: Sequence[tuple[float, float]]) -> float:
    """Median of all pairwise slopes; 0 for fewer than two distinct abscissae."""
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in itertools.combinations(points, 2) if x2 != x1]
    return statistics.median(slopes) if slopes else 0.0


def mann_kendall_p(values: Sequence[float]) -> float:
    """Two-sided p-value of "no monotone trend" (normal approximation with ties); 1 for fewer than 4 values."""
    n = len(values)
    if n < 4:
        return 1.0
    score = sum((b > a) - (b < a) for a, b in itertools.combinations(values, 2))
    ties = [values.count(value) for value in set(values)]
    variance = (n * (n - 1) * (2 * n + 5) - sum(t * (t - 1) * (2 * t + 5) for t in ties)) / 18
    if variance <= 0 or score == 0:
        return 1.0
    z = (abs(score) - 1) / math.sqrt(variance)
    return math.erfc(z / math.sqrt(2))
