"""How many failures open a breaker of a given specification, and what makes it forget them. Pure arithmetic.

For a window, the figures hold once the window is full of successes (`clean` of them have been let through): from then on
`spare` failures leave it closed whatever the order, and `opening` failures in a row open it. For a window in time nobody can say how many calls
it holds, so `opening` is the least number that may do it, and the script goes on until it does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from resilience.breaker.spec import BreakerSpec

_CLEAN_IN_TIME = 5
_MOST_IN_TIME = 400
_LONGEST_REST_NS = 12_000_000_000
_MARGIN_NS = 100_000_000


@dataclass(frozen=True, slots=True)
class Threshold:
    """`spare` failures do not open it, `opening` do; `clean` successes make it forget; `most` more are tried at last.

    `fresh`: failures that open one whose window is empty; 0 where that is no other number, or emptying it takes too long. `forgets_ns`: a
    rest that empties it; 0 where closing does.
    """

    spare: int
    opening: int
    clean: int
    most: int
    fresh: int = 0
    forgets_ns: int = 0


def threshold_of(spec: BreakerSpec) -> Threshold:
    """The figures for one specification; for a breaker that never trips, those of the default."""
    if spec.trip == "count":
        return _of_window(spec)
    if spec.trip == "time":
        least = max(spec.minimum_calls, spec.failures if spec.ratio is None else 1)
        waits = spec.ratio is not None and spec.window_ns <= _LONGEST_REST_NS
        return Threshold(
            0,
            least,
            _CLEAN_IN_TIME,
            _MOST_IN_TIME,
            fresh=max(spec.minimum_calls, 1) if waits else 0,
            forgets_ns=spec.window_ns * 12 // 10 + _MARGIN_NS if waits else 0,
        )
    return Threshold(spec.failures - 1, spec.failures, 1, 2 * spec.failures + 3)


def _of_window(spec: BreakerSpec) -> Threshold:
    size = spec.window
    if spec.ratio is None:
        opening = min(spec.failures, size)
    elif spec.strictly_above:
        opening = min(math.floor(spec.ratio * size) + 1, size)
    else:
        opening = max(1, math.ceil(spec.ratio * size))
    fresh = 0 if spec.ratio is None else max(spec.minimum_calls, 1)
    return Threshold(opening - 1, opening, max(size, spec.minimum_calls), 2 * size + 3, fresh)
