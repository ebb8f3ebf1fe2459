"""latency: every chunk leaves a given time after it was read.

The delay counts from the chunk's own read time, and many chunks wait side by side: pipelined data is not
serialised, and bandwidth is not cut (a toxic that sleeps once per chunk does both). Each chunk's delay is
drawn uniformly from [latency - jitter, latency + jitter) ms, negative is zero; a chunk never overtakes the one
before it. The end of the stream waits for the data before it, and for nothing else.

A chunk is handed on with its release time as the time from which later delays count, so two latency toxics
add, and the lateness of a timer does not.

Removal flushes at once. An update gives the chunks that wait a new delay, counted from when they were read.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import ClassVar

from faults.model import Chunk
from faults.toxics.base import (
    MS_NS,
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

__all__ = ["Latency", "LatencyState"]


@dataclass(frozen=True, slots=True)
class _Waiting:
    due_ns: int
    chunk: Chunk


@dataclass(frozen=True, slots=True)
class LatencyState:
    """Chunks that wait, in order, with when each is due; `last_due_ns` keeps the order under jitter."""

    rng: random.Random
    waiting: Fifo[_Waiting] = field(default_factory=Fifo)
    held_bytes: int = 0
    last_due_ns: int = 0
    ending: Ending | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """Delay by `latency` ms, give or take `jitter` ms."""

    latency: int = 0
    jitter: int = 0

    kind: ClassVar[str] = "latency"
    drops: ClassVar[bool] = False

    def problems(self) -> tuple[str, ...]:
        """Refuse negative times."""
        return tuple(
            f"{name} must not be negative" for name in ("latency", "jitter") if getattr(self, name) < 0
        )

    def start(self, rng: random.Random) -> LatencyState:
        """Nothing waits."""
        return LatencyState(rng)

    def held_bytes(self, state: LatencyState) -> int:
        """Bytes of the chunks that wait."""
        return state.held_bytes

    def step(self, state: LatencyState, event: Event, now_ns: int) -> tuple[LatencyState, tuple[Effect, ...]]:
        """Queue data, release what is due."""
        if isinstance(event, Data):
            first = not state.waiting
            state = self._queue(state, event.chunk)
            return self._release(state, now_ns) if first else (state, ())
        if isinstance(event, End):
            return self._release(replace(state, ending=event.ending), now_ns)
        if isinstance(event, Wake):
            return self._release(state, now_ns)
        if isinstance(event, Updated):
            again = replace(state, waiting=Fifo(), held_bytes=0, last_due_ns=0)
            for waiting in state.waiting:
                again = self._queue(again, waiting.chunk)
            return self._release(again, now_ns)
        if isinstance(event, Detached):
            return self._release(state, now_ns, everything=True)
        return state, ()

    def _delay_ns(self, rng: random.Random) -> int:
        delay_ns = self.latency * MS_NS
        if self.jitter > 0:
            delay_ns += rng.randrange(-self.jitter * MS_NS, self.jitter * MS_NS)
        return max(0, delay_ns)

    def _queue(self, state: LatencyState, chunk: Chunk) -> LatencyState:
        due_ns = max(state.last_due_ns, chunk.read_ns + self._delay_ns(state.rng))
        return replace(
            state,
            waiting=state.waiting.push(_Waiting(due_ns, chunk)),
            held_bytes=state.held_bytes + len(chunk.data),
            last_due_ns=due_ns,
        )

    def _release(
        self, state: LatencyState, now_ns: int, *, everything: bool = False
    ) -> tuple[LatencyState, tuple[Effect, ...]]:
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
        return replace(state, waiting=waiting, held_bytes=held_bytes), tuple(effects)
