"""One proxy at work: its listening socket, its connections, and how they are dialled.

Theory of operation
    `bind` makes the socket listen synchronously, so that the caller can decide, bind and record without an await
    between; `start` then attaches it to the loop. Each accepted client is dialled in a task of its own: a slow
    upstream stalls nobody else, and a dial ends after `dial_timeout_s`. `close` stops accepting and ends every
    connection at once, including those that are still being dialled.

    Toxics that are gates decide before that: a connection is reset instead of dialled, or, where every one would be,
    the listening socket is closed, so that clients are refused as by a dead server. The port is kept meanwhile by a
    second socket (`ports.Port`), bound and not listening, so that nobody takes it and healing cannot fail for that.

It deliberately does not know the HTTP API or other proxies; what toxics there are it is told by `set_toxics`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable

from faults.model import Direction
from faults.proxy.addresses import AddressError
from faults.proxy.connection import Connection, ConnectionOptions
from faults.proxy.dial import Dialler
from faults.proxy.ports import BACKLOG, Port
from faults.proxy.sides import Observer
from faults.proxy.store import StoredToxic
from faults.toxics.base import is_gate

__all__ = ["Listener"]

_RELISTEN_S = 0.1
_TURN_NS = 2_000_000  # how long connections are brought up to date before others get a turn
_log = logging.getLogger(__name__)


class Listener:
    """A bound proxy. `observe` makes an observer for each connection; None costs nothing."""

    def __init__(
        self,
        port: Port,
        sock: socket.socket,
        dialler: Dialler,
        options: ConnectionOptions,
        *,
        observe: Callable[[int], Observer] | None = None,
        on_gone: Callable[[Connection], None] | None = None,
    ) -> None:
        self._port = port
        self._sock: socket.socket | None = sock
        self._dialler = dialler
        self._options = options
        self._observe = observe
        self._on_gone = on_gone
        self._server: asyncio.Server | None = None
        self._toxics: tuple[StoredToxic, ...] = ()
        self._dials: dict[Connection, asyncio.Task[None]] = {}
        self._closed = False
        self._idle = asyncio.Event()
        self._accepted = 0
        self._base: dict[int, int] = {}  # by a gate's order: connections that had come before it
        self._tasks: set[asyncio.Task[None]] = set()
        self._stale: list[Connection] = []  # those that do not follow the toxics of now yet
        self._spread: asyncio.Task[None] | None = None
        self.address = port.address
        self.connections: set[Connection] = set()

    async def start(self) -> None:
        """Begin to accept."""
        sock = self._sock
        if sock is None or self._closed:
            return
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: self._accept().client, sock=sock, backlog=BACKLOG)
        if self._listens_on(sock):
            self._server = server
        else:
            server.close()

    def _listens_on(self, sock: socket.socket) -> bool:
        return self._sock is sock and not self._closed

    def close(self) -> None:
        """Stop accepting and end every connection, at once."""
        self._closed = True
        self._stop_listening()
        self._port.close()
        self._stale = []
        for task in list(self._dials.values()):
            task.cancel()
        for connection in list(self.connections):
            connection.abort()

    def _stop_listening(self) -> None:
        server, self._server, sock, self._sock = self._server, None, self._sock, None
        if server is not None:
            server.close()
        elif sock is not None:
            sock.close()

    def _listen_again(self) -> None:
        if self._sock is not None or self._closed or self._is_shut():
            return
        loop = asyncio.get_running_loop()
        try:
            self._sock = self._port.listen()
        except OSError as error:
            _log.error("cannot listen on %s again, trying on: %s", self.address, error)
            loop.call_later(_RELISTEN_S, self._listen_again)
            return
        task = loop.create_task(self.start())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def wait_closed(self) -> None:
        """Wait until every socket is gone and every dial has ended; call after `close`."""
        while self.connections or self._dials:
            self._idle.clear()
            await self._idle.wait()

    # Toxics

    def set_toxics(self, toxics: tuple[StoredToxic, ...]) -> None:
        """Make `toxics` what acts on every connection, those that are open included.

        New connections follow at once, open ones within `settled`: with thousands of them that takes longer than
        other clients of the API should wait.
        """
        self._toxics = toxics
        self._follow_gates()
        self._stale = list(self.connections)
        if self._spread is None and not self._follow_for_a_while():
            self._spread = asyncio.get_running_loop().create_task(self._follow_in_turns())
            self._spread.add_done_callback(self._followed)

    async def settled(self) -> None:
        """Wait until every open connection follows the toxics that were set last."""
        if self._spread is not None:
            await asyncio.wait([self._spread])

    def _follow_for_a_while(self) -> bool:
        """Bring connections up to date; False where some are left."""
        until_ns = time.monotonic_ns() + _TURN_NS
        while self._stale:
            self._stale.pop().follow(self._toxics)
            if time.monotonic_ns() > until_ns:
                break
        return not self._stale

    async def _follow_in_turns(self) -> None:
        while not self._follow_for_a_while():  # noqa: ASYNC110 - a turn for others, not a wait for something
            await asyncio.sleep(0)

    def _followed(self, _task: asyncio.Task[None]) -> None:
        self._spread = None

    def _follow_gates(self) -> None:
        orders = {toxic.order: self._accepted for toxic in self._toxics if is_gate(toxic.toxic)}
        self._base = {order: self._base.get(order, accepted) for order, accepted in orders.items()}
        for order in self._options.shared.keys() - {toxic.order for toxic in self._toxics}:
            del self._options.shared[order]
        if self._is_shut():
            self._stop_listening()
        else:
            self._listen_again()

    def _is_shut(self) -> bool:
        return any(
            is_gate(stored.toxic) and stored.toxicity >= 1 and stored.toxic.is_shut()
            for stored in self._toxics
        )

    def _is_refused(self, connection: Connection) -> bool:
        """Ask the gates; the first that turns the connection away is noted."""
        for stored in self._toxics:
            gate = stored.toxic
            if not is_gate(gate) or not gate.refuses(connection.number - self._base[stored.order]):
                continue
            if connection.dice(stored).random() < stored.toxicity:
                log = self._options.log
                if log is not None:
                    log.note(connection.number, stored.direction, stored.name, "refused")
                return True
        return False

    # Connections

    def _accept(self) -> Connection:
        self._accepted += 1
        connection = Connection(
            self._accepted,
            self._options,
            toxics=lambda: self._toxics,
            on_made=self._made,
            on_gone=self._gone,
            observer=None if self._observe is None else self._observe(self._accepted),
        )
        self.connections.add(connection)
        return connection

    def _made(self, connection: Connection) -> None:
        if self._closed:
            connection.dialled()
            connection.abort()
            return
        if self._base and self._is_refused(connection):
            connection.dialled()
            connection.reset()
            return
        task = asyncio.get_running_loop().create_task(self._dial(connection))
        self._dials[connection] = task
        task.add_done_callback(lambda _task: self._dialled(connection))

    def _dialled(self, connection: Connection) -> None:
        self._dials.pop(connection, None)
        connection.dialled()
        self._idle.set()

    async def _dial(self, connection: Connection) -> None:
        try:
            await self._dialler.connect(lambda: connection.upstream)
        except (OSError, TimeoutError, AddressError) as error:
            _log.warning("cannot reach the upstream %s: %s", self._dialler.upstream, error)
            connection.refused()
        except asyncio.CancelledError:
            connection.abort()
            raise

    def _gone(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self._idle.set()
        task = self._dials.get(connection)
        if task is not None:
            task.cancel()
        if self._on_gone is not None:
            with contextlib.suppress(Exception):
                self._on_gone(connection)

    def held_bytes(self, direction: Direction) -> int:
        """Bytes that toxics hold back in that direction."""
        return sum(connection.link(direction).held_bytes for connection in self.connections)
