"""slow_close: the end of the stream arrives late; data is not touched.

The delay counts from the end's arrival here. Removal lets a waiting end through at once; an update moves it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from faults.toxics.base import Data, Detached, Effect, Emit, End, Event, Finish
from faults.toxics.countdown import Countdown, EndsLater

__all__ = ["SlowClose"]


@dataclass(frozen=True, slots=True)
class SlowClose(EndsLater):
    """Delay the end by `delay` ms."""

    delay: int = 0

    kind: ClassVar[str] = "slow_close"
    drops: ClassVar[bool] = False
    delay_of: ClassVar[str] = "delay"

    def step(self, state: Countdown, event: Event, now_ns: int) -> tuple[Countdown, tuple[Effect, ...]]:
        """Pass data, keep the end."""
        if isinstance(event, Data):
            return state, (Emit(event.chunk),)
        if isinstance(event, End):
            return self.begin(event.ending, now_ns)
        if isinstance(event, Detached) and state.began_ns is not None:
            return Countdown(), (Finish(state.ending),)
        return self.run_on(state, event, now_ns)
