"""What one kind of driver counts and nobody else: message latencies, cache hits, close codes. One stream in one worker. Pure.

Theory of operation. `count` and `observe` file what happened under its second and phase, by the time at which it *happened*: a
socket that was due in the spike may be lost in the recovery. `drain` hands out the increments once a second, as `figures`
messages; readers add them up, as they do with bins. Memory is bounded by what happens in a second.

What it deliberately does not do: decide the outcome of an operation. That is the tally's, which conserves.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from resilience.load.model import PhaseWindow
from resilience.metrics.histogram import Histogram

_SECOND_NS = 10**9
_FOLD_AT = 4096
"""So many single values are kept before they are folded into counts."""


class _Second:
    __slots__ = ("counts", "histograms", "values")

    def __init__(self) -> None:
        self.counts: dict[str, int] = defaultdict(int)
        self.values: dict[str, list[int]] = defaultdict(list)
        self.histograms: dict[str, Histogram] = defaultdict(Histogram)

    def fold(self, name: str) -> None:
        values = self.values[name]
        self.histograms[name].record_all(max(value, 0) for value in values)
        values.clear()


class Figures:
    """Counts and histograms by second and phase of the event."""

    def __init__(self, stream: str, phases: Sequence[PhaseWindow], worker: int) -> None:
        self._stream = stream
        self._worker = worker
        self._phases = sorted(phases, key=lambda phase: phase.start_ns)
        self._starts = [phase.start_ns for phase in self._phases]
        self._epoch_ns = 0
        self._seconds: dict[tuple[int, str], _Second] = {}

    def begin(self, epoch_ns: int) -> None:
        """Fix the epoch from which seconds and phases count."""
        self._epoch_ns = epoch_ns

    def count(self, name: str, at_ns: int, n: int = 1) -> None:
        """Something happened n times, at a time on CLOCK_MONOTONIC."""
        self._at(at_ns).counts[name] += n

    def observe(self, name: str, value_ns: int, at_ns: int) -> None:
        """Something took `value_ns`, and ended at `at_ns`."""
        second = self._at(at_ns)
        values = second.values[name]
        values.append(value_ns)
        if len(values) >= _FOLD_AT:
            second.fold(name)

    def drain(self) -> Iterator[dict[str, Any]]:
        """The increments since the last drain, one message for each second and phase that changed."""
        for key in sorted(self._seconds):
            second = self._seconds.pop(key)
            for name in second.values:
                second.fold(name)
            yield {
                "kind": "figures",
                "worker": self._worker,
                "load": self._stream,
                "phase": key[1],
                "s": key[0],
                "n": dict(second.counts),
                "h": {name: histogram.to_json() for name, histogram in second.histograms.items()},
            }

    def _at(self, at_ns: int) -> _Second:
        offset = at_ns - self._epoch_ns
        index = bisect_right(self._starts, offset) - 1
        phase = self._phases[index] if index >= 0 else None
        key = (offset // _SECOND_NS, phase.name if phase is not None and offset < phase.end_ns else "")
        found = self._seconds.get(key)
        if found is None:
            found = self._seconds[key] = _Second()
        return found
