"""The messages of a run as they come, folded: what can be asked afterwards, in memory that the length of the run does not decide. Pure.

Theory of operation. Bins and figures are increments and are added up by slot; so are the workers' reports, the ones of a slot into one,
which tells means as means and extremes as extremes. A slot is a second in runs of up to SLOTS seconds, and in longer ones as many
seconds as it takes to have no more than SLOTS of them. Of the calls, where they are recorded, a uniform sample is kept (Vitter's
algorithm R: call k replaces a random one with probability kept/k), which is all of them as long as they are not too many. Notes have a
bound of their own, which the workers keep.

Invariants. Counts, histograms and totals are exact whatever the slot; no quantile is averaged. The same messages in the same order
give the same sample for the same seed.

What it deliberately does not do: judge, or write anything down. Whoever wants every message takes it as it comes (`on_message`).
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

from resilience.load.model import PhaseWindow, run_end_ns
from resilience.metrics.figures import FigureTable
from resilience.metrics.fold import LoadTable

SLOTS: Final = 1_800
CALLS_KEPT: Final = 100_000
_SECOND_NS: Final = 10**9

Message = Mapping[str, Any]


def slot_s_of(end_ns: int) -> int:
    """Whole seconds of a slot, for a run that ends so long after its epoch."""
    return max(1, -(-end_ns // (SLOTS * _SECOND_NS)))


class Gathered:
    """What is kept of one run. `end_ns` is when it ends, where that is later than its last phase."""

    def __init__(
        self,
        phases: Sequence[PhaseWindow],
        *,
        end_ns: int = 0,
        calls_kept: int = CALLS_KEPT,
        seed: int = 0,
    ) -> None:
        self.slot_s = slot_s_of(max(end_ns, run_end_ns(phases)))
        self.table = LoadTable(phases, slot_s=self.slot_s)
        self.figures = FigureTable(slot_s=self.slot_s)
        self.notes: list[Message] = []
        self.reports: list[Message] = []
        """The workers' reports and ends, and which of them were lost."""
        self.calls_seen = 0
        self._phases = phases
        self._epoch_ns = 0
        self._calls: list[tuple[int, Sequence[Any]]] = []
        self._calls_kept = calls_kept
        self._draw = random.Random(seed).randrange
        self._latest: dict[int, tuple[tuple[int, int], int]] = {}
        """By worker: the slot and phase of its latest report, and where that stands among the reports."""

    def begin(self, epoch_ns: int) -> None:
        """Say when the run began, on CLOCK_MONOTONIC: slots and phases count from there."""
        self._epoch_ns = epoch_ns

    @property
    def calls(self) -> list[Sequence[Any]]:
        """The calls that were kept, in the order in which they ended: rows as in a `call` message."""
        return [row for _, row in sorted(self._calls, key=lambda call: call[0])]

    def take(self, message: Message) -> None:
        """One message of a worker, or of the engine about one."""
        kind = message.get("kind")
        if kind == "bins":
            self.table.add(message)
        elif kind == "figures":
            self.figures.add(message)
        elif kind == "note":
            self.notes.extend(message["rows"])
        elif kind == "call":
            for row in message["rows"]:
                self._sample(row)
        elif kind == "worker":
            self._report(message)
        else:
            self.reports.append(message)

    def _sample(self, row: Sequence[Any]) -> None:
        seen, self.calls_seen = self.calls_seen, self.calls_seen + 1
        if seen < self._calls_kept:
            self._calls.append((seen, row))
        elif self._calls_kept and (place := self._draw(seen + 1)) < self._calls_kept:
            self._calls[place] = (seen, row)

    def _report(self, report: Message) -> None:
        middle_ns = report["t"] - self._epoch_ns - _SECOND_NS // 2
        # A report belongs to one phase: its processor time is judged with that phase's.
        within = (place for place, of in enumerate(self._phases) if of.start_ns <= middle_ns < of.end_ns)
        key = middle_ns // (self.slot_s * _SECOND_NS), next(within, -1)
        worker = report["worker"]
        known = self._latest.get(worker)
        if self.slot_s > 1 and known is not None and known[0] == key:
            self.reports[known[1]] = merged(self.reports[known[1]], report)
        else:
            self._latest[worker] = key, len(self.reports)
            self.reports.append(report)


def merged(earlier: Message, later: Message) -> dict[str, Any]:
    """Two successive reports of a worker as one: `n` of them, from the one at `from_t` to that at `t`, no further than `gap_ns` apart."""
    n: int = earlier.get("n", 1)

    def mean(a: float, b: float) -> float:
        return (a * n + b) / (n + 1)

    return {
        **later,
        "n": n + 1,
        "from_t": earlier.get("from_t", earlier["t"]),
        "gap_ns": max(earlier.get("gap_ns", 0), later["t"] - earlier["t"]),
        "cpu": mean(earlier["cpu"], later["cpu"]),
        "in_flight_mean": {
            load: mean(earlier["in_flight_mean"].get(load, 0.0), of)
            for load, of in later["in_flight_mean"].items()
        },
        "fds": max(earlier["fds"], later["fds"]),
        "stall_ns": max(earlier["stall_ns"], later["stall_ns"]),
    }


def middle_ns(report: Message) -> float:
    """The middle of the time that a report covers: the second before it, or the seconds before each of those that were merged."""
    first: int = report.get("from_t", report["t"])
    return (first + int(report["t"])) / 2 - _SECOND_NS / 2
