"""noop: passes everything on. It marks a place, and is the smallest example of a toxic."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from faults.toxics.base import Data, Effect, Emit, End, Event, Finish

__all__ = ["Noop"]


@dataclass(frozen=True, slots=True)
class Noop:
    """Do nothing."""

    kind: ClassVar[str] = "noop"
    drops: ClassVar[bool] = False

    def problems(self) -> tuple[str, ...]:
        """There is nothing to get wrong."""
        return ()

    def start(self, rng: random.Random) -> None:
        """No state."""

    def step(self, state: None, event: Event, now_ns: int) -> tuple[None, tuple[Effect, ...]]:  # noqa: ARG002 - as above
        """Hand on what arrives."""
        if isinstance(event, Data):
            return state, (Emit(event.chunk),)
        if isinstance(event, End):
            return state, (Finish(event.ending),)
        return state, ()

    def held_bytes(self, state: None) -> int:  # noqa: ARG002 - as above
        """Nothing is ever held."""
        return 0
