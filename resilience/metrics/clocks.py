"""What a run's record says of the clocks of load workers elsewhere. Pure.

A cluster's workers leave `clock` messages: what stamps of that worker were corrected by, and the error that is left after it, an
interval that holds for the whole run (`resilience.load.cluster_clock`). The last one of each worker counts: errors only grow.
Workers of this machine leave none, since they share its clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

COARSE_NS: Final = 10_000_000
"""A clock that is known less well than this is worth a word: differences of that size cannot be told."""


@dataclass(frozen=True, slots=True)
class WorkerClock:
    """One worker's clock: `ahead_ns` of the runner's by as much as was corrected, plus something within `error_ns`."""

    worker: int
    name: str
    ahead_ns: int
    error_ns: tuple[int, int]
    jumps: int

    @property
    def width_ns(self) -> int:
        """How wide the error is."""
        return self.error_ns[1] - self.error_ns[0]

    def to_json(self) -> dict[str, Any]:
        """For verdict.json, in ms."""
        return {
            "name": self.name,
            "ahead_ms": round(self.ahead_ns / 1e6, 3),
            "error_ms": [round(end / 1e6, 3) for end in self.error_ns],
            "jumps": self.jumps,
        }

    def __str__(self) -> str:
        jumped = (
            f", and jumped {self.jumps} times" if self.jumps > 1 else ", and jumped" if self.jumps else ""
        )
        return f"the clock of worker {self.worker} ({self.name}) is known within {self.width_ns / 1e6:.1f} ms only{jumped}"


def worker_clocks(messages: Iterable[Mapping[str, Any]]) -> tuple[WorkerClock, ...]:
    """The clocks of all workers that left one, in the order of their numbers."""
    found: dict[int, WorkerClock] = {}
    for message in messages:
        if message.get("kind") == "clock":
            worker = int(message["worker"])
            least, most = message["error"]
            found[worker] = WorkerClock(
                worker, str(message.get("name", "")), message["shift_ns"], (least, most), message["jumps"]
            )
    return tuple(found[worker] for worker in sorted(found))


def clock_notes(clocks: Iterable[WorkerClock]) -> tuple[str, ...]:
    """What has to be said of them: one line for all, and one for each that is known badly."""
    known = list(clocks)
    if not known:
        return ()
    ahead = [clock.ahead_ns / 1e6 for clock in known]
    widest = max(clock.width_ns for clock in known) / 1e6
    line = (
        f"clocks of {len(known)} workers elsewhere: corrected by {min(ahead):.1f} to {max(ahead):.1f} ms, "
        f"known within {widest:.1f} ms"
    )
    return (line, *(str(clock) for clock in known if clock.width_ns > COARSE_NS))
