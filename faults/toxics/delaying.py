"""What all latency toxics are: every chunk leaves a given time after it was read; how long is theirs to say.

The delay counts from the chunk's own read time, and many chunks wait side by side: pipelined data is not
serialised, and bandwidth is not cut (a toxic that sleeps once per chunk does both). A chunk never overtakes the
one before it. The end of the stream waits for the data before it, and for nothing else.

A chunk is handed on with its release time as the time from which later delays count, so two latency toxics
add, and the lateness of a timer does not.

Removal flushes at once. An update gives the chunks that wait a new delay, counted from when they were read.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import ClassVar

from faults.model import Chunk
from faults.toxics.base import (
    Attached,
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

__all__ = ["Delaying", "DelayingState"]


@dataclass(frozen=True, slots=True)
class _Waiting:
    due_ns: int
    chunk: Chunk


@dataclass(frozen=True, slots=True)
class DelayingState:
    """Chunks that wait, in order, with when each is due; `last_due_ns` keeps the order where delays vary.

    `added_ns` is when the toxic came to the proxy: waves count from it, so that all connections see the same wave.
    """

    rng: random.Random
    added_ns: int = 0
    waiting: Fifo[_Waiting] = field(default_factory=Fifo)
    held_bytes: int = 0
    last_due_ns: int = 0
    ending: Ending | None = None


class Delaying(ABC):
    """Base of the latency toxics: queueing and releasing. Subclasses are frozen dataclasses."""

    __slots__ = ()

    drops: ClassVar[bool] = False

    @abstractmethod
    def delay_ns(self, rng: random.Random, elapsed_ns: int) -> int:
        """Return the delay of a chunk that was read `elapsed_ns` after the toxic came; negative is zero."""

    def start(self, rng: random.Random) -> DelayingState:
        """Nothing waits."""
        return DelayingState(rng)

    def held_bytes(self, state: DelayingState) -> int:
        """Bytes of the chunks that wait."""
        return state.held_bytes

    def step(
        self, state: DelayingState, event: Event, now_ns: int
    ) -> tuple[DelayingState, tuple[Effect, ...]]:
        """Queue data, release what is due."""
        if isinstance(event, Data):
            first = not state.waiting
            state = self._queue(state, event.chunk)
            return self._release(state, now_ns) if first else (state, ())
        if isinstance(event, Wake):
            return self._release(state, now_ns)
        if isinstance(event, End):
            return self._release(replace(state, ending=event.ending), now_ns)
        if isinstance(event, Updated):
            again = replace(state, waiting=Fifo(), held_bytes=0, last_due_ns=0)
            for waiting in state.waiting:
                again = self._queue(again, waiting.chunk)
            return self._release(again, now_ns)
        if isinstance(event, Detached):
            return self._release(state, now_ns, everything=True)
        assert isinstance(event, Attached)
        return replace(state, added_ns=now_ns if event.added_ns is None else event.added_ns), ()

    def _queue(self, state: DelayingState, chunk: Chunk) -> DelayingState:
        delay_ns = max(0, self.delay_ns(state.rng, chunk.read_ns - state.added_ns))
        due_ns = max(state.last_due_ns, chunk.read_ns + delay_ns)
        return DelayingState(
            state.rng,
            state.added_ns,
            state.waiting.push(_Waiting(due_ns, chunk)),
            state.held_bytes + len(chunk.data),
            due_ns,
            state.ending,
        )

    def _release(
        self, state: DelayingState, now_ns: int, *, everything: bool = False
    ) -> tuple[DelayingState, tuple[Effect, ...]]:
        waiting = state.waiting
        held_bytes = state.held_bytes
        effects: list[Effect] = []
        while waiting and (everything or waiting.peek().due_ns <= now_ns):
            item = waiting.peek()
            # A flushed chunk was not delayed any longer than until now.
            effects.append(Emit(Chunk(item.chunk.data, min(item.due_ns, now_ns))))
            held_bytes -= len(item.chunk.data)
            waiting = waiting.pop()
        if waiting:
            effects.append(WakeAt(waiting.peek().due_ns))
        elif state.ending is not None:
            effects.append(Finish(state.ending))
        after = DelayingState(state.rng, state.added_ns, waiting, held_bytes, state.last_due_ns, state.ending)
        return after, tuple(effects)
