"""Bounds on one load stream: over a phase, over the time that a fault was in, or over all judged phases. Pure.

Response times are judged over everything that was offered: an operation without an answer is slower than any bound.
Quantiles of the survivors alone would let a run pass in which one call of two hundred came through, quickly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from resilience.analysis.checks.base import unknown
from resilience.analysis.evidence import RunEvidence
from resilience.analysis.findings import Findings
from resilience.analysis.judgement import FAIL, PASS, Judgement
from resilience.metrics.fold import Bin
from resilience.metrics.histogram import Histogram
from resilience.metrics.outcomes import (
    CONNECT,
    DEGRADED,
    DROPPED,
    OK,
    PROTOCOL,
    RESET,
    SHED,
    TIMEOUT,
    UNFINISHED,
)
from resilience.plan.schema import LoadExpectation
from resilience.plan.units import NS_PER_S, Comparison, format_duration, format_rate, format_share


@dataclass(frozen=True, slots=True)
class Window:
    """What an expectation looks at: merged seconds, how long they last together, and each of them alone."""

    total: Bin
    duration_s: float
    seconds: tuple[tuple[int, Bin], ...]

    @property
    def offered(self) -> int:
        """Operations that were due in the window."""
        return self.total.counts["offered"]


@dataclass(frozen=True, slots=True)
class Figure:
    """How one compared figure is taken from a window, and shown. `per_second`: a breach can be placed in time."""

    value: Callable[[Window], float]
    show: Callable[[float], str]
    per_second: bool = True


def answered(found: Bin) -> int:
    """Operations with an answer, a fallback included."""
    return found.counts[OK] + found.counts[DEGRADED]


def response_quantile_ns(found: Bin, q: float) -> float:
    """Quantile of the response time over all that was offered; infinite where it falls on one without an answer."""
    offered, times = found.counts["offered"], found.histograms["r"]
    if times.count == 0 or q * offered > times.count:
        return math.inf
    return float(times.quantile(q * offered / times.count) or 0)


def _told_p99_ns(window: Window) -> float:
    """How long callers waited for anything, an answer, a refusal or their own time-out; what never ended is longer than that."""
    times = Histogram()
    for kind in ("r", "shed_r", "failed_r"):
        times.add(window.total.histograms[kind])
    if not times.count or 0.99 * window.offered > times.count:
        return math.inf
    return float(times.quantile(0.99 * window.offered / times.count) or 0)


def _share(count: Callable[[Bin], int]) -> Callable[[Window], float]:
    return lambda window: count(window.total) / window.offered


def _quantile(q: float) -> Callable[[Window], float]:
    return lambda window: response_quantile_ns(window.total, q)


def _show_time(ns: float) -> str:
    return "without an answer" if math.isinf(ns) else format_duration(ns)


UNANSWERED = (CONNECT, TIMEOUT, RESET, PROTOCOL, DROPPED, UNFINISHED)
"""Nothing that the target said on purpose: callers were left hanging, or cut off."""

FIGURES: Mapping[str, Figure] = {
    "p50": Figure(_quantile(0.50), _show_time),
    "p90": Figure(_quantile(0.90), _show_time),
    "p95": Figure(_quantile(0.95), _show_time),
    "p99": Figure(_quantile(0.99), _show_time),
    "max": Figure(_quantile(1.0), _show_time),
    "errors": Figure(_share(lambda b: b.counts["offered"] - answered(b)), format_share),
    "fallback": Figure(_share(lambda b: b.counts[DEGRADED]), format_share),
    "protected": Figure(_share(answered), format_share),
    "goodput": Figure(_share(lambda b: b.counts["good"]), format_share),
    "throughput": Figure(lambda w: answered(w.total) / w.duration_s, format_rate),
    "told_p99": Figure(_told_p99_ns, _show_time),
    "unanswered": Figure(_share(lambda b: sum(b.counts[key] for key in UNANSWERED)), format_share),
    "shed": Figure(_share(lambda b: b.counts[SHED]), format_share),
    "shed_p99": Figure(lambda w: float(w.total.histograms["shed_r"].quantile(0.99) or 0), _show_time),
    "peak": Figure(lambda w: max(b.counts["good"] for _, b in w.seconds), format_rate, per_second=False),
}


def check_load(evidence: RunEvidence, _: Findings, name: str, wanted: LoadExpectation) -> Judgement:
    """Every bound must hold; the first second that breaks one is where to look."""
    bounds = wanted.bounds()
    text = ", ".join(f"{figure} {bound.text}" for figure, bound in bounds.items())
    expected = f"{text} ({_where(wanted)})"
    window = _window(evidence, wanted)
    if isinstance(window, str):
        return unknown(name, expected, window)
    if not window.offered:
        return unknown(name, expected, "nothing was offered in that time")
    values = {key: FIGURES[key].value(window) for key in bounds}
    broken = [key for key, bound in bounds.items() if not bound.holds(values[key])]
    return Judgement(
        name,
        expected,
        ", ".join(f"{key} {FIGURES[key].show(value)}" for key, value in values.items()),
        FAIL if broken else PASS,
        margin=_margin([bound.margin(values[key]) for key, bound in bounds.items()]),
        evidence={"load": wanted.load, "seconds": len(window.seconds), "operations": window.offered},
        at_s=_first_breach(window, broken[0], bounds[broken[0]]) if broken else None,
    )


def _margin(margins: list[float]) -> str:
    least = min(margins)
    return "" if math.isinf(least) else f"{least:+.0%}"


def _where(wanted: LoadExpectation) -> str:
    if wanted.phase is not None:
        return f"{wanted.load}, {wanted.phase}"
    if wanted.fault is not None:
        return f"{wanted.load}, while {wanted.fault}"
    return wanted.load


def _window(evidence: RunEvidence, wanted: LoadExpectation) -> Window | str:
    """The bins to look at, or why there are none."""
    if wanted.fault is None:
        names = (
            [wanted.phase]
            if wanted.phase is not None
            else [s.name for s in evidence.timeline.phases if s.judge]
        )
        return _phases(evidence, wanted.load, names) if names else "no phase is judged"
    fault = evidence.faults[wanted.fault]
    if fault.injected_ns is None or fault.healed_ns is None:
        return f"the fault {wanted.fault} was not in place"
    start_s = math.ceil(evidence.at_s(fault.injected_ns[1]) + wanted.settle / NS_PER_S)
    end_s = math.floor(evidence.at_s(fault.healed_ns[0]))
    if end_s - start_s < 1:
        return f"less than one whole second of {wanted.fault} is left after settling"
    seconds = [(s, b) for s, b in evidence.table.seconds(wanted.load) if start_s <= s < end_s]
    return _merged(seconds, float(end_s - start_s))


def _phases(evidence: RunEvidence, load: str, names: list[str]) -> Window:
    """Phases are accounted for exactly, wherever in a second they begin."""
    spans = [evidence.timeline.phase(name) for name in names]
    seconds = [
        (second, evidence.table.bin(load, phase=span.name, start_s=second, end_s=second + 1))
        for span in spans
        for second in range(span.start_ns // NS_PER_S, -(-span.end_ns // NS_PER_S))
    ]
    return _merged(seconds, sum(span.end_ns - span.start_ns for span in spans) / NS_PER_S)


def _merged(seconds: list[tuple[int, Bin]], duration_s: float) -> Window:
    total = Bin()
    for _, found in seconds:
        total.add(found)
    return Window(total, duration_s, tuple(seconds))


def _each_second(window: Window) -> Iterator[Window]:
    for second, found in window.seconds:
        if found.counts["offered"]:
            yield Window(found, 1.0, ((second, found),))


def _first_breach(window: Window, key: str, bound: Comparison) -> float:
    """First second whose own figure breaks the bound: where to look in the plot."""
    figure = FIGURES[key]
    for alone in _each_second(window) if figure.per_second else ():
        if not bound.holds(figure.value(alone)):
            return float(alone.seconds[0][0])
    return float(window.seconds[0][0])
