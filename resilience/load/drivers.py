"""What a driver is, and which there are: one module each, one line in `make_driver`'s table.

A driver starts operations when its pacer tells it to, and leaves what became of them with its recorder, each exactly once. It
never queues an arrival and never retries.
"""

from collections.abc import Callable
from typing import Protocol

from resilience.load.http_driver import HttpDriver
from resilience.load.model import Stream
from resilience.load.recorder import Recorder


class Driver(Protocol):
    """What a pacer and a worker ask of a driver. Times are ns of CLOCK_MONOTONIC."""

    next_due: int
    pump: Callable[[], None]
    done: Callable[[int, int], None] | None

    async def prepare(self) -> int:
        """Open connections beforehand; how many are open. Never raises because the target is down."""

    async def top_up(self) -> None:
        """Bring the open connections back to what the plan wants beforehand."""

    def issue(self, i: int, intended: int) -> None:
        """Start operation i, due at `intended`, now; or drop it at the in-flight cap."""

    def expire(self, now: int) -> None:
        """End operations that are past their time-out."""

    def give_up(self, now: int) -> None:
        """End everything under way as unfinished."""

    async def close(self) -> None:
        """Leave no task and no socket."""

    @property
    def under_way(self) -> int:
        """How many operations are in flight."""


def make_driver(stream: Stream, recorder: Recorder, *, stripe: int, stripes: int, run_id: str) -> Driver:
    """The driver that a stream's request asks for."""
    return HttpDriver(stream, recorder, stripe=stripe, stripes=stripes, run_id=run_id)
