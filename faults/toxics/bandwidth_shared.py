"""bandwidth_shared: at most `rate` kB (of 1000 bytes) a second pass, over all connections of the proxy together.

Beyond Toxiproxy, whose bandwidth is per connection. The line is one clock that the connections share: each reserves the
time that its next piece takes, at the line's earliest free moment, and comes back for another when that has
crossed. Pieces take at most 20 ms, so busy connections share evenly. An idle line saves up no credit.

A connection that ends leaves the reservation of one piece unused. The first connection that hears of another rate
starts the line anew. Each direction (`stream`) has its line; so has each toxic.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import ClassVar

from faults.toxics.bandwidth import Bandwidth, BandwidthState
from faults.toxics.base import MS_NS

__all__ = ["BandwidthShared", "SharedLine", "SharedState"]


@dataclass(slots=True)
class SharedLine:
    """When the line is free again, and for which rate that was reckoned."""

    free_ns: int = 0
    rate: int = 0


@dataclass(frozen=True, slots=True)
class SharedState(BandwidthState):
    """What one connection has waiting for the line."""

    line: SharedLine = field(default_factory=SharedLine)


@dataclass(frozen=True, slots=True)
class BandwidthShared(Bandwidth):
    """Limit all connections together to `rate` KB/s."""

    kind: ClassVar[str] = "bandwidth_shared"
    piece_ns: ClassVar[int] = 20 * MS_NS

    def start(self, rng: random.Random) -> SharedState:  # noqa: ARG002 - the protocol hands it to every toxic
        """Alone on a line, until it joins another."""
        return SharedState(line=self.share())

    def share(self) -> SharedLine:
        """Make the line."""
        return SharedLine(rate=self.rate)

    def join(self, state: SharedState, shared: SharedLine) -> SharedState:
        """Use the line of all."""
        return replace(state, line=shared)

    def free_ns(self, state: BandwidthState) -> int:
        """Return when the line of all is free."""
        assert isinstance(state, SharedState)
        return state.line.free_ns

    def reserve(self, state: BandwidthState, until_ns: int) -> BandwidthState:
        """Take the line of all until then."""
        assert isinstance(state, SharedState)
        state.line.free_ns = until_ns
        return state

    def restart(self, state: BandwidthState, now_ns: int) -> BandwidthState:
        """Start the line anew, unless another connection already did so for this rate."""
        assert isinstance(state, SharedState)
        if state.line.rate != self.rate:
            state.line.rate, state.line.free_ns = self.rate, now_ns
        return state
