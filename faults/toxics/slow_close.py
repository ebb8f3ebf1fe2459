"""slow_close: the end of the stream arrives late; data is not touched.

The delay counts from the end's arrival here. Removal lets a waiting end through at once; an update moves it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from faults.toxics.base import (
    MS_NS,
    Data,
    Detached,
    Effect,
    Emit,
    End,
    Ending,
    Event,
    Finish,
    Updated,
    Wake,
    WakeAt,
)

__all__ = ["SlowClose", "SlowCloseState"]


@dataclass(frozen=True, slots=True)
class SlowCloseState:
    """The end that waits, and when it came; both None before it does."""

    ending: Ending | None = None
    came_ns: int = 0


@dataclass(frozen=True, slots=True)
class SlowClose:
    """Delay the end by `delay` ms."""

    delay: int = 0

    kind: ClassVar[str] = "slow_close"
    drops: ClassVar[bool] = False

    def problems(self) -> tuple[str, ...]:
        """Refuse a negative time."""
        return ("delay must not be negative",) if self.delay < 0 else ()

    def start(self, rng: random.Random) -> SlowCloseState:  # noqa: ARG002 - the protocol hands it to every toxic
        """No end yet."""
        return SlowCloseState()

    def held_bytes(self, state: SlowCloseState) -> int:  # noqa: ARG002 - as above
        """Data is never held."""
        return 0

    def step(
        self, state: SlowCloseState, event: Event, now_ns: int
    ) -> tuple[SlowCloseState, tuple[Effect, ...]]:
        """Pass data, keep the end."""
        if isinstance(event, Data):
            return state, (Emit(event.chunk),)
        if isinstance(event, End):
            return self._wait(SlowCloseState(event.ending, now_ns), now_ns)
        if state.ending is not None:
            if isinstance(event, Detached):
                return SlowCloseState(), (Finish(state.ending),)
            if isinstance(event, Wake | Updated):
                return self._wait(state, now_ns)
        return state, ()

    def _wait(self, state: SlowCloseState, now_ns: int) -> tuple[SlowCloseState, tuple[Effect, ...]]:
        assert state.ending is not None
        due_ns = state.came_ns + self.delay * MS_NS
        if due_ns > now_ns:
            return state, (WakeAt(due_ns),)
        return SlowCloseState(), (Finish(state.ending),)
