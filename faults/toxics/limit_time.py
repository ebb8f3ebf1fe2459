"""limit_time: the connection is closed `time` ms after the toxic began to act on it; data passes until then.

Beyond Toxiproxy. An update counts from the same beginning; removal before the time is up leaves the connection alone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from faults.toxics.base import (
    MS_NS,
    Attached,
    Data,
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

__all__ = ["LimitTime", "LimitTimeState"]


@dataclass(frozen=True, slots=True)
class LimitTimeState:
    """When the toxic began to act on this connection."""

    began_ns: int = 0


@dataclass(frozen=True, slots=True)
class LimitTime:
    """Close after `time` ms."""

    time: int = 0

    kind: ClassVar[str] = "limit_time"
    drops: ClassVar[bool] = True

    def problems(self) -> tuple[str, ...]:
        """Refuse a negative time."""
        return ("time must not be negative",) if self.time < 0 else ()

    def start(self, rng: random.Random) -> LimitTimeState:  # noqa: ARG002 - the protocol hands it to every toxic
        """The clock starts with Attached."""
        return LimitTimeState()

    def held_bytes(self, state: LimitTimeState) -> int:  # noqa: ARG002 - as above
        """Data is never held."""
        return 0

    def step(
        self, state: LimitTimeState, event: Event, now_ns: int
    ) -> tuple[LimitTimeState, tuple[Effect, ...]]:
        """Pass everything until the time is up."""
        if isinstance(event, Data):
            return state, (Emit(event.chunk),)
        if isinstance(event, End):
            return state, (Finish(event.ending),)
        if isinstance(event, Attached):
            state = LimitTimeState(now_ns)
        if isinstance(event, Attached | Updated | Wake):
            due_ns = state.began_ns + self.time * MS_NS
            return state, (WakeAt(due_ns),) if due_ns > now_ns else (Finish(Ending.CLOSE),)
        return state, ()
