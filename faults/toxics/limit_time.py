"""limit_time: the connection is closed `time` ms after the toxic began to act on it; data passes until then.

Beyond Toxiproxy. An update counts from the same beginning; removal before the time is up leaves the connection alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from faults.toxics.base import Attached, Data, Effect, Emit, End, Ending, Event, Finish
from faults.toxics.countdown import Countdown, EndsLater

__all__ = ["LimitTime"]


@dataclass(frozen=True, slots=True)
class LimitTime(EndsLater):
    """Close after `time` ms."""

    time: int = 0

    kind: ClassVar[str] = "limit_time"
    drops: ClassVar[bool] = True
    delay_of: ClassVar[str] = "time"

    def step(self, state: Countdown, event: Event, now_ns: int) -> tuple[Countdown, tuple[Effect, ...]]:
        """Pass everything until the time is up."""
        if isinstance(event, Data):
            return state, (Emit(event.chunk),)
        if isinstance(event, End):
            return state, (Finish(event.ending),)
        if isinstance(event, Attached):
            return self.begin(Ending.CLOSE, now_ns)
        return self.run_on(state, event, now_ns)
