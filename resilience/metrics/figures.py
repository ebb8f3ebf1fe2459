"""What only one kind of driver counts, added up over workers: message latencies, cache hits, close codes. Pure.

A `figures` message is an increment, keyed by the phase and second in which something *happened*; the table adds increments up in
any order, and sums of seconds are sums of counts and histograms. What nobody counted is 0, and a histogram without a value.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Self

from resilience.metrics.histogram import Histogram


class FigureTable:
    """Counts and histograms (ns) of every load by phase and second; or, to bound the memory of a long run, by phase and `slot_s` seconds."""

    def __init__(self, *, slot_s: int = 1) -> None:
        self._slot_s = slot_s
        self._counts: dict[tuple[str, str], dict[tuple[str, int], int]] = {}
        self._histograms: dict[tuple[str, str], dict[tuple[str, int], Histogram]] = {}

    @classmethod
    def from_messages(cls, messages: Iterable[Mapping[str, Any]]) -> Self:
        """The table of all `figures` messages among `messages`, or of the lines of `samples/figures.jsonl`."""
        table = cls()
        for message in messages:
            if message.get("kind", "figures") == "figures":
                table.add(message)
        return table

    def add(self, message: Mapping[str, Any]) -> None:
        """Add one `figures` message."""
        load, key = message["load"], (message["phase"], message["s"] - message["s"] % self._slot_s)
        for name, n in message["n"].items():
            counts = self._counts.setdefault((load, name), {})
            counts[key] = counts.get(key, 0) + n
        for name, buckets in message["h"].items():
            histograms = self._histograms.setdefault((load, name), {})
            histogram = histograms.setdefault(key, Histogram())
            histogram.add_json(buckets)
            histogram.compact()

    def names(self, load: str) -> tuple[str, ...]:
        """Everything that was counted or measured of a load, sorted."""
        return tuple(sorted({name for of, name in (*self._counts, *self._histograms) if of == load}))

    def count(
        self,
        load: str,
        name: str,
        *,
        phase: str | None = None,
        start_s: float = 0.0,
        end_s: float = float("inf"),
    ) -> int:
        """How often something happened in a phase (or in all), in the seconds that begin in [start_s, end_s)."""
        found = self._counts.get((load, name), {})
        return sum(
            n
            for (of, second), n in found.items()
            if (phase is None or of == phase) and start_s <= second < end_s
        )

    def histogram(
        self,
        load: str,
        name: str,
        *,
        phase: str | None = None,
        start_s: float = 0.0,
        end_s: float = float("inf"),
    ) -> Histogram:
        """All that was measured under a name, likewise; empty where nothing was."""
        total = Histogram()
        for (of, second), found in self._histograms.get((load, name), {}).items():
            if (phase is None or of == phase) and start_s <= second < end_s:
                total.add(found)
        return total
