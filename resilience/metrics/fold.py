"""The messages of all workers, added up: bins by load, phase and second, and summaries over any window of them. Pure.

Theory of operation. A `bins` message is an increment, keyed by the second and phase in which its operations were *due*; the
table adds increments up, whatever their order and number, so workers merge exactly. A summary is computed from the merged
counts and histograms of the seconds it covers: quantiles are never averaged.

What it deliberately does not do: correct for coordinated omission a second time. Response times already count from the
intended start.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from resilience.load.model import PhaseWindow
from resilience.metrics.histogram import Histogram
from resilience.metrics.outcomes import CATEGORIES, COUNTERS, DEGRADED, HISTOGRAMS, OK

_MS = 1e6


@dataclass(frozen=True, slots=True)
class Bin:
    """Counts and histograms (ns) of one load in one phase and second, or of any sum of them."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))
    histograms: dict[str, Histogram] = field(
        default_factory=lambda: {name: Histogram() for name in HISTOGRAMS}
    )
    first_attempts: list[int] = field(default_factory=lambda: [0])

    def add_message(self, message: Mapping[str, Any]) -> None:
        """Add the increments of a `bins` message."""
        for name, n in message["n"].items():
            self.counts[name] = self.counts.get(name, 0) + n
        self.first_attempts[0] += message["first"]
        for name, histogram in self.histograms.items():
            if name in message:
                histogram.add_json(message[name])

    def add(self, other: "Bin") -> None:
        """Add another bin to this one."""
        for name, n in other.counts.items():
            self.counts[name] = self.counts.get(name, 0) + n
        self.first_attempts[0] += other.first_attempts[0]
        for name, histogram in self.histograms.items():
            histogram.add(other.histograms[name])

    @classmethod
    def total(cls, bins: Iterable["Bin"]) -> "Bin":
        """The sum of any number of bins, as a new one."""
        known = list(bins)
        counts: dict[str, int] = dict.fromkeys(COUNTERS, 0)
        for each in known:
            for name, n in each.counts.items():
                counts[name] = counts.get(name, 0) + n
        return cls(
            counts,
            {name: Histogram.total(each.histograms[name] for each in known) for name in HISTOGRAMS},
            [sum(each.first_attempts[0] for each in known)],
        )

    def compact(self) -> None:
        """Take less memory, until more is added."""
        for histogram in self.histograms.values():
            histogram.compact()

    @property
    def ended(self) -> int:
        """Operations in any category; equals `offered` once everything has ended."""
        return sum(self.counts[name] for name in CATEGORIES)


@dataclass(frozen=True, slots=True)
class Summary:
    """What a window amounts to. Times in ms, rates per second of `duration_s`; None where nothing was measured.

    Quantiles are of answered operations (ok and degraded) from their intended start. `p99_with_failures_ms` counts every
    other operation as slower than any answer, and is None when more than 1 % failed: that quantile is censored.
    `error_rate` is the share of what was offered that was not answered, shed and dropped included.
    """

    counts: dict[str, int]
    duration_s: float
    offered_per_s: float
    throughput_per_s: float
    goodput_per_s: float
    error_rate: float
    fallback_share: float
    shed_share: float
    good_share: float
    amplification: float
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    p999_ms: float | None
    max_ms: float | None
    mean_ms: float | None
    p99_with_failures_ms: float | None
    service_p50_ms: float | None
    service_p99_ms: float | None
    degraded_p99_ms: float | None
    shed_p99_ms: float | None
    failed_p50_ms: float | None
    lag_p50_ms: float | None
    lag_p99_ms: float | None
    lag_max_ms: float | None
    pool_p99_ms: float | None
    connect_p99_ms: float | None

    def to_json(self) -> dict[str, Any]:
        """The summary as JSON-able values."""
        return {name: getattr(self, name) for name in self.__slots__}


class LoadTable:
    """Bins of every load by phase and second; or, to bound the memory of a long run, by phase and `slot_s` seconds."""

    def __init__(self, phases: Sequence[PhaseWindow] = (), *, slot_s: int = 1) -> None:
        self._phases = {phase.name: phase for phase in phases}
        self._bins: dict[str, dict[tuple[str, int], Bin]] = {}
        self._lags: dict[tuple[str, str], dict[int, Histogram]] = {}
        """By load and phase: each worker's own lags, since one of many that is late does not show in all of them together."""
        self.slot_s = slot_s
        """Seconds that are kept as one."""
        self._newest: Bin | None = None
        """The bin that was added to last; the others are compact."""

    @classmethod
    def from_messages(cls, messages: Iterable[Mapping[str, Any]], phases: Sequence[PhaseWindow] = ()) -> Self:
        """The table of all `bins` messages among `messages`.

        With `phases`, rates of a phase are per second of its window; without, per second in which something was due.
        """
        table = cls(phases)
        for message in messages:
            if message.get("kind") == "bins":
                table.add(message)
        return table

    def add(self, message: Mapping[str, Any]) -> None:
        """Add one `bins` message."""
        bins = self._bins.setdefault(message["load"], {})
        key = message["phase"], message["s"] - message["s"] % self.slot_s
        found = bins.get(key)
        if found is None:
            found = bins[key] = Bin()
        found.add_message(message)
        if "worker" in message:
            own = self._lags.setdefault((message["load"], message["phase"]), {})
            own.setdefault(message["worker"], Histogram()).add_json(message.get("lag", {}))
        if self._newest is not found:
            if self._newest is not None:
                self._newest.compact()
            self._newest = found

    def lags(self, load: str, phase: str) -> dict[int, Histogram]:
        """How late each worker started what it started of a load in a phase, in ns."""
        return dict(sorted(self._lags.get((load, phase), {}).items()))

    @property
    def loads(self) -> tuple[str, ...]:
        """The loads that were seen, sorted."""
        return tuple(sorted(self._bins))

    def phases(self, load: str) -> tuple[str, ...]:
        """The phases in which a load had anything due, in the order of time."""
        first: dict[str, int] = {}
        for phase, second in self._bins.get(load, {}):
            first[phase] = min(first.get(phase, second), second)
        return tuple(sorted(first, key=lambda name: (first[name], name)))

    def seconds(self, load: str) -> Iterator[tuple[int, Bin]]:
        """Every second (or slot) since the epoch in which a load had anything due, with its bin over all phases, in order."""
        by_second: dict[int, list[Bin]] = {}
        for (_, second), found in self._bins.get(load, {}).items():
            by_second.setdefault(second, []).append(found)
        # One at a time: all of them unpacked would take a multiple of what the table does.
        for second in sorted(by_second):
            yield second, Bin.total(by_second[second])

    def bin(
        self, load: str, *, phase: str | None = None, start_s: float = 0.0, end_s: float = float("inf")
    ) -> Bin:
        """The sum of a load's bins of a phase (or all) that begin in [start_s, end_s).

        Raises ValueError for a window that slots of several seconds cannot tell from its surroundings.
        """
        if self.slot_s > 1 and (start_s % self.slot_s or (end_s < float("inf") and end_s % self.slot_s)):
            raise ValueError(
                f"a run of this length is kept in steps of {self.slot_s} s: windows begin and end at multiples of it, "
                f"not at {start_s:g} s and {end_s:g} s"
            )
        return Bin.total(
            found
            for (name, second), found in self._bins.get(load, {}).items()
            if (phase is None or name == phase) and start_s <= second < end_s
        )

    def window(self, load: str, start_s: float, end_s: float) -> Summary:
        """The summary of the whole seconds that begin in [start_s, end_s), seconds since the epoch."""
        return summarise(self.bin(load, start_s=start_s, end_s=end_s), end_s - start_s)

    def phase(self, load: str, phase: str) -> Summary:
        """The summary of a load in a phase."""
        window = self._phases.get(phase)
        if window is not None:
            duration_s = (window.end_ns - window.start_ns) / 1e9
        else:
            slots = sum(1 for name, _ in self._bins.get(load, {}) if name == phase)
            duration_s = float(slots * self.slot_s)
        return summarise(self.bin(load, phase=phase), duration_s)


def summarise(total: Bin, duration_s: float) -> Summary:
    """What a sum of bins amounts to over `duration_s` seconds."""
    n = total.counts
    histograms = total.histograms
    response, lag = histograms["r"], histograms["lag"]
    offered = n["offered"]
    answered = n[OK] + n[DEGRADED]
    attempts = n["attempts"]
    first = total.first_attempts[0]

    def rate(part: int) -> float:
        return part / duration_s if duration_s else 0.0

    def share(part: int, whole: int = offered) -> float:
        return part / whole if whole else 0.0

    return Summary(
        counts=dict(n),
        duration_s=duration_s,
        offered_per_s=rate(offered),
        throughput_per_s=rate(answered),
        goodput_per_s=rate(n["good"]),
        error_rate=share(offered - answered),
        fallback_share=share(n[DEGRADED]),
        shed_share=share(n["shed"]),
        good_share=share(n["good"]),
        amplification=attempts / first if first else 1.0,
        p50_ms=_ms(response.quantile(0.5)),
        p90_ms=_ms(response.quantile(0.9)),
        p95_ms=_ms(response.quantile(0.95)),
        p99_ms=_ms(response.quantile(0.99)),
        p999_ms=_ms(response.quantile(0.999)),
        max_ms=_ms(response.max()),
        mean_ms=_ms(response.mean()),
        p99_with_failures_ms=_ms(_censored_quantile(response, offered, 0.99)),
        service_p50_ms=_ms(histograms["service"].quantile(0.5)),
        service_p99_ms=_ms(histograms["service"].quantile(0.99)),
        degraded_p99_ms=_ms(histograms["degraded_r"].quantile(0.99)),
        shed_p99_ms=_ms(histograms["shed_r"].quantile(0.99)),
        failed_p50_ms=_ms(histograms["failed_r"].quantile(0.5)),
        lag_p50_ms=_ms(lag.quantile(0.5)),
        lag_p99_ms=_ms(lag.quantile(0.99)),
        lag_max_ms=_ms(lag.max()),
        pool_p99_ms=_ms(histograms["pool"].quantile(0.99)),
        connect_p99_ms=_ms(histograms["connect"].quantile(0.99)),
    )


def _censored_quantile(answered: Histogram, offered: int, q: float) -> int | None:
    """The quantile over all that was offered, those without an answer counted as slower than any."""
    if answered.count == 0 or q * offered > answered.count:
        return None
    return answered.quantile(q * offered / answered.count)


def _ms(value: float | None) -> float | None:
    return None if value is None else value / _MS
