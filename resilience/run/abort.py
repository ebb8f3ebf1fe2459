"""Abort conditions, watched while the run goes on. Pure: fed with the load workers' messages, asked once a second.

A condition trips when the stream's error share was beyond its bound in every full second of the last `for`. Only
seconds with offered operations count, and the last two seconds are left alone: their operations are still running.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from resilience.metrics.outcomes import CATEGORIES, DEGRADED, OK
from resilience.plan.schema import Abort
from resilience.plan.units import NS_PER_S, format_duration, format_share

_STILL_RUNNING_S = 2
_ERRORS = tuple(category for category in CATEGORIES if category not in (OK, DEGRADED))


class AbortWatch:
    """Counts offered and failed operations of each second and tells which condition tripped."""

    def __init__(self, conditions: Iterable[Abort]) -> None:
        self._conditions = tuple(conditions)
        self._seconds: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))

    def feed(self, message: Mapping[str, Any]) -> None:
        """Take one `bins` message."""
        if not self._conditions or message["kind"] != "bins":
            return
        counts = message["n"]
        second = self._seconds[str(message["load"])][int(message["s"])]
        second[0] += int(counts.get("offered", 0))
        second[1] += sum(int(counts.get(category, 0)) for category in _ERRORS)

    def tripped(self, now_s: int) -> str | None:
        """The reason to abort, or None. `now_s` is the current second since the epoch."""
        last = now_s - _STILL_RUNNING_S
        for condition in self._conditions:
            span_s = max(1, -(-condition.hold // NS_PER_S))
            window = [self._seconds[condition.load].get(s, [0, 0]) for s in range(last - span_s, last)]
            if last < span_s or any(offered == 0 for offered, _ in window):
                continue
            shares = [failed / offered for offered, failed in window]
            if all(condition.errors.holds(share) for share in shares):
                return (
                    f"errors of {condition.load} {condition.errors.text} for {format_duration(condition.hold)} "
                    f"(last second {format_share(shares[-1])})"
                )
        return None
