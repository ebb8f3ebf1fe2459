"""One HTTP/1.1 connection: a bare protocol with a fast path for an answer that comes whole in one read.

Theory of operation. A connection carries one operation at a time. Its states:

    opening --connected--> busy or idle          idle --send--> busy --answer--> idle (kept) or closed
    busy --timed out, lost, garbage--> closed     idle --closed by the peer, or speaks unasked--> closed

An answer's head repeats itself: a server sends the same bytes for a second at a time. So the driver remembers what httptools
made of a head (its length with the body, category, status, instance), and an answer whose head is known and whose length fits
is complete without being parsed: one comparison with the latest head, or one look-up among those seen before, and one packed
row. Anything else goes through `ResponseReader`, which also teaches the memory. There is one grammar; the fast path only
remembers what it said.

Plain requests are written straight to the descriptor: the stamp `sent` is then the instant of the write, not of its queueing
for the end of the loop's turn, and a herd leaves in one go. What the kernel does not take goes through the transport.

What it deliberately does not do: pipeline, retry, or decide which operation comes next.
"""

import asyncio
import os
from time import monotonic_ns
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from resilience.load.http_response import ProtocolViolationError, ResponseReader
from resilience.load.tally import ROW
from resilience.metrics.outcomes import PROTOCOL, RESET

if TYPE_CHECKING:
    from resilience.load.http_driver import HttpDriver

_pack: Final = ROW.pack
_write: Final = os.write


class KnownHead(NamedTuple):
    """What a head that was seen before means: all that the fast path needs."""

    head: bytes
    """With the blank line, or a longer head that begins with it would be taken for it."""
    length: int
    """Bytes of the head."""
    whole: int
    """Bytes of the whole answer."""
    code: int
    outcome: str
    status: int
    instance: str | None


NOTHING_KNOWN: Final = KnownHead(b"", 0, -1, 0, "", 0, None)
"""Fits no answer."""


class HttpConnection(asyncio.Protocol):
    """One connection and the operation that it carries."""

    __slots__ = (
        "_driver",
        "_fast",
        "_fd",
        "_reader",
        "_transport",
        "acquired",
        "busy",
        "connected",
        "first",
        "i",
        "intended",
        "opening",
        "sent",
        "start",
        "usable",
    )

    def __init__(self, driver: "HttpDriver") -> None:
        self._driver = driver
        self._transport: asyncio.Transport | None = None
        self._fd = -1
        self._reader: ResponseReader | None = None
        self._fast = False
        self.opening: asyncio.Task[None] | None = None
        self.usable = False
        self.busy = False
        self.i = self.intended = self.start = self.acquired = self.connected = self.sent = self.first = 0

    def assign(self, i: int, intended: int, start: int) -> None:
        """Give it an operation, to be sent once it is connected."""
        self.i = i
        self.intended = intended
        self.start = self.acquired = start
        self.connected = self.sent = self.first = 0
        self.busy = True

    def ask(self, i: int, intended: int, request: bytes) -> None:
        """Give an open connection an operation and send its request: `assign` and `send` with one look at the clock."""
        self.i = i
        self.intended = intended
        self.connected = 0
        self.busy = self._fast = True
        self.start = self.acquired = self.sent = monotonic_ns()
        self._write(request)

    def send(self, request: bytes) -> None:
        """Send the request of the operation that waited for the connection."""
        self._fast = True
        self.sent = monotonic_ns()
        self._write(request)

    def _write(self, request: bytes) -> None:
        written = 0  # TLS goes through the transport
        if self._fd >= 0:
            try:
                written = _write(self._fd, request)
            except OSError:
                written = 0  # full, or lost: the transport finds out which, and tells `connection_lost`
        if written < len(request) and self._transport is not None:
            self._transport.write(request[written:])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is ready (for TLS: after the handshake)."""
        self._transport = cast("asyncio.Transport", transport)
        if transport.get_extra_info("ssl_object") is None:
            sock = transport.get_extra_info("socket")
            self._fd = sock.fileno() if sock is not None else -1
        self.usable = True
        self.connected = monotonic_ns()
        self._driver.opened(self)

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer; the fast path first."""
        now = monotonic_ns()
        if self._fast:
            driver = self._driver
            latest = driver.latest
            fits = len(data) == latest.whole and data[: latest.length] == latest.head
            known = latest if fits else driver.recall(data)
            if known is not None:
                self._fast = False
                self.busy = False
                driver.rows_append(
                    _pack(
                        self.intended, self.start, self.acquired, self.connected, self.sent, now, known.code
                    )
                )
                if driver.call is not None:
                    driver.call(
                        (
                            self.i,
                            self.intended,
                            self.start,
                            self.sent,
                            now,
                            now,
                            known.status,
                            known.outcome,
                            known.instance,
                        )
                    )
                del driver.in_flight[self]
                driver.idle_append(self)
                if driver.done is not None:
                    driver.done(self.i, now)
                if now >= driver.next_due:
                    driver.pump()
                return
        self._read_slowly(data, now)

    def _read_slowly(self, data: bytes, now: int) -> None:
        if not self.busy:
            self.close()  # it speaks unasked
            return
        reader = self._reader
        whole = reader is None
        if reader is None:
            self._fast = False
            self.first = now
            reader = self._reader = self._driver.new_reader()
        try:
            complete = reader.feed(data)
        except ProtocolViolationError:
            self._driver.fail(self, PROTOCOL, now)
            return
        if complete:
            if whole:
                self._driver.learn(data, reader)
            self._answered(reader, now)

    def _answered(self, reader: ResponseReader, now: int) -> None:
        self._reader = None
        unsent = self._transport is None or self._transport.get_write_buffer_size() > 0
        keep = reader.keep_alive and not reader.surplus and self.usable and not unsent
        self._driver.answered(self, reader, now, keep=keep)

    def eof_received(self) -> bool:
        """The peer will send no more: the end of an answer without a length, of an unfinished one, or of an idle time."""
        now = monotonic_ns()
        self.usable = False
        if self.busy:
            reader = self._reader
            if reader is not None and reader.close():
                self._answered(reader, now)
            else:
                self._driver.fail(self, RESET, now)
        return False

    def connection_lost(self, _exc: Exception | None) -> None:
        """The connection is gone; an operation that was on it has failed."""
        self.usable = False
        self._fd = -1
        self._transport = None
        if self.busy:
            self._driver.fail(self, RESET, monotonic_ns())
        self._driver.gone(self)

    def close(self) -> None:
        """Close at once, whatever is under way."""
        self.usable = False
        self.busy = False
        self._fast = False
        self._reader = None
        self._fd = -1
        if self._transport is not None:
            self._transport.abort()
        elif self.opening is not None:
            self.opening.cancel()
            self._driver.gone(self)
