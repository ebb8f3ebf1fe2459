"""corrupt: of a million bytes that pass, about `per_million` arrive with one bit flipped.

Beyond Toxiproxy. Lengths and timing are untouched. The distance to the next corrupted byte is drawn from the geometric
distribution, so a chunk without damage costs nothing, and the split into chunks does not change which bytes are hit.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from typing import ClassVar

from faults.model import Chunk
from faults.toxics.base import Data, Did, Effect, Emit, End, Event, Finish, Updated

__all__ = ["Corrupt", "CorruptState"]


@dataclass(frozen=True, slots=True)
class CorruptState:
    """How many sound bytes there are before the next bad one; None before that was drawn."""

    rng: random.Random
    sound_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Corrupt:
    """Flip a bit in `per_million` of a million bytes."""

    per_million: int = 0

    kind: ClassVar[str] = "corrupt"
    drops: ClassVar[bool] = True  # what arrives is not what was sent

    def problems(self) -> tuple[str, ...]:
        """Refuse what is not a share of a million."""
        return () if 0 <= self.per_million <= 1_000_000 else ("per_million must be between 0 and 1000000",)

    def start(self, rng: random.Random) -> CorruptState:
        """The first distance is drawn with the first data."""
        return CorruptState(rng)

    def held_bytes(self, state: CorruptState) -> int:  # noqa: ARG002 - the protocol hands it to every toxic
        """Data is never held."""
        return 0

    def step(self, state: CorruptState, event: Event, now_ns: int) -> tuple[CorruptState, tuple[Effect, ...]]:  # noqa: ARG002 - as above
        """Damage some of the bytes."""
        if isinstance(event, Updated):
            return replace(state, sound_bytes=None), ()
        if isinstance(event, End):
            return state, (Finish(event.ending),)
        if not isinstance(event, Data):
            return state, ()
        if self.per_million <= 0:
            return state, (Emit(event.chunk),)
        sound_bytes = self._distance(state.rng) if state.sound_bytes is None else state.sound_bytes
        data = event.chunk.data
        at = sound_bytes
        if at >= len(data):
            return replace(state, sound_bytes=at - len(data)), (Emit(event.chunk),)
        damaged, hits = bytearray(data), 0
        while at < len(damaged):
            damaged[at] ^= 1 << state.rng.randrange(8)
            hits += 1
            at += 1 + self._distance(state.rng)
        did = Did("corrupted", {"bytes": hits})
        return replace(state, sound_bytes=at - len(data)), (
            Emit(Chunk(bytes(damaged), event.chunk.read_ns)),
            did,
        )

    def _distance(self, rng: random.Random) -> int:
        """Draw how many sound bytes lie before the next bad one: P(k) = (1-p)^k p."""
        share = self.per_million / 1_000_000
        if share >= 1:
            return 0
        return int(math.log(1.0 - rng.random()) / math.log1p(-share))
