"""One connection through the proxy: two sides, two links, and the effects of toxics carried out.

Theory of operation
    A `Side` is the protocol of one socket (the client's or the upstream's). A `Link` is one direction: it takes
    bytes from its source side and writes them to its destination side. Without an active toxic the source's
    `sink` *is* the destination transport's `write`: no task, queue, timer or object per chunk. With one, the
    sink is `Link._feed`, which runs the pure chain and executes what comes out: write, end, wake, pause.

    Back-pressure is a set of reasons per side (`Hold`): the destination's buffer is full, the chain holds
    enough, the process does, the upstream is not there yet, the stream is over. A side is read while none holds.

Ends
    fin    half-close of the destination; once both directions are over, both sockets close.
    close  the destination closes after what was written; the other direction is ended behind its data.
    reset  RST to both sides at once, by SO_LINGER 0.
    A source that vanishes ends its link with reset (`pass_resets`) or close.

Invariants
    - Removing the last toxic returns to the direct path only when nothing is held, so no byte is overtaken.
    - Nothing is written to a side that is lost, and a link whose destination is lost drops what it holds.
    - After `Connection.abort` neither timer nor hold of it is left.

It deliberately does not know proxies, names, dialling or HTTP. Observers (the tap) see bytes; they never change them.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag
from typing import Protocol, cast

from faults.model import Chunk, Direction
from faults.proxy.held import DEFAULT_LINK_CAP_BYTES, HeldBudget
from faults.proxy.store import StoredToxic
from faults.toxics import chain as chains
from faults.toxics.base import Data, Emit, End, Ending, Finish, WakeAt

__all__ = ["Connection", "ConnectionOptions", "Hold", "Observer", "Side"]

_LINGER_RESET = struct.pack("ii", 1, 0)
_LINGER_S = 30.0  # how long a closed side may take to drain what was written to it
_WRITE_HIGH_BYTES = 256 * 1024
_EARLY_BYTES = 64 * 1024  # what is read from an observed client before its upstream is there


class Hold(IntFlag):
    """Why a side is not read."""

    DIAL = 1
    DESTINATION = 2
    CHAIN = 4
    BUDGET = 8
    OVER = 16


class Observer(Protocol):
    """Sees what passes on one connection; called synchronously, must not raise."""

    def data(self, direction: Direction, data: bytes) -> None:
        """Bytes were read from the source of `direction`, and are about to be passed on."""

    def ended(self, direction: Direction, ending: Ending) -> None:
        """The source of `direction` said its last."""

    def refused(self) -> float:
        """The upstream could not be reached; return for how many seconds the client shall not be told yet."""

    def closed(self) -> None:
        """Both sides are gone."""


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """What all connections of a listener share. `seed` is any text; equal seeds give equal dice."""

    budget: HeldBudget
    link_cap_bytes: int = DEFAULT_LINK_CAP_BYTES
    pass_resets: bool = True
    seed: str = "0"


def _discard(_data: bytes) -> None:
    """Swallow what nobody will read."""


class Side(asyncio.Protocol):
    """One socket of a connection. `received_bytes` counts what was read from it."""

    __slots__ = (
        "_holds",
        "connection",
        "early",
        "link",
        "lost",
        "peer",
        "received_bytes",
        "sink",
        "transport",
    )

    link: Link
    peer: Side
    transport: asyncio.Transport

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.received_bytes = 0
        self.sink: Callable[[bytes], object] = self._keep_early
        self.early: list[bytes] = []
        self.lost = True  # until the transport is there
        self._holds = Hold(0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket; it may already be too late for it."""
        self.transport = cast("asyncio.Transport", transport)
        self.lost = False
        self.transport.set_write_buffer_limits(high=_WRITE_HIGH_BYTES)
        if self._holds:
            self.transport.pause_reading()
        self.connection.side_made(self)

    def data_received(self, data: bytes) -> None:
        """Pass data on: to the other socket, or into the chain."""
        self.received_bytes += len(data)
        self.sink(data)

    def _keep_early(self, data: bytes) -> None:
        """Keep what came before there was anywhere to pass it.

        An observed client is read while its upstream is dialled, so that requests are seen when they arrive;
        and uvloop reads once even where reading was paused from the start.
        """
        self.early.append(data)
        observer = self.connection.observer
        if observer is not None:
            observer.data(self.link.direction, data)
        if observer is None or self.received_bytes > _EARLY_BYTES:
            self.hold(Hold.DIAL)
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        """End this direction only; the socket stays open for the other."""
        self.link.end(Ending.FIN)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """End what came from here, drop what was meant for here."""
        self.lost = True
        self.connection.side_lost(self, exc)

    def pause_writing(self) -> None:
        """Stop reading the other side: this one does not keep up."""
        self.peer.hold(Hold.DESTINATION)

    def resume_writing(self) -> None:
        """Read the other side again."""
        self.peer.release(Hold.DESTINATION)

    def hold(self, reason: Hold) -> None:
        """Stop reading for one more reason."""
        if not self._holds and not self.lost and not self.transport.is_closing():
            self.transport.pause_reading()
        self._holds |= reason

    def release(self, reason: Hold) -> None:
        """Read again, if this was the last reason not to."""
        if not self._holds & reason:
            return
        self._holds &= ~reason
        if not self._holds and not self.lost and not self.transport.is_closing():
            self.transport.resume_reading()

    def half_close(self) -> None:
        """Send FIN after what was written."""
        if not self.lost and not self.transport.is_closing():
            self.transport.write_eof()

    def close(self) -> None:
        """Close after what was written, or after `_LINGER_S`."""
        if self.lost or self.transport.is_closing():
            return
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self.connection.abort_later(_LINGER_S)

    def abort(self) -> None:
        """Close now."""
        if not self.lost:
            self.transport.abort()

    def reset(self) -> None:
        """Close now, with RST."""
        if self.lost:
            return
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            # It may be on its way out already.
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self.transport.abort()


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
        self.source.sink = _discard
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


class Connection:
    """A client's connection and, once dialled, the upstream's.

    `on_made` is called with the connection when the client is there (it must see to the dialling) and
    `toxics()` when the upstream is; `on_gone` when both are lost.
    """

    def __init__(
        self,
        number: int,
        options: ConnectionOptions,
        *,
        toxics: Callable[[], tuple[StoredToxic, ...]],
        on_made: Callable[[Connection], None],
        on_gone: Callable[[Connection], None],
        observer: Observer | None = None,
    ) -> None:
        self.number = number
        self.options = options
        self.seed = f"{options.seed}/{number}"
        self.observer = observer
        self.loop = asyncio.get_running_loop()
        self.opened_ns = time.monotonic_ns()
        self._toxics = toxics
        self._on_made = on_made
        self._on_gone = on_gone
        self._over = False
        self._is_gone = False
        self._linger: asyncio.TimerHandle | None = None
        self.client = Side(self)
        self.upstream = Side(self)
        self.up = Link(self, Direction.UPSTREAM, self.client, self.upstream)
        self.down = Link(self, Direction.DOWNSTREAM, self.upstream, self.client)
        self.client.peer, self.upstream.peer = self.upstream, self.client
        self.client.link, self.upstream.link = self.up, self.down
        if observer is None:
            self.client.hold(Hold.DIAL)

    @property
    def over(self) -> bool:
        """Whether it was aborted, reset or refused."""
        return self._over

    def link(self, direction: Direction) -> Link:
        """Return the link of that direction."""
        return self.up if direction is Direction.UPSTREAM else self.down

    def other(self, link: Link) -> Link:
        """Return the opposite direction."""
        return self.down if link is self.up else self.up

    def side_made(self, side: Side) -> None:
        """A socket is there: the client's starts the dialling, the upstream's starts the flow."""
        if self._over:
            side.abort()
        elif side is self.client:
            self._on_made(self)
        elif self.client.lost:
            side.abort()
        else:
            for stored in self._toxics():
                self.link(stored.direction).attach(stored)
            self.up.start()
            self.down.start()
            self.client.release(Hold.DIAL)

    def side_lost(self, side: Side, exc: Exception | None) -> None:
        """A socket is gone."""
        incoming, outgoing = side.peer.link, side.link
        incoming.drop()
        hard = exc is not None and self.options.pass_resets
        outgoing.end(Ending.RESET if hard else Ending.CLOSE)
        if side.peer.lost:
            self._gone()

    def refused(self) -> None:
        """The upstream could not be dialled: tell the client in the way that was chosen."""
        self._over = True
        delay_s = 0.0 if self.observer is None else self.observer.refused()
        if delay_s > 0:
            self._linger = self.loop.call_later(delay_s, self._tell_refused)
        else:
            self._tell_refused()

    def _tell_refused(self) -> None:
        if self.options.pass_resets:
            self.client.reset()
        else:
            self.client.close()
        if self.client.lost:
            self._gone()

    def close(self) -> None:
        """Close both sides after what was written to them."""
        self.client.close()
        self.upstream.close()

    def abort(self) -> None:
        """Close both sides now."""
        self._over = True
        self.client.abort()
        self.upstream.abort()

    def abort_later(self, delay_s: float) -> None:
        """Abort if what was written has not drained by then."""
        if self._linger is None:
            self._linger = self.loop.call_later(delay_s, self.abort)

    def reset(self) -> None:
        """Close both sides now, with RST."""
        self._over = True
        self.client.reset()
        self.upstream.reset()

    def _gone(self) -> None:
        self._over = True
        if self._is_gone:
            return
        self._is_gone = True
        self.up.drop()
        self.down.drop()
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self.observer is not None:
            self.observer.closed()
            self.observer = None
        self._on_gone(self)
