"""limit_data: exactly `bytes` bytes pass, then the connection is closed.

The count belongs to the connection: an update changes the limit, not what has passed, and closes at the next
chunk where the new limit is already used up. Nothing happens before the first data, even with a limit of 0.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import ClassVar

from faults.model import Chunk
from faults.toxics.base import Data, Effect, Emit, End, Ending, Event, Finish

__all__ = ["LimitData", "LimitDataState"]


@dataclass(frozen=True, slots=True)
class LimitDataState:
    """Bytes that have passed on this connection, and whether it was ended here."""

    passed_bytes: int = 0
    over: bool = False


@dataclass(frozen=True, slots=True)
class LimitData:
    """Pass `bytes` bytes, then close."""

    bytes: int = 0

    kind: ClassVar[str] = "limit_data"
    drops: ClassVar[bool] = True

    def problems(self) -> tuple[str, ...]:
        """Refuse a negative count."""
        return ("bytes must not be negative",) if self.bytes < 0 else ()

    def start(self, rng: random.Random) -> LimitDataState:  # noqa: ARG002 - the protocol hands it to every toxic
        """Nothing has passed."""
        return LimitDataState()

    def held_bytes(self, state: LimitDataState) -> int:  # noqa: ARG002 - as above
        """Data is never held."""
        return 0

    def step(
        self,
        state: LimitDataState,
        event: Event,
        now_ns: int,  # noqa: ARG002 - as above
    ) -> tuple[LimitDataState, tuple[Effect, ...]]:
        """Pass what is left of the allowance."""
        if state.over:
            return state, ()
        if isinstance(event, End):
            return replace(state, over=True), (Finish(event.ending),)
        if not isinstance(event, Data):
            return state, ()
        left_bytes = max(0, self.bytes - state.passed_bytes)
        data = event.chunk.data[:left_bytes]
        effects: tuple[Effect, ...] = (Emit(Chunk(data, event.chunk.read_ns)),) if data else ()
        state = replace(state, passed_bytes=state.passed_bytes + len(data))
        if len(data) >= left_bytes:
            return replace(state, over=True), (*effects, Finish(Ending.CLOSE))
        return state, effects
