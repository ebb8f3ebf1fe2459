"""reset_peer: `timeout` ms after the first data, or the end, the connection is reset (RST to both sides).

Data is dropped from then on; a connection on which nothing is said is left alone. Removal before the time is
up lets the connection live on if nothing was dropped, and resets it otherwise.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import ClassVar

from faults.toxics.base import (
    MS_NS,
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

__all__ = ["ResetPeer", "ResetPeerState"]


@dataclass(frozen=True, slots=True)
class ResetPeerState:
    """When the first data came; None before that."""

    came_ns: int | None = None


@dataclass(frozen=True, slots=True)
class ResetPeer:
    """Reset `timeout` ms after the first data."""

    timeout: int = 0

    kind: ClassVar[str] = "reset_peer"
    drops: ClassVar[bool] = True

    def problems(self) -> tuple[str, ...]:
        """Refuse a negative time."""
        return ("timeout must not be negative",) if self.timeout < 0 else ()

    def start(self, rng: random.Random) -> ResetPeerState:  # noqa: ARG002 - the protocol hands it to every toxic
        """Nothing was said."""
        return ResetPeerState()

    def held_bytes(self, state: ResetPeerState) -> int:  # noqa: ARG002 - as above
        """Data is dropped, not held."""
        return 0

    def step(
        self, state: ResetPeerState, event: Event, now_ns: int
    ) -> tuple[ResetPeerState, tuple[Effect, ...]]:
        """Start the clock with the first data; reset when it is up."""
        if isinstance(event, Data | End) and state.came_ns is None:
            state = replace(state, came_ns=now_ns)
        elif not isinstance(event, Wake | Updated | Detached) or state.came_ns is None:
            return state, ()
        assert state.came_ns is not None
        due_ns = state.came_ns + self.timeout * MS_NS
        if due_ns <= now_ns or isinstance(event, Detached):
            return state, (Finish(Ending.RESET),)
        return state, (WakeAt(due_ns),)
