"""timeout: nothing passes, and after `timeout` ms the connection is closed; 0 hangs until the toxic goes.

The time counts from when the toxic began to act on the connection, or from its last update: a peer that keeps
talking does not put the end off (in Toxiproxy 2.12 each dropped chunk starts the clock anew: `RestartingTimeout`, for compatible
mode).

Removal closes the connection: bytes were promised and dropped, so the stream cannot be resumed. An end of the
stream from the sender ends the connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from faults.toxics.base import Attached, Data, Detached, Effect, End, Ending, Event, Finish, Updated
from faults.toxics.countdown import Countdown, EndsLater

__all__ = ["RestartingTimeout", "Timeout"]


@dataclass(frozen=True, slots=True)
class Timeout(EndsLater):
    """Drop everything, close after `timeout` ms."""

    timeout: int = 0

    kind: ClassVar[str] = "timeout"
    drops: ClassVar[bool] = True
    delay_of: ClassVar[str] = "timeout"

    def step(self, state: Countdown, event: Event, now_ns: int) -> tuple[Countdown, tuple[Effect, ...]]:
        """Drop data; close when it is time, when the sender is done, or on removal."""
        if isinstance(event, Attached | Updated):
            return self.begin(Ending.CLOSE, now_ns) if self.timeout > 0 else (Countdown(), ())
        if isinstance(event, End):
            return state, (Finish(Ending.RESET if event.ending is Ending.RESET else Ending.CLOSE),)
        if isinstance(event, Detached):
            return state, (Finish(Ending.CLOSE),)
        return self.run_on(state, event, now_ns)


@dataclass(frozen=True, slots=True)
class RestartingTimeout(Timeout):
    """The same, but the clock starts anew with each dropped chunk."""

    def step(self, state: Countdown, event: Event, now_ns: int) -> tuple[Countdown, tuple[Effect, ...]]:
        """Start anew with data; otherwise as ever."""
        return Timeout.step(self, state, Attached() if isinstance(event, Data) else event, now_ns)
