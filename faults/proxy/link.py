"""One direction of a proxied connection: the direct path, the chain of toxics, and their effects carried out.

Theory of operation
    A `Link` takes bytes from its source side and writes them to its destination. Without an active toxic the
    source's sink is the destination transport's `write`. With one, the sink is `Link._feed`, which runs the pure
    chain and executes what comes out: write, end, wake, pause.

Ends
    fin    half-close of the destination; once both directions are over, both sockets close.
    close  the destination closes after what was written; the other direction is ended behind its data.
    reset  RST to both sides at once, by SO_LINGER 0.

Invariants
    - Removing the last toxic returns to the direct path only when nothing is held, so no byte is overtaken.
    - Nothing is written to a side that is lost, and a link whose destination is lost drops what it holds.
    - A link that is done has neither timer nor chain.

It deliberately does not know proxies, names, dialling or HTTP.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from faults.model import Chunk, Direction
from faults.proxy.sides import Hold, Side, discard
from faults.proxy.store import StoredToxic
from faults.toxics import chain as chains
from faults.toxics.base import Data, Emit, End, Ending, Finish, WakeAt

if TYPE_CHECKING:
    from faults.proxy.connection import Connection

__all__ = ["Link"]


class Link:
    """One direction of a connection, from `source` to `dest`."""

    def __init__(self, connection: Connection, direction: Direction, source: Side, dest: Side) -> None:
        self.connection = connection
        self.direction = direction
        self.source = source
        self.dest = dest
        self.ended = False  # the source said its last
        self.done = False  # the destination was told
        self.started = False  # both sides are there
        self.chain_in_bytes = 0
        self.chain_out_bytes = 0
        self._chain: chains.Chain | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def sent_bytes(self) -> int:
        """Bytes handed to the destination."""
        return self.source.received_bytes - self.chain_in_bytes + self.chain_out_bytes

    @property
    def held_bytes(self) -> int:
        """Bytes that toxics keep back."""
        return 0 if self._chain is None else self._chain.held_bytes

    @property
    def active_toxics(self) -> tuple[str, ...]:
        """Names of the toxics at work here."""
        return () if self._chain is None else tuple(stage.key for stage in self._chain.stages if stage.key)

    def start(self) -> None:
        """Let bytes through: both sides are there. What came early goes first."""
        self.started = True
        source = self.source
        source.sink = self._direct_sink() if self._chain is None else self._feed
        early, source.early = source.early, []
        for data in early:
            self._pass_on(data)
        if self.ended and not self.done:
            self._end_now(Ending.FIN)

    def _direct_sink(self) -> Callable[[bytes], object]:
        write = self.dest.transport.write
        observer = self.connection.observer
        if observer is None:
            return write
        direction = self.direction

        def observed(data: bytes) -> None:
            observer.data(direction, data)
            write(data)

        return observed

    # Toxics come and go

    def attach(self, stored: StoredToxic) -> None:
        """Put a toxic to work here if the dice say so; they are thrown once per link and toxic."""
        if self.done or self._is_active(stored.name):
            return
        rng = random.Random(f"{self.connection.seed}/{self.direction.value}/{stored.name}/{stored.order}")
        if rng.random() >= stored.toxicity:
            return
        now_ns = time.monotonic_ns()
        chain = self._chain or chains.Chain(self.connection.options.link_cap_bytes)
        if self.started:
            self.source.sink = self._feed
        self._apply(chains.attach(chain, stored.name, stored.order, stored.toxic, rng, now_ns))

    def change(self, stored: StoredToxic) -> None:
        """Follow an update. More toxicity adds links, less takes some away; no link flips back and forth."""
        if self.done:
            return
        if not self._is_active(stored.name):
            self.attach(stored)
            return
        assert self._chain is not None
        rng = random.Random(f"{self.connection.seed}/{self.direction.value}/{stored.name}/{stored.order}")
        if rng.random() >= stored.toxicity:
            self.detach(stored.name)
            return
        self._apply(chains.update(self._chain, stored.name, stored.toxic, time.monotonic_ns()))

    def detach(self, name: str) -> None:
        """Take a toxic away; back to the direct path once no stage is left."""
        if self.done or not self._is_active(name):
            return
        assert self._chain is not None
        self._apply(chains.detach(self._chain, name, time.monotonic_ns()))
        self._leave_empty_chain()

    def _leave_empty_chain(self) -> None:
        if self._chain is not None and not self._chain.stages:
            self._chain = None
            self._disarm()
            self.source.release(Hold.CHAIN)
            if self.started and not self.ended:
                self.source.sink = self._direct_sink()

    def _is_active(self, name: str) -> bool:
        return self._chain is not None and any(stage.key == name for stage in self._chain.stages)

    # Bytes and ends

    def _feed(self, data: bytes) -> None:
        observer = self.connection.observer
        if observer is not None:
            observer.data(self.direction, data)
        self._pass_on(data)

    def _pass_on(self, data: bytes) -> None:
        if self._chain is None:
            self.dest.transport.write(data)
            return
        self.chain_in_bytes += len(data)
        now_ns = time.monotonic_ns()
        self._apply(chains.feed(self._chain, Data(Chunk(data, now_ns)), now_ns))

    def end(self, ending: Ending) -> None:
        """The source said its last."""
        if self.ended:
            return
        self.ended = True
        observer = self.connection.observer
        if observer is not None:
            observer.ended(self.direction, ending)
        # Before the start only a half-close can wait; anything else ends the connection as a whole.
        if self.started and not self.done:
            self._end_now(ending)

    def _end_now(self, ending: Ending) -> None:
        if self._chain is None:
            self._finish(ending)
        else:
            self._apply(chains.feed(self._chain, End(ending), time.monotonic_ns()))

    def drop(self) -> None:
        """The destination is gone: forget what was held for it."""
        self.done = True
        self.source.sink = discard
        self._disarm()
        self._set_chain(None)
        self.connection.options.budget.forget(self)

    def _apply(self, step: tuple[chains.Chain, tuple[chains.Output, ...]]) -> None:
        """Execute what a chain asked for."""
        chain, outputs = step
        self._set_chain(chain)
        dest = self.dest
        for output in outputs:
            if isinstance(output, Emit):
                if not dest.lost:
                    self.chain_out_bytes += len(output.chunk.data)
                    dest.transport.write(output.chunk.data)
            elif isinstance(output, WakeAt):
                self._arm(output.at_ns)
            elif isinstance(output, Finish):
                self._finish(output.ending)
                return
            elif isinstance(output, chains.Pause):
                self.source.hold(Hold.CHAIN)
            else:
                self.source.release(Hold.CHAIN)

    def _set_chain(self, chain: chains.Chain | None) -> None:
        before_bytes = self.held_bytes
        self._chain = chain
        delta_bytes = self.held_bytes - before_bytes
        if delta_bytes:
            self.connection.options.budget.change(self, delta_bytes)

    def _finish(self, ending: Ending) -> None:
        self.drop()
        if ending is Ending.RESET:
            self.connection.reset()
            return
        other = self.connection.other(self)
        if ending is Ending.FIN:
            self.dest.half_close()
        else:
            self.source.hold(Hold.OVER)
            self.dest.close()
            other.end(Ending.CLOSE)
        if other.done:
            self.connection.close()

    def _arm(self, at_ns: int) -> None:
        self._disarm()
        # Rounded up to whole milliseconds, the loop's own grain: an alarm never rings early for nothing.
        delay_ms = max(0, -((time.monotonic_ns() - at_ns) // 1_000_000))
        self._timer = self.connection.loop.call_later(delay_ms / 1000, self._ring)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        if self._chain is None:
            return
        self._apply(chains.wake(self._chain, time.monotonic_ns()))
        self._keep_armed()

    def _keep_armed(self) -> None:
        """Set the alarm again where the timer rang too early for it."""
        if self._timer is None and self._chain is not None and self._chain.alarm_ns is not None:
            self._arm(self._chain.alarm_ns)

    def hold_for_budget(self) -> None:
        """Stop reading: the process holds enough."""
        self.source.hold(Hold.BUDGET)

    def release_for_budget(self) -> None:
        """Read again."""
        self.source.release(Hold.BUDGET)
