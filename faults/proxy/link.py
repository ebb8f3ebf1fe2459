"""One direction of a proxied connection: the direct path, the chain of toxics, and their effects carried out.

Theory of operation
    A `Link` takes bytes from its source side and writes them to its destination. Without an active toxic the
    source's sink is the destination transport's `write`. With one, the sink is `Link._feed`, which runs the pure
    chain and executes what comes out: write, end, wake, pause, answer. A toxic of the other direction that watches
    this one needs the same sink.

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

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from faults.model import Chunk, Direction, JSONScalar
from faults.proxy.alarms import Alarm
from faults.proxy.sides import Hold, Side, discard
from faults.proxy.store import StoredToxic
from faults.toxics import chain as chains
from faults.toxics.base import Data, Emit, End, Ending, Finish, Reply, WakeAt

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
        self.injected_bytes = 0
        self._counted_bytes = 0
        self._chain: chains.Chain | None = None
        self._alarm: Alarm | None = None

    @property
    def sent_bytes(self) -> int:
        """Bytes handed to the destination."""
        taken_bytes = self.source.received_bytes + self.injected_bytes
        return taken_bytes - self.chain_in_bytes + self.chain_out_bytes

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
        self.choose_sink()
        early, source.early = source.early, []
        for data in early:
            self._pass_on(data)
            self._show_other(data)
        if self.ended and not self.done:
            self._end_now(Ending.FIN)

    @property
    def watches(self) -> bool:
        """Whether a toxic here is to be told what passes in the other direction."""
        return self._chain is not None and self._chain.watches

    def choose_sink(self) -> None:
        """Let the source write straight to the destination, unless toxics act here or watch from the other side."""
        if self.started and not self.ended and not self.done:
            is_direct = self._chain is None and not self.connection.other(self).watches
            self.source.sink = self._direct_sink() if is_direct else self._feed

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
        rng = self.connection.dice(stored)
        if rng.random() >= stored.toxicity:
            self._note(stored.name, "spared")
            return
        now_ns = time.monotonic_ns()
        chain = self._chain or chains.Chain(self.connection.options.link_cap_bytes)
        if self._chain is None and self.started:
            self.source.sink = self._feed
        self._note(stored.name, "attached")
        self._apply(
            chains.attach(
                chain,
                stored.name,
                stored.order,
                stored.toxic,
                rng,
                now_ns,
                added_ns=stored.added_ns,
                shared=self.connection.options.shared_of(stored),
            )
        )
        self._follow_watching()

    def change(self, stored: StoredToxic) -> None:
        """Follow an update. More toxicity adds links, less takes some away; no link flips back and forth."""
        if self.done:
            return
        if not self._is_active(stored.name):
            self.attach(stored)
            return
        assert self._chain is not None
        rng = self.connection.dice(stored)
        if rng.random() >= stored.toxicity:
            self.detach(stored.name)
            return
        self._apply(chains.update(self._chain, stored.name, stored.toxic, time.monotonic_ns()))

    def detach(self, name: str) -> None:
        """Take a toxic away; back to the direct path once no stage is left."""
        if self.done or not self._is_active(name):
            return
        assert self._chain is not None
        self._note_sums("detached", name)
        self._apply(chains.detach(self._chain, name, time.monotonic_ns()))
        self._leave_empty_chain()
        self._follow_watching()

    def _leave_empty_chain(self) -> None:
        if self._chain is not None and not self._chain.stages:
            self._chain = None
            self._disarm()
            self.source.release(Hold.CHAIN)
            self.choose_sink()

    def _follow_watching(self) -> None:
        """Let the other direction show its bytes, or no longer."""
        self.connection.other(self).choose_sink()

    def _is_active(self, name: str) -> bool:
        return self._chain is not None and any(stage.key == name for stage in self._chain.stages)

    # Bytes and ends

    def _feed(self, data: bytes) -> None:
        observer = self.connection.observer
        if observer is not None:
            observer.data(self.direction, data)
        self._pass_on(data)
        self._show_other(data)

    def _show_other(self, data: bytes) -> None:
        other = self.connection.other(self)
        if other.watches and not other.done:
            assert other._chain is not None  # noqa: SLF001 - the same class
            other._apply(chains.seen(other._chain, data, time.monotonic_ns()))  # noqa: SLF001 - the same class

    def inject(self, data: bytes) -> None:
        """Let bytes in that the source did not send: a toxic's answer."""
        if self.started and not self.done and not self.ended:
            self.injected_bytes += len(data)
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
        if not self.done:
            for name in self.active_toxics:
                self._note_sums("over", name)
        self.done = True
        self.source.sink = discard
        self._disarm()
        self._set_chain(None)
        self.connection.options.budget.forget(self)

    def _apply(self, step: tuple[chains.Chain, tuple[chains.Output, ...]]) -> None:
        """Execute what a chain asked for."""
        chain, outputs = step
        self._chain = chain
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
            elif isinstance(output, Reply):
                self.connection.other(self).inject(output.data)
            elif isinstance(output, chains.Noted):
                self._note(output.key, output.did.what, output.did.detail)
            elif isinstance(output, chains.Pause):
                self.source.hold(Hold.CHAIN)
            else:
                self.source.release(Hold.CHAIN)
        self._count()

    def _set_chain(self, chain: chains.Chain | None) -> None:
        self._chain = chain
        self._count()

    def _count(self) -> None:
        """Tell the budget what is held: in the chain, and behind it for a destination that does not keep up."""
        now_bytes = 0
        if self._chain is not None:
            now_bytes = self._chain.held_bytes + self.dest.backlog_bytes
        before_bytes, self._counted_bytes = self._counted_bytes, now_bytes
        if now_bytes != before_bytes:
            self.connection.options.budget.change(self, before_bytes, now_bytes)

    def drained(self) -> None:
        """The destination keeps up again."""
        self._count()

    def _finish(self, ending: Ending) -> None:
        self.drop()
        if ending is Ending.RESET and not self.connection.options.quirks.lingers_from_start:
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
        self._alarm = self.connection.options.alarms.set(at_ns, self._ring)

    def _disarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _ring(self) -> None:
        self._alarm = None
        if self._chain is not None:
            self._apply(chains.wake(self._chain, time.monotonic_ns()))

    def _note(self, toxic: str, did: str, detail: Mapping[str, JSONScalar] | None = None) -> None:
        log = self.connection.options.log
        if log is not None:
            log.note(self.connection.number, self.direction, toxic, did, detail)

    def _note_sums(self, did: str, name: str) -> None:
        if self.connection.options.log is None or self._chain is None:
            return
        for stage in self._chain.stages:
            if stage.key == name:
                held_bytes = stage.toxic.held_bytes(stage.state)
                sums = {"in_bytes": stage.in_bytes, "out_bytes": stage.out_bytes, "held_bytes": held_bytes}
                self._note(name, did, sums)

    def hold_for_budget(self) -> None:
        """Stop reading: the process holds enough."""
        self.source.hold(Hold.BUDGET)

    def release_for_budget(self) -> None:
        """Read again."""
        self.source.release(Hold.BUDGET)
