"""timeout: nothing passes, and after `timeout` ms the connection is closed; 0 hangs until the toxic goes.

The time counts from when the toxic began to act on the connection, or from its last update: a peer that keeps
talking does not put the end off (in Toxiproxy 2.12 each dropped chunk starts the clock anew: `RestartingTimeout`, for compatible
mode).

Removal closes the connection: bytes were promised and dropped, so the stream cannot be resumed. An end of the
stream from the sender ends the connection.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from faults.toxics.base import (
    MS_NS,
    Attached,
    Data,
    Detached,
    Effect,
    End,
    Ending,
    Event,
    Finish,
    Updated,
    Wake,
    WakeAt,
)

__all__ = ["RestartingTimeout", "Timeout", "TimeoutState"]


@dataclass(frozen=True, slots=True)
class TimeoutState:
    """When the connection is to be closed; None for never."""

    due_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Timeout:
    """Drop everything, close after `timeout` ms."""

    timeout: int = 0

    kind: ClassVar[str] = "timeout"
    drops: ClassVar[bool] = True

    def problems(self) -> tuple[str, ...]:
        """Refuse a negative time."""
        return ("timeout must not be negative",) if self.timeout < 0 else ()

    def start(self, rng: random.Random) -> TimeoutState:  # noqa: ARG002 - the protocol hands it to every toxic
        """The clock starts with Attached."""
        return TimeoutState()

    def held_bytes(self, state: TimeoutState) -> int:  # noqa: ARG002 - as above
        """Data is dropped, not held."""
        return 0

    def step(self, state: TimeoutState, event: Event, now_ns: int) -> tuple[TimeoutState, tuple[Effect, ...]]:
        """Drop data; close when it is time, when the sender is done, or on removal."""
        if isinstance(event, Attached | Updated):
            due_ns = now_ns + self.timeout * MS_NS if self.timeout > 0 else None
            return TimeoutState(due_ns), () if due_ns is None else (WakeAt(due_ns),)
        if isinstance(event, End):
            ending = Ending.RESET if event.ending is Ending.RESET else Ending.CLOSE
            return TimeoutState(), (Finish(ending),)
        is_due = isinstance(event, Wake) and state.due_ns is not None and state.due_ns <= now_ns
        if is_due or isinstance(event, Detached):
            return TimeoutState(), (Finish(Ending.CLOSE),)
        return state, ()


@dataclass(frozen=True, slots=True)
class RestartingTimeout(Timeout):
    """The same, but the clock starts anew with each dropped chunk."""

    def step(self, state: TimeoutState, event: Event, now_ns: int) -> tuple[TimeoutState, tuple[Effect, ...]]:
        """Start anew with data; otherwise as ever."""
        return Timeout.step(self, state, Attached() if isinstance(event, Data) else event, now_ns)
