"""One socket of a proxied connection: reading it, not reading it, and the ways of closing it.

A `Side` is the protocol of the client's socket or of the upstream's. Its `sink` is where data goes; without toxics
that *is* the other transport's `write`: no task, queue, timer or object per chunk.

Back-pressure is a set of reasons (`Hold`): the destination's buffer is full, the chain holds enough, the process
does, the upstream is not there yet, the stream is over, it is somebody else's turn. A side is read while there is none.

It deliberately does not decide anything: ends and losses are told to its link and its connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from collections.abc import Callable
from enum import IntFlag
from typing import Protocol, cast

from faults.model import Direction
from faults.proxy.turns import Turns
from faults.toxics.base import Ending

__all__ = ["Hold", "Observer", "Side", "SideLink", "SideOwner", "discard"]

_LINGER_RESET = struct.pack("ii", 1, 0)
_LINGER_S = 30.0  # how long a closed side may take to drain what was written to it
_WRITE_HIGH_BYTES = 256 * 1024
_EARLY_BYTES = 64 * 1024  # what is read from an observed client before its upstream is there


_FORGETS_EARLY_PAUSE = sys.hexversion < 0x030B0700
"""Whether asyncio's own transports start reading after `connection_made` even if that paused them: seen in 3.11.2, no more
in 3.11.7. Harmless where another event loop is used."""


class Hold(IntFlag):
    """Why a side is not read."""

    DIAL = 1
    DESTINATION = 2
    CHAIN = 4
    BUDGET = 8
    OVER = 16
    TURN = 32


class Observer(Protocol):
    """Sees what passes on one connection; called synchronously, must not raise."""

    def data(self, direction: Direction, data: bytes) -> None:
        """Bytes were read from the source of `direction`, and are about to be passed on."""

    def paused(self, direction: Direction) -> None:
        """From now on the source of `direction` is not read; what it sends meanwhile will come late."""

    def ended(self, direction: Direction, ending: Ending) -> None:
        """The source of `direction` said its last."""

    def refused(self) -> float:
        """The upstream could not be reached; return for how many seconds the client shall not be told yet."""

    def closed(self) -> None:
        """Both sides are gone."""


class SideLink(Protocol):
    """The link of which a side is the source."""

    direction: Direction

    def end(self, ending: Ending) -> None:
        """The source said its last."""

    def drained(self) -> None:
        """The destination keeps up again."""


class SideOwner(Protocol):
    """The connection to which a side belongs."""

    observer: Observer | None

    def side_made(self, side: Side) -> None:
        """The socket is there."""

    def side_finished(self, side: Side) -> None:
        """The socket will say no more, and may still be told something."""

    def side_lost(self, side: Side, exc: Exception | None) -> None:
        """The socket is gone."""

    def abort_later(self, delay_s: float) -> None:
        """Abort if what was written has not drained by then."""


def discard(_data: bytes) -> None:
    """Swallow what nobody will read."""


class Side(asyncio.Protocol):
    """One socket of a connection. `received_bytes` counts what was read from it."""

    __slots__ = (
        "_full",
        "_holds",
        "connection",
        "early",
        "link",
        "lost",
        "made",
        "peer",
        "received_bytes",
        "sink",
        "transport",
        "turns",
    )

    link: SideLink
    peer: Side
    transport: asyncio.Transport

    def __init__(self, connection: SideOwner, turns: Turns) -> None:
        self.connection = connection
        self.turns = turns
        self.received_bytes = 0
        self.sink: Callable[[bytes], object] = self._keep_early
        self.early: list[bytes] = []
        self.made = False  # the transport was there once
        self.lost = True  # until the transport is there, and after it is gone
        self._holds = Hold(0)
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket; it may already be too late for it."""
        self.transport = cast("asyncio.Transport", transport)
        self.made = True
        self.lost = False
        self.transport.set_write_buffer_limits(high=_WRITE_HIGH_BYTES)
        if self._holds:
            self.transport.pause_reading()
            if _FORGETS_EARLY_PAUSE:
                asyncio.get_running_loop().call_soon(self._pause_again)
        self.connection.side_made(self)

    def _pause_again(self) -> None:
        """Stop the reading that asyncio began although it was told not to."""
        if self._holds and not self.lost and not self.transport.is_closing():
            self.transport.resume_reading()  # only so that the pause is not taken for the one it has forgotten
            self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Pass data on: to the other socket, or into the chain."""
        size_bytes = len(data)
        self.received_bytes += size_bytes
        self.sink(data)
        turns = self.turns
        turns.left_bytes -= size_bytes
        if turns.left_bytes < 0:
            turns.exhausted(self)

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
        self.connection.side_finished(self)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """End what came from here, drop what was meant for here."""
        self.lost = True
        self.connection.side_lost(self, exc)

    def pause_writing(self) -> None:
        """Stop reading the other side: this one does not keep up."""
        self._full = True
        self.peer.hold(Hold.DESTINATION)

    def resume_writing(self) -> None:
        """Read the other side again."""
        self._full = False
        self.peer.release(Hold.DESTINATION)
        self.peer.link.drained()

    @property
    def backlog_bytes(self) -> int:
        """What was written and does not get away, while that is too much; otherwise 0."""
        return self.transport.get_write_buffer_size() if self._full and not self.lost else 0

    def hold(self, reason: Hold) -> None:
        """Stop reading for one more reason."""
        if not self._holds and not self.lost and not self.transport.is_closing():
            self.transport.pause_reading()
            if self.connection.observer is not None:
                self.connection.observer.paused(self.link.direction)
        self._holds |= reason

    def release(self, reason: Hold) -> None:
        """Read again, if this was the last reason not to."""
        if not self._holds & reason:
            return
        self._holds &= ~reason
        if not self._holds and not self.lost and not self.transport.is_closing():
            self.transport.resume_reading()

    def park(self) -> None:
        """Let others have their turn."""
        self.hold(Hold.TURN)

    def unpark(self) -> None:
        """It is this one's turn again."""
        self.release(Hold.TURN)

    def half_close(self) -> None:
        """Send FIN after what was written; a socket that is broken already is closed instead."""
        if self.lost or self.transport.is_closing():
            return
        try:
            self.transport.write_eof()
        except OSError:
            # asyncio shuts the socket down at once, and the peer's reset may be there unread.
            self.transport.abort()

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
        self.linger_not()
        self.transport.abort()

    def linger_not(self) -> None:
        """Make every close from now on a reset."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            # It may be on its way out already.
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
