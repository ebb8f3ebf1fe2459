"""Abort conditions, watched while the run goes on. Pure: fed with the load workers' messages, asked once a second.

A condition trips when the stream's error share was beyond its bound in every full second of the last `for`. Only
seconds with offered operations count, and the youngest ones are left alone, because their operations may still be running
and the workers' reports about them are still on their way: two seconds, or the stream's deadline and one second more.

What has not ended by then counts as failed, so that a target which accepts everything and answers nothing trips the
condition long before its first time-out. An operation that is answered later after all is taken back: every second of
the window is counted afresh with what is known now.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from resilience.metrics.outcomes import DEGRADED, OK
from resilience.plan.schema import Abort
from resilience.plan.units import NS_PER_S, format_duration, format_share

_STILL_RUNNING_S = 2
_REPORT_S = 1
_SLIP = 1


class AbortWatch:
    """Counts offered and answered operations of each second and tells which condition tripped."""

    def __init__(self, conditions: Iterable[Abort], deadlines_ns: Mapping[str, int]) -> None:
        self._conditions = tuple(conditions)
        self._settle_s = {
            load: max(_STILL_RUNNING_S, _REPORT_S - (-deadline_ns // NS_PER_S))
            for load, deadline_ns in deadlines_ns.items()
        }
        self._seconds: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))

    def feed(self, message: Mapping[str, Any]) -> None:
        """Take one `bins` message."""
        if not self._conditions or message["kind"] != "bins":
            return
        counts = message["n"]
        second = self._seconds[str(message["load"])][int(message["s"])]
        second[0] += int(counts.get("offered", 0))
        second[1] += int(counts.get(OK, 0)) + int(counts.get(DEGRADED, 0))

    def tripped(self, now_s: int) -> str | None:
        """The reason to abort, or None. `now_s` is the current second since the epoch."""
        for condition in self._conditions:
            # Whoever asks may be late by a second: the window before the last one is looked at again.
            last = now_s - self._settle_s.get(condition.load, _STILL_RUNNING_S)
            for end in range(last, last - _SLIP - 1, -1):
                if reason := self._reason(condition, end):
                    return reason
        return None

    def _reason(self, condition: Abort, end: int) -> str | None:
        """Why the condition held in every second of its window before `end`."""
        span_s = max(1, -(-condition.hold // NS_PER_S))
        window = [self._seconds[condition.load].get(s, [0, 0]) for s in range(end - span_s, end)]
        if end < span_s or any(offered == 0 for offered, _ in window):
            return None
        shares = [(offered - answered) / offered for offered, answered in window]
        if not all(condition.errors.holds(share) for share in shares):
            return None
        return (
            f"errors of {condition.load} {condition.errors.text} for {format_duration(condition.hold)} "
            f"(last second {format_share(shares[-1])})"
        )
