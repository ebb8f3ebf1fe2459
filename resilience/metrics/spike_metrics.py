"""`SpikeLoadMetrics`: what a spike did, for people and tests that ask in Python."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from resilience.load.model import PhaseWindow
from resilience.metrics.figures import FigureTable
from resilience.metrics.fold import LoadTable, Summary, summarise
from resilience.metrics.gathered import Gathered
from resilience.metrics.littles_law import LittlesLaw, littles_law
from resilience.metrics.validity import Validity


@dataclass(frozen=True, slots=True)
class SpikeLoadMetrics:
    """The outcome of one load: figures overall, by phase and by window, and whether they can be trusted.

    Times in ms from the *intended* start, rates per second. All of it is bounded, however long the run was: see `Gathered`.
    """

    load: str
    phases: tuple[PhaseWindow, ...]
    table: LoadTable
    validity: Validity
    messages: Sequence[Mapping[str, Any]]
    """The workers' reports and ends."""
    figures: FigureTable
    """What only this kind of driver counts: cache hits, message latencies, close codes."""
    notes: Sequence[Mapping[str, Any]]
    """What was written down of single calls, where the request records something."""
    calls: Sequence[Sequence[Any]] = ()
    """With `record_calls`: a row for each call, or for a uniform sample of them where they were more than could be kept."""
    calls_seen: int = 0
    """How many calls that is a sample of."""

    @classmethod
    def of(cls, load: str, phases: tuple[PhaseWindow, ...], gathered: Gathered, validity: Validity) -> Self:
        """The metrics of a run that was gathered."""
        return cls(
            load,
            phases,
            gathered.table,
            validity,
            gathered.reports,
            gathered.figures,
            gathered.notes,
            gathered.calls,
            gathered.calls_seen,
        )

    @property
    def overall(self) -> Summary:
        """The whole run, over the length of all phases."""
        duration_s = sum(phase.end_ns - phase.start_ns for phase in self.phases) / 1e9
        return summarise(self.table.bin(self.load), duration_s)

    def phase(self, name: str) -> Summary:
        """One phase. Raises KeyError for a phase that the run did not have."""
        if name not in {phase.name for phase in self.phases}:
            raise KeyError(f"no phase {name!r}; there are {', '.join(phase.name for phase in self.phases)}")
        return self.table.phase(self.load, name)

    def window(self, start_s: float, end_s: float) -> Summary:
        """The whole seconds that begin in [start_s, end_s).

        A run of more than half an hour is kept in steps of several seconds: then ValueError for anything but multiples of them.
        """
        return self.table.window(self.load, start_s, end_s)

    @property
    def valid(self) -> bool:
        """The generator did what it says it did; otherwise `validity.reasons` says why not."""
        return self.validity.valid

    def littles_law(self, start_s: float, end_s: float) -> LittlesLaw:
        """The figures checked against each other over a stationary window."""
        return littles_law(self.table, self.messages, self.load, start_s, end_s)

    def to_json(self) -> dict[str, Any]:
        """Overall, phases and validity as JSON-able values."""
        return {
            "load": self.load,
            "overall": self.overall.to_json(),
            "phases": {phase.name: self.phase(phase.name).to_json() for phase in self.phases},
            "validity": self.validity.to_json(),
        }
