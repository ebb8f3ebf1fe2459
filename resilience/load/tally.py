"""From raw stamps to per-second bins: the accounting of one stream in one worker.

Theory of operation. The hot path packs one ROW of seven integers for every operation that ended, and appends the due time of
every arrival it took from the schedule: nothing else. Once a second `fold` turns the rows into counts and histograms with
numpy, grouped by phase and second of the *intended* time, and forgets them; `drain` hands out what was added since it was last
called, as `bins` messages. Memory is bounded by what happens in a second, whatever the length of the run.

Invariants. `offered` comes from the schedule, the categories from the ends of operations: they are equal once everything has
ended, and only then. Increments may arrive late (an operation that took 20 s belongs to the second it was due), so readers
add them up.

What it deliberately does not do: read a clock, or judge.
"""

import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from resilience.load.model import PhaseWindow
from resilience.metrics.histogram import buckets_of
from resilience.metrics.outcomes import CATEGORIES, CODE, DEGRADED, DROPPED, HISTOGRAMS, OK, SHED

ROW = struct.Struct("<7q")
"""intended, start, acquired, connected (0: on an open connection), sent (0: never), done; ns; and the outcome's code."""
_SECOND_NS = 10**9
_OUTSIDE = ""
"""The phase of what is due outside of every phase."""

Ints = npt.NDArray[np.int64]


class _Bin:
    """What was added to one phase and second since the last drain."""

    __slots__ = ("counts", "good", "histograms", "late", "offered")

    def __init__(self) -> None:
        self.offered = 0
        self.late = 0
        self.good = 0
        self.counts = np.zeros(len(CATEGORIES), dtype=np.int64)
        self.histograms: dict[str, Ints] = {}

    def observe(self, name: str, values: Ints) -> None:
        # Dense counts: adding two arrays is a hundredth of the work of merging two sparse dictionaries.
        if values.size == 0:
            return
        more = np.bincount(buckets_of(values))
        mine = self.histograms.get(name)
        if mine is None:
            self.histograms[name] = more
        elif mine.size >= more.size:
            mine[: more.size] += more
        else:
            more[: mine.size] += mine
            self.histograms[name] = more

    def to_json(self) -> dict[str, Any]:
        n = dict(zip(CATEGORIES, self.counts.tolist(), strict=True))
        attempts = sum(n.values()) - n[DROPPED]
        return {
            "n": {"offered": self.offered, "attempts": attempts, **n, "late": self.late, "good": self.good},
            "first": attempts,
            **{name: _sparse(self.histograms.get(name)) for name in HISTOGRAMS},
        }


def _sparse(counts: Ints | None) -> dict[str, int]:
    if counts is None:
        return {}
    present = np.flatnonzero(counts)
    return dict(zip(map(str, present.tolist()), counts[present].tolist(), strict=True))


class Tally:
    """Counts and histograms of one stream, by phase and second of the intended time."""

    def __init__(
        self,
        stream: str,
        phases: Sequence[PhaseWindow],
        deadline_ns: int,
        epoch_ns: int,
        *,
        herd: bool = False,
    ) -> None:
        self._stream = stream
        self._deadline_ns = deadline_ns
        self._epoch_ns = epoch_ns
        ordered = sorted(phases, key=lambda phase: phase.start_ns)
        self._names = [_OUTSIDE, *(phase.name for phase in ordered)]
        self._starts = np.array([phase.start_ns for phase in ordered], dtype=np.int64)
        self._ends = np.array([0, *(phase.end_ns for phase in ordered)], dtype=np.int64)
        self._bins: dict[tuple[int, int], _Bin] = {}
        self._herd = herd
        self.writes: dict[int, tuple[int, int]] = {}
        """Of a herd: for each wave's due time (ns from the epoch), when its first and its last request were written."""

    def offer(self, due: "array[int]") -> None:
        """Count arrivals that were taken from the schedule; `due` holds absolute times in ns."""
        if due:
            intended = np.frombuffer(due, dtype=np.int64) - self._epoch_ns
            for key, chosen in self._grouped(intended):
                self._bin(key).offered += int(np.count_nonzero(chosen))

    def fold(self, rows: Iterable[bytes]) -> None:
        """Count operations that ended; each row is packed by ROW."""
        packed = b"".join(rows)
        if not packed:
            return
        table = np.frombuffer(packed, dtype=np.int64).reshape(-1, 7)
        for key, chosen in self._grouped(table[:, 0] - self._epoch_ns):
            self._count(self._bin(key), table[chosen].T)
        if self._herd:
            self._note_writes(table)

    def drain(self, worker: int) -> Iterator[dict[str, Any]]:
        """The increments since the last drain: one `bins` message for each phase and second that changed.

        What was not taken from the iterator stays for the next drain.
        """
        for key in sorted(self._bins):
            phase, second = key
            yield {
                "kind": "bins",
                "worker": worker,
                "load": self._stream,
                "phase": self._names[phase],
                "s": second,
                **self._bins.pop(key).to_json(),
            }

    def _note_writes(self, table: Ints) -> None:
        written = table[table[:, 4] > 0]
        for intended in np.unique(written[:, 0]).tolist():
            sent = written[written[:, 0] == intended, 4]
            wave = intended - self._epoch_ns
            first, last = self.writes.get(wave, (2**62, 0))
            self.writes[wave] = min(first, int(sent.min())), max(last, int(sent.max()))

    def _bin(self, key: tuple[int, int]) -> _Bin:
        found = self._bins.get(key)
        if found is None:
            found = self._bins[key] = _Bin()
        return found

    def _grouped(self, offsets: Ints) -> list[tuple[tuple[int, int], npt.NDArray[np.bool_]]]:
        """Which offsets belong to which phase and second; a fold rarely meets more than a handful of them."""
        phase = np.searchsorted(self._starts, offsets, side="right")
        phase = np.where(offsets < self._ends[phase], phase, 0)
        second = offsets // _SECOND_NS
        keys = second * len(self._names) + phase
        groups = []
        for key in np.unique(keys).tolist():
            second_of, phase_of = divmod(key, len(self._names))
            groups.append(((phase_of, second_of), keys == key))
        return groups

    def _count(self, into: _Bin, columns: Ints) -> None:
        intended, start, acquired, connected, sent, done, code = columns
        into.counts += np.bincount(code, minlength=len(CATEGORIES))
        response = done - intended
        degraded = code == CODE[DEGRADED]
        shed = code == CODE[SHED]
        ok = code == CODE[OK]
        answered = ok | degraded
        started = code != CODE[DROPPED]
        in_time = response <= self._deadline_ns
        into.late += int(np.count_nonzero(answered & ~in_time))
        into.good += int(np.count_nonzero(ok & in_time))
        into.observe("r", response[answered])
        into.observe("service", (done - sent)[answered])
        into.observe("lag", (start - intended)[started])
        for name, chosen in (
            ("degraded_r", degraded),
            ("shed_r", shed),
            ("failed_r", started & ~answered & ~shed),
        ):
            if chosen.any():
                into.observe(name, response[chosen])
        into.observe("pool", (acquired - start)[acquired > 0])
        opened = connected > 0
        if opened.any():
            into.observe("connect", (connected - acquired)[opened])
