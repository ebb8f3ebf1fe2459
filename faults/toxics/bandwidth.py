"""bandwidth: at most `rate` kB (of 1000 bytes) a second pass.

The line is one clock: the time at which it is free again. A chunk starts when it was read or when the line is
free, whichever is later, and leaves when its last byte would have crossed; chunks that take longer than 100 ms
are cut, so that a slow line trickles instead of jumping. An idle line saves up no credit. Rate 0 passes
nothing until the toxic is updated or removed.

Pieces keep the chunk's read time: time spent here counts towards a latency toxic further down, as it does
in Toxiproxy. Removal flushes at once; an update re-times what waits.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import ClassVar

from faults.model import Chunk
from faults.toxics.base import (
    KB_BYTES,
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

__all__ = ["Bandwidth", "BandwidthState"]


@dataclass(frozen=True, slots=True)
class BandwidthState:
    """The piece that crosses (with when it is over), the chunks behind it, and when the line is free."""

    crossing: Chunk | None = None
    due_ns: int | None = None
    waiting: Fifo[Chunk] = field(default_factory=Fifo)
    held_bytes: int = 0
    free_ns: int = 0
    ending: Ending | None = None


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """Limit to `rate` KB/s."""

    rate: int = 0

    kind: ClassVar[str] = "bandwidth"
    drops: ClassVar[bool] = False
    piece_ns: ClassVar[int] = 100 * MS_NS

    def problems(self) -> tuple[str, ...]:
        """Refuse a negative rate."""
        return ("rate must not be negative",) if self.rate < 0 else ()

    def start(self, rng: random.Random) -> BandwidthState:  # noqa: ARG002 - the protocol hands it to every toxic
        """The line is free."""
        return BandwidthState()

    def held_bytes(self, state: BandwidthState) -> int:
        """Bytes that wait or cross."""
        return state.held_bytes

    def step(
        self, state: BandwidthState, event: Event, now_ns: int
    ) -> tuple[BandwidthState, tuple[Effect, ...]]:
        """Queue data, let pieces out as they have crossed."""
        if isinstance(event, Data):
            chunk = event.chunk
            state = replace(
                state, waiting=state.waiting.push(chunk), held_bytes=state.held_bytes + len(chunk.data)
            )
            return self._run(state, now_ns) if state.crossing is None else (state, ())
        if isinstance(event, End):
            return self._run(replace(state, ending=event.ending), now_ns)
        if isinstance(event, Wake):
            return self._run(state, now_ns)
        if isinstance(event, Updated):
            return self._run(self._put_back(state, now_ns), now_ns)
        if isinstance(event, Detached):
            return self._flush(state)
        return state, ()

    def _run(self, state: BandwidthState, now_ns: int) -> tuple[BandwidthState, tuple[Effect, ...]]:
        effects: list[Effect] = []
        while True:
            if state.crossing is None:
                if not state.waiting or self.rate <= 0:
                    break
                state = self._next_piece(state)
            assert state.crossing is not None
            assert state.due_ns is not None
            if state.due_ns > now_ns:
                effects.append(WakeAt(state.due_ns))
                return state, tuple(effects)
            effects.append(Emit(state.crossing))
            state = replace(
                state, crossing=None, due_ns=None, held_bytes=state.held_bytes - len(state.crossing.data)
            )
        if not state.waiting and state.ending is not None:
            effects.append(Finish(state.ending))
        return state, tuple(effects)

    def _next_piece(self, state: BandwidthState) -> BandwidthState:
        chunk = state.waiting.peek()
        behind = state.waiting.pop()
        start_ns = max(self.free_ns(state), chunk.read_ns)
        most_bytes = max(1, self.rate * KB_BYTES * self.piece_ns // 1_000_000_000)
        if len(chunk.data) > most_bytes:
            rest = Chunk(chunk.data[most_bytes:], chunk.read_ns)
            chunk = Chunk(chunk.data[:most_bytes], chunk.read_ns)
            behind = Fifo((rest, behind.front), behind.rear)
        # bytes / (rate * 1000 bytes/s), rounded up so that the rate is never exceeded
        due_ns = start_ns - (-len(chunk.data) * MS_NS // self.rate)
        return self.reserve(replace(state, crossing=chunk, due_ns=due_ns, waiting=behind), due_ns)

    def free_ns(self, state: BandwidthState) -> int:
        """Return when the line is free."""
        return state.free_ns

    def reserve(self, state: BandwidthState, until_ns: int) -> BandwidthState:
        """Take the line until then."""
        return replace(state, free_ns=until_ns)

    def restart(self, state: BandwidthState, now_ns: int) -> BandwidthState:
        """Forget what was reserved: the rate is another."""
        return replace(state, free_ns=now_ns)

    def _put_back(self, state: BandwidthState, now_ns: int) -> BandwidthState:
        if state.crossing is not None:
            waiting = Fifo((state.crossing, state.waiting.front), state.waiting.rear)
            state = replace(state, crossing=None, due_ns=None, waiting=waiting)
        return self.restart(state, now_ns)

    def _flush(self, state: BandwidthState) -> tuple[BandwidthState, tuple[Effect, ...]]:
        effects: list[Effect] = [] if state.crossing is None else [Emit(state.crossing)]
        effects.extend(Emit(chunk) for chunk in state.waiting)
        if state.ending is not None:
            effects.append(Finish(state.ending))
        return replace(state, crossing=None, due_ns=None, waiting=Fifo(), held_bytes=0, ending=None), tuple(
            effects
        )
