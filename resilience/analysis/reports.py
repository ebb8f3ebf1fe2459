"""The load workers' reports of a run, in bounded memory: what `samples/workers.jsonl` amounts to. Pure.

A worker reports once a second, so that an hour of two hundred workers has 720,000 reports. Of each second the operations in flight are
added up over the workers as the reports are read. The reports themselves are kept as they are while there are few; whenever there are
more than MOST, neighbours of the same worker and phase are joined, two into one: means stay means, extremes extremes, and none is
joined with one of another phase. A joined report says `n`, how many it stands for, `from_t`, when the first of them was made, and
`gap_ns`, the longest time between two of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from resilience.load.model import PhaseWindow

MOST: Final = 20_000
"""Reports kept of a run: some 20 MB."""
_SECOND_NS: Final = 1_000_000_000
_KEPT: Final = ("kind", "worker", "t", "cpu", "fds", "fd_limit")

Message = Mapping[str, Any]


class WorkerReports:
    """Takes the messages of the workers once, each worker's in their order."""

    def __init__(self, epoch_ns: int, phases: Sequence[PhaseWindow], most: int = MOST) -> None:
        self._epoch_ns = epoch_ns
        self._phases = phases
        self._most = most
        self._count = 0
        self._kept: dict[tuple[int, int], list[Message]] = defaultdict(list)
        """By worker and phase."""
        self._others: list[Message] = []
        self._in_flight: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))

    @classmethod
    def read(cls, messages: Iterable[Message], epoch_ns: int, phases: Sequence[PhaseWindow]) -> WorkerReports:
        """The reports of a whole record."""
        reports = cls(epoch_ns, phases)
        for message in messages:
            reports.add(message)
        return reports

    @property
    def messages(self) -> tuple[Message, ...]:
        """Reports, joined where there were too many, then everything else."""
        return (*(report for kept in self._kept.values() for report in kept), *self._others)

    @property
    def in_flight(self) -> dict[str, dict[int, float]]:
        """Operations in flight by load and second: each worker's sample of that second, added up."""
        return {load: dict(seconds) for load, seconds in self._in_flight.items()}

    def add(self, message: Message) -> None:
        """Take one line of the record."""
        if message.get("kind") != "worker":
            self._others.append(message)
            return
        if self._epoch_ns:
            second = (int(message["t"]) - self._epoch_ns) // _SECOND_NS
            for load, flying in message["in_flight"].items():
                self._in_flight[load][second] += flying
        middle_ns = int(message["t"]) - self._epoch_ns - _SECOND_NS // 2
        within = (place for place, of in enumerate(self._phases) if of.start_ns <= middle_ns < of.end_ns)
        slim = {key: message[key] for key in _KEPT if key in message}
        slim |= {
            "stall_ns": message.get("stall_ns", 0),
            "in_flight_mean": dict(message.get("in_flight_mean", {})),
        }
        self._kept[int(message["worker"]), next(within, -1)].append(slim)
        self._count += 1
        if self._count > self._most:
            self._kept = defaultdict(list, {key: _in_pairs(kept) for key, kept in self._kept.items()})
            self._count = sum(map(len, self._kept.values()))
            # There is at least one report a worker and phase, however many those are.
            self._most = max(self._most, 4 * len(self._kept))


def _in_pairs(reports: Sequence[Message]) -> list[Message]:
    """Neighbours joined, two into one; a last one without neighbour stays."""
    pairs = [joined(*reports[place : place + 2]) for place in range(0, len(reports) - 1, 2)]
    return pairs + list(reports[2 * len(pairs) :])


def joined(earlier: Message, later: Message) -> dict[str, Any]:
    """Two successive reports of a worker as one, each of which may stand for several."""
    n, m = int(earlier.get("n", 1)), int(later.get("n", 1))
    begins = later.get("from_t", later["t"])

    def mean(a: float, b: float) -> float:
        return (a * n + b * m) / (n + m)

    flying = earlier["in_flight_mean"]
    return {
        **later,
        "n": n + m,
        "from_t": earlier.get("from_t", earlier["t"]),
        "gap_ns": max(earlier.get("gap_ns", 0), later.get("gap_ns", 0), begins - earlier["t"]),
        "cpu": mean(earlier["cpu"], later["cpu"]),
        "in_flight_mean": {
            load: mean(flying.get(load, 0.0), of) for load, of in later["in_flight_mean"].items()
        },
        "fds": max(earlier["fds"], later["fds"]),
        "stall_ns": max(earlier["stall_ns"], later["stall_ns"]),
    }
