"""`chaos.judge()`: what the test's recorded history says, once everything has happened."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resilience.analysis.checks.load import response_quantile_ns
from resilience.analysis.health import Baseline, BaselineRefused, SecondPoint, measure_baseline
from resilience.analysis.recovery import recovery_of
from resilience.analysis.statistics import robust_sigma
from resilience.breaker.observation import Fault, Observation
from resilience.breaker.spec import BreakerSpec
from resilience.metrics.fold import Summary, summarise
from resilience.pytest_plugin.asserting import Assertable, JudgedHistory
from resilience.pytest_plugin.errors import InvalidRun
from resilience.pytest_plugin.faulting import FaultHandle
from resilience.pytest_plugin.loading import LoadHandle
from resilience.pytest_plugin.specs import Written
from resilience.pytest_plugin.timeline import Violation

_HOLD_S = 3.0
_SLACK_NS = 25_000_000


@dataclass(slots=True, eq=False)
class JudgedBreaker(Assertable):
    """One breaker of the target and its history."""

    name: str
    spec: BreakerSpec
    written: Written
    history: Sequence[Observation]
    violations: tuple[Violation, ...] = ()
    asserted: JudgedHistory | None = None

    def _evidence(self) -> tuple[Sequence[Observation], Iterable[Fault]]:
        return self.history, ()


@dataclass(frozen=True, slots=True)
class LoadWindow:
    """Whole seconds of one load, and what may be asserted of them.

    `p95_ns` is over all that was offered, as a plan's `p95` is: infinite where it falls on an operation without an answer.
    """

    load: str
    start_s: float
    end_s: float
    summary: Summary
    p95_ns: float

    def assert_fallback(self, *, at_least: float) -> None:
        """At least this share of the operations was answered by the fallback."""
        self._at_least("answered by the fallback", self.summary.fallback_share, at_least)

    def assert_good(self, *, at_least: float) -> None:
        """At least this share was answered as it should be, in time."""
        self._at_least("good", self.summary.good_share, at_least)

    def assert_errors(self, *, at_most: float) -> None:
        """No more than this share was not answered."""
        if self.summary.error_rate > at_most:
            raise AssertionError(
                f"{self}: {self.summary.error_rate:.1%} errors, at most {at_most:.1%} allowed: {self._counts()}"
            )

    def assert_p95(self, *, at_most_ms: float) -> None:
        """The 95th percentile of the time from when an operation was due to its answer; those without one are slower than any bound."""
        p95_ms = self.p95_ns / 1e6
        if p95_ms > at_most_ms:
            found = "without an answer" if math.isinf(p95_ms) else f"{p95_ms:.1f} ms"
            raise AssertionError(
                f"{self}: p95 is {found}, at most {at_most_ms:g} ms allowed: {self._counts()}"
            )

    def _at_least(self, what: str, share: float, at_least: float) -> None:
        if share < at_least:
            raise AssertionError(
                f"{self}: {share:.1%} {what}, at least {at_least:.1%} expected: {self._counts()}"
            )

    def _counts(self) -> str:
        return ", ".join(f"{n} {name}" for name, n in self.summary.counts.items() if n)

    def __str__(self) -> str:
        return f"{self.load} from {self.start_s:.0f} to {self.end_s:.0f} s"


@dataclass(frozen=True, slots=True)
class JudgedLoad:
    """One load that kept its schedule."""

    handle: LoadHandle

    def during(self, fault: FaultHandle, *, settle: float = 0.0) -> LoadWindow:
        """The whole seconds while a fault was in place, from `settle` seconds after it went in."""
        if fault.on_ns is None:
            raise InvalidRun(f"the fault {fault.name} was never in place")
        off_ns = fault.off_ns[0] if fault.off_ns else self.handle.stop_ns
        return self.window(self.handle.seconds_at(fault.on_ns[1]) + settle, self.handle.seconds_at(off_ns))

    def window(self, start_s: float, end_s: float) -> LoadWindow:
        """The whole seconds inside [start_s, end_s), since the load began."""
        start, end = max(math.ceil(start_s), 0), math.floor(end_s)
        found = self.handle.table().bin(self.handle.name, start_s=start, end_s=end)
        summary = summarise(found, end - start)
        if end <= start or not summary.counts["offered"]:
            raise InvalidRun(
                f"{self.handle.name}: no whole second with load between {start_s:.1f} and {end_s:.1f} s"
            )
        return LoadWindow(self.handle.name, start, end, summary, response_quantile_ns(found, 0.95))


class Run:
    """Everything that one test recorded."""

    def __init__(
        self,
        breakers: Mapping[str, JudgedBreaker],
        loads: Sequence[LoadHandle],
        watched: Callable[[str], Any],
    ) -> None:
        self._breakers = breakers
        self._loads = loads
        self._watched = watched

    def breaker(self, name: str) -> Any:
        """A breaker by the name under which it was followed or watched."""
        return self._breakers[name] if name in self._breakers else self._watched(name)

    def load(self, load: LoadHandle | str) -> JudgedLoad:
        """A load, by its handle or name."""
        found = next((each for each in self._loads if load in {each, each.name}), None)
        if found is None:
            raise KeyError(
                f"no load {load!r}; there is {', '.join(each.name for each in self._loads) or 'none'}"
            )
        return JudgedLoad(found)

    def time_to_recover(
        self, fault: FaultHandle, load: LoadHandle | str | None = None, *, hold: float = _HOLD_S
    ) -> float:
        """Seconds from the fault's healing until the load is as it was before it, and stays so for `hold` seconds.

        "As it was": as many good answers, and no more than a tenth of them slower than twice the 95th percentile before the
        fault (or 25 ms more). The upper end of what is known (bins are seconds); infinite where the record ends before. InvalidRun where there was too
        little of the load before the fault to say what is normal.
        """
        handle = self.load(load if load is not None else self._loads[0].name).handle
        if fault.on_ns is None or fault.off_ns is None:
            raise InvalidRun(f"the fault {fault.name} was not put in and taken out")
        on_s, off_s = handle.seconds_at(fault.on_ns[0]), handle.seconds_at(fault.off_ns[1])
        try:
            points, baseline = _against_baseline(handle, on_s)
        except BaselineRefused as refused:
            raise InvalidRun(f"{handle.name} before {fault.name}: {refused}") from refused
        recovery = recovery_of(points, baseline, fault_on_s=on_s, reference_s=max(off_s, 0.0), hold_s=hold)
        found = recovery.time_to_recover
        return math.inf if found.high_s is None else found.high_s


def _against_baseline(handle: LoadHandle, on_s: float) -> tuple[list[SecondPoint], Baseline]:
    """The load's whole seconds, and what is normal by those before the fault."""
    table, last = handle.table(), math.floor(handle.seconds_at(handle.stop_ns))
    seconds = [(second, found) for second, found in table.seconds(handle.name) if second < last]
    before = [(second, found) for second, found in seconds if second + 1 <= on_s]
    p95_ns = table.bin(handle.name, end_s=math.floor(on_s)).histograms["r"].quantile(0.95) if before else None
    if p95_ns is None:
        raise BaselineRefused("nothing was answered before the fault")
    each = [float(p95) for _, found in before if (p95 := found.histograms["r"].quantile(0.95)) is not None]
    # The few seconds that a test has before its fault know little of the tail: what is slow must be so by some distance.
    slow_ns = max(p95_ns + 3 * robust_sigma(each), 2 * p95_ns, p95_ns + _SLACK_NS)
    points = [
        SecondPoint(
            second=second,
            offered=found.counts["offered"],
            good=found.counts["good"],
            degraded=found.counts["degraded"],
            failed=found.counts["offered"] - found.counts["ok"] - found.counts["degraded"],
            median_ns=float(found.histograms["r"].quantile(0.5) or 0.0),
            slow=found.histograms["r"].count_above(int(slow_ns)),
        )
        for second, found in seconds
    ]
    return points, measure_baseline(points[: len(before)], float(p95_ns))
