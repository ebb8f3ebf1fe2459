"""One proxy at work: its listening socket, its connections, and how they are dialled.

Theory of operation
    `bind` makes the socket listen synchronously, so that the caller can decide, bind and record without an await
    between; `start` then attaches it to the loop. Each accepted client is dialled in a task of its own: a slow
    upstream stalls nobody else, and a dial ends after `dial_timeout_s`. `close` stops accepting and ends every
    connection at once, including those that are still being dialled.

It deliberately does not know the HTTP API or other proxies; what toxics there are it is told by `set_toxics`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable

from faults.model import Direction
from faults.proxy.addresses import AddressError, format_address
from faults.proxy.connection import Connection, ConnectionOptions
from faults.proxy.dial import Dialler
from faults.proxy.sides import Observer
from faults.proxy.store import StoredToxic

__all__ = ["BindError", "Listener", "bind", "shown_address"]

_BACKLOG = 4096
_log = logging.getLogger(__name__)


class BindError(Exception):
    """Listening failed; the message is what Go would have said."""


_REASONS = {
    98: "address already in use",
    13: "permission denied",
    99: "cannot assign requested address",
}


def shown_address(sock: socket.socket) -> str:
    """Write a socket's own address the way the API shows it."""
    name = sock.getsockname()
    return format_address(str(name[0]), int(name[1]))


def bind(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    """Listen on a literal address ('' for every interface); raise `BindError` in Go's words."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host in {"", "::"} else 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        shown = format_address(host, port)
        reason = _REASONS.get(error.errno or 0, (error.strerror or str(error)).lower())
        raise BindError(f"listen tcp {shown}: bind: {reason}") from None
    return sock


def has_ipv6() -> bool:
    """Whether an IPv6 socket can be made here."""
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM).close()
    except OSError:
        return False
    return True


async def resolve_listen(host: str, resolver_name: str) -> tuple[socket.AddressFamily, str]:
    """Turn the host of a listen address into a literal; IPv4 is preferred, as in Go.

    Raises `AddressError` where there is no such host. An empty host stands for every interface.
    """
    if not host:
        return (socket.AF_INET6, "") if has_ipv6() else (socket.AF_INET, "")
    loop = asyncio.get_running_loop()
    try:
        found = await asyncio.wait_for(loop.getaddrinfo(host, None, type=socket.SOCK_STREAM), timeout=5)
    except (OSError, TimeoutError, UnicodeError):
        raise AddressError(f"lookup {host} on {resolver_name}: no such host") from None
    found.sort(key=lambda info: info[0] != socket.AF_INET)
    family, _, _, _, address = found[0]
    return socket.AddressFamily(family), str(address[0])


class Listener:
    """A bound proxy. `observe` makes an observer for each connection; None costs nothing."""

    def __init__(
        self,
        sock: socket.socket,
        dialler: Dialler,
        options: ConnectionOptions,
        *,
        observe: Callable[[int], Observer] | None = None,
        on_gone: Callable[[Connection], None] | None = None,
    ) -> None:
        self._sock = sock
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
        self.address = shown_address(sock)
        self.connections: set[Connection] = set()

    async def start(self) -> None:
        """Begin to accept."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: self._accept().client, sock=self._sock, backlog=_BACKLOG)
        self._server = server
        if self._closed:
            server.close()

    def close(self) -> None:
        """Stop accepting and end every connection, at once."""
        self._closed = True
        if self._server is not None:
            self._server.close()
        else:
            self._sock.close()
        for task in list(self._dials.values()):
            task.cancel()
        for connection in list(self.connections):
            connection.abort()

    async def wait_closed(self) -> None:
        """Wait until every socket is gone and every dial has ended; call after `close`."""
        while self.connections or self._dials:
            self._idle.clear()
            await self._idle.wait()

    # Toxics

    def set_toxics(self, toxics: tuple[StoredToxic, ...]) -> None:
        """Make `toxics` what acts on every connection, those that are open included."""
        before = {toxic.name: toxic for toxic in self._toxics}
        after = {toxic.name: toxic for toxic in toxics}
        self._toxics = toxics
        for connection in list(self.connections):
            if connection.upstream.lost:
                continue  # it will start with the toxics of that moment
            for name, toxic in before.items():
                if name not in after or after[name].order != toxic.order:
                    connection.link(toxic.direction).detach(name)
            for name, toxic in after.items():
                old = before.get(name)
                if old is None or old.order != toxic.order:
                    connection.link(toxic.direction).attach(toxic)
                elif old != toxic:
                    connection.link(toxic.direction).change(toxic)

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
            connection.abort()
            return
        task = asyncio.get_running_loop().create_task(self._dial(connection))
        self._dials[connection] = task
        task.add_done_callback(lambda _task: self._dialled(connection))

    def _dialled(self, connection: Connection) -> None:
        self._dials.pop(connection, None)
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
