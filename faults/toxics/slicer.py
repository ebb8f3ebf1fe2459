"""slicer: cuts chunks into pieces of about `average_size` bytes, `delay` microseconds apart.

A chunk is halved, each cut moved by up to `size_variation` bytes, until the parts are small enough. The first
piece leaves at once; after each piece, the last one too, `delay` passes before the next. The schedule counts
from when each piece was due, so timers coarser than `delay` cost no throughput. Pieces keep the chunk's read time. `average_size` below 1 slices nothing (Toxiproxy 2.12 overflows its stack there; the server
refuses it unless told to be compatible). Removal flushes at once.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

from faults.model import Chunk
from faults.toxics.base import (
    US_NS,
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
from faults.toxics.fifo import Fifo

__all__ = ["Slicer", "SlicerState"]


@dataclass(frozen=True, slots=True)
class SlicerState:
    """Pieces that wait, and the earliest time at which the next may leave."""

    rng: random.Random
    waiting: Fifo[Chunk] = field(default_factory=Fifo)
    held_bytes: int = 0
    next_ns: int = 0
    ending: Ending | None = None


@dataclass(frozen=True, slots=True)
class Slicer:
    """Cut into `average_size` +- `size_variation` bytes, `delay` microseconds apart."""

    average_size: int = 0
    size_variation: int = 0
    delay: int = 0

    kind: ClassVar[str] = "slicer"
    drops: ClassVar[bool] = False

    def problems(self) -> tuple[str, ...]:
        """Refuse what cannot be cut."""
        found = []
        if self.average_size < 1:
            found.append("average_size must be at least 1")
        if not 0 <= self.size_variation <= max(0, self.average_size):
            found.append("size_variation must be between 0 and average_size")
        if self.delay < 0:
            found.append("delay must not be negative")
        return tuple(found)

    def start(self, rng: random.Random) -> SlicerState:
        """Nothing waits."""
        return SlicerState(rng)

    def held_bytes(self, state: SlicerState) -> int:
        """Bytes of the pieces that wait."""
        return state.held_bytes

    def step(self, state: SlicerState, event: Event, now_ns: int) -> tuple[SlicerState, tuple[Effect, ...]]:
        """Cut what comes, let pieces out one by one."""
        if isinstance(event, Data):
            waiting = state.waiting
            for piece in self._cut(event.chunk, state.rng):
                waiting = waiting.push(piece)
            idle = not state.waiting
            held_bytes = state.held_bytes + len(event.chunk.data)
            # A pause saves up no credit: after it the schedule starts over.
            next_ns = max(state.next_ns, now_ns) if idle else state.next_ns
            state = replace(state, waiting=waiting, held_bytes=held_bytes, next_ns=next_ns)
            return self._release(state, now_ns) if idle else (state, ())
        if isinstance(event, End):
            return self._release(replace(state, ending=event.ending), now_ns)
        if isinstance(event, Wake | Updated):
            return self._release(state, now_ns)
        if isinstance(event, Detached):
            effects: list[Effect] = [Emit(piece) for piece in state.waiting]
            if state.ending is not None:
                effects.append(Finish(state.ending))
            return SlicerState(state.rng), tuple(effects)
        return state, ()

    def _cut(self, chunk: Chunk, rng: random.Random) -> Iterator[Chunk]:
        if self.average_size < 1:
            yield chunk
            return
        pending = [(0, len(chunk.data))]
        while pending:
            start, end = pending.pop()
            if end - start - self.average_size <= self.size_variation:
                yield Chunk(chunk.data[start:end], chunk.read_ns)
                continue
            middle = start + (end - start) // 2
            if self.size_variation > 0:
                middle += rng.randrange(-self.size_variation, self.size_variation)
            # Both parts have at least one byte, whatever the variation: the cutting always ends.
            middle = min(max(middle, start + 1), end - 1)
            pending.append((middle, end))
            pending.append((start, middle))

    def _release(self, state: SlicerState, now_ns: int) -> tuple[SlicerState, tuple[Effect, ...]]:
        waiting, held_bytes, next_ns = state.waiting, state.held_bytes, state.next_ns
        effects: list[Effect] = []
        while waiting and next_ns <= now_ns:
            piece = waiting.peek()
            effects.append(Emit(piece))
            held_bytes -= len(piece.data)
            waiting = waiting.pop()
            next_ns += max(0, self.delay) * US_NS
        if waiting:
            effects.append(WakeAt(next_ns))
        elif state.ending is not None:
            effects.append(Finish(state.ending))
        return replace(state, waiting=waiting, held_bytes=held_bytes, next_ns=next_ns), tuple(effects)
