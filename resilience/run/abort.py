"""Abort conditions, watched while the run goes on. Pure: fed with the load workers' messages and with observations, asked once a second.

Errors. A condition on a load trips when the stream's error share was beyond its bound in every full second of the last `for`. Only
seconds with offered operations count, and the youngest ones are left alone, because their operations may still be running
and the workers' reports about them are still on their way: two seconds, or the stream's deadline and one second more.

What has not ended by then counts as failed, so that a target which accepts everything and answers nothing trips the
condition long before its first time-out. An operation that is answered later after all is taken back: every second of
the window is counted afresh with what is known now.

Memory and probes. A condition on what is looked at now and then trips when every look of one process (one probe) met it, the last of them
`for` after the first. Looks that were not made hold nothing: an observer that is silent aborts no run, and what a process
that has ended held is forgotten.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from resilience.metrics.outcomes import DEGRADED, OK
from resilience.plan.schema import Abort
from resilience.plan.units import NS_PER_S, format_duration, format_share, format_size

_STILL_RUNNING_S = 2
_REPORT_S = 1
_SLIP = 1
_NO_GOOD_ANSWER = 400


class AbortWatch:
    """Counts offered and answered operations of each second and tells which condition tripped."""

    def __init__(self, conditions: Iterable[Abort], deadlines_ns: Mapping[str, int]) -> None:
        every = tuple(conditions)
        self._conditions = tuple(each for each in every if each.load is not None)
        self._held = tuple(_Held(each) for each in every if each.load is None)
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

    def observe(self, observation: Mapping[str, Any]) -> None:
        """Take what an observer saw: `resource` and `probe` observations count, `at` in nanoseconds of one clock."""
        for each in self._held:
            each.observe(observation)

    def tripped(self, now_s: int) -> str | None:
        """The reason to abort, or None. `now_s` is the current second since the epoch."""
        for each in self._held:
            if each.reason is not None:
                return each.reason
        for condition in self._conditions:
            # Whoever asks may be late by a second: the window before the last one is looked at again.
            last = now_s - self._settle_s.get(str(condition.load), _STILL_RUNNING_S)
            for end in range(last, last - _SLIP - 1, -1):
                if reason := self._reason(condition, end):
                    return reason
        return None

    def _reason(self, condition: Abort, end: int) -> str | None:
        """Why the condition held in every second of its window before `end`."""
        span_s = max(1, -(-condition.hold // NS_PER_S))
        window = [self._seconds[str(condition.load)].get(s, [0, 0]) for s in range(end - span_s, end)]
        if end < span_s or any(offered == 0 for offered, _ in window):
            return None
        shares = [(offered - answered) / offered for offered, answered in window]
        if condition.errors is None or not all(condition.errors.holds(share) for share in shares):
            return None
        return (
            f"errors of {condition.load} {condition.errors.text} for {format_duration(condition.hold)} "
            f"(last second {format_share(shares[-1])})"
        )


class _Held:
    """One condition on memory or on a probe: since when each process, or the probe, has met it without a break."""

    def __init__(self, condition: Abort) -> None:
        self._condition = condition
        self._since_ns: dict[int, int] = {}
        self.reason: str | None = None

    def observe(self, observation: Mapping[str, Any]) -> None:
        """Take one look; `reason` stays once it is there."""
        found = self._look(observation)
        if found is None:
            return
        key, meets, seen = found
        if not meets:
            self._since_ns.pop(key, None)
            return
        lo, hi = observation["at"]
        # From the end of the first look to the beginning of this one: what is certain.
        if lo - self._since_ns.setdefault(key, hi) >= self._condition.hold:
            self.reason = self.reason or f"{seen} for {format_duration(self._condition.hold)}"

    def _look(self, observation: Mapping[str, Any]) -> tuple[int, bool, str] | None:
        """Whose look it was, whether it met the condition, and in words; None if it is about something else."""
        wanted = self._condition
        if wanted.memory is not None:
            if observation["kind"] != "resource" or observation["service"] != wanted.service:
                return None
            rss_bytes = observation.get("rss_bytes")
            meets = rss_bytes is not None and wanted.memory.holds(rss_bytes)
            last = "" if rss_bytes is None else f" (last seen {format_size(rss_bytes)})"
            return int(observation["pid"]), meets, f"memory of {wanted.service} {wanted.memory.text}{last}"
        if observation["kind"] != "probe" or observation["path"] != wanted.probe:
            return None
        status = observation["status"]
        said = "no answer" if status is None else f"last answer {status}"
        return (
            0,
            status is None or status >= _NO_GOOD_ANSWER,
            f"probe {wanted.probe} without a good answer ({said})",
        )
