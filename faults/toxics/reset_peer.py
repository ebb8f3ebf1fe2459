"""reset_peer: `timeout` ms after the first data, or the end, the connection is reset (RST to both sides).

Data is dropped from then on; a connection on which nothing is said is left alone. Removal before the time is
up lets the connection live on if nothing was dropped, and resets it otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from faults.toxics.base import Data, Detached, Effect, End, Ending, Event, Finish
from faults.toxics.countdown import Countdown, EndsLater

__all__ = ["ResetPeer"]


@dataclass(frozen=True, slots=True)
class ResetPeer(EndsLater):
    """Reset `timeout` ms after the first data."""

    timeout: int = 0

    kind: ClassVar[str] = "reset_peer"
    drops: ClassVar[bool] = True
    delay_of: ClassVar[str] = "timeout"

    def step(self, state: Countdown, event: Event, now_ns: int) -> tuple[Countdown, tuple[Effect, ...]]:
        """Start the clock with the first data; reset when it is up."""
        if state.began_ns is None:
            return self.begin(Ending.RESET, now_ns) if isinstance(event, Data | End) else (state, ())
        if isinstance(event, Detached):
            return state, (Finish(Ending.RESET),)
        return self.run_on(state, event, now_ns)
