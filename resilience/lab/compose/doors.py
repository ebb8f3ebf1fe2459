"""Doors to the gateways' admin ports: addresses on loopback that stay the same when a gateway's container is started again.

The engine publishes each replica's admin port where it likes, and elsewhere after each start: replicas of one service cannot be given ports of their own.
Whoever watches a gateway has its address for the whole run. So each gets a door: a listener of ours that asks the engine, for each connection, where the
container's port is now, and passes bytes on in both directions. Asked every time: a port of yesterday may be another replica's today.

A door knows nothing of what passes, and adds no patience: where the container is away, the connection is closed at once, and where the container does not
answer, nobody does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping

from resilience.lab.ports import LOOPBACK, listening_socket
from resilience.lab.system import StackError

PortNow = Callable[[str], int | None]
"""The port on this host that a container's admin port is published at now; `None` where it runs no more. It may block, and raise StackError."""

_CONNECT_S = 2.0
_PIECE_BYTES = 65536


class Doors:
    """The doors of one project. `open` may be called again for further containers; nothing is left after `close`."""

    def __init__(self, port_now: PortNow) -> None:
        self._port_now = port_now
        self._servers: dict[str, asyncio.Server] = {}
        self._passing: set[asyncio.Task[None]] = set()

    async def open(self, containers: Iterable[str]) -> None:
        """Make a door for each container, by its id, that has none."""
        for container in containers:
            if container not in self._servers:
                self._servers[container] = await self._listen(container)

    @property
    def urls(self) -> Mapping[str, str]:
        """Where the door of each container is."""
        return {
            container: f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
            for container, server in self._servers.items()
        }

    async def close(self) -> None:
        """Shut all of them, with what passes through."""
        servers, self._servers = self._servers, {}
        for server in servers.values():
            server.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)
        for server in servers.values():
            await server.wait_closed()

    async def _listen(self, container: str) -> asyncio.Server:
        def called(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._pass(container, reader, writer))
            self._passing.add(task)
            task.add_done_callback(self._passing.discard)

        return await asyncio.start_server(called, sock=listening_socket(LOOPBACK, 0))

    async def _pass(self, container: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, TimeoutError, StackError):
                port = await asyncio.to_thread(self._port_now, container)
                if port is None:
                    return
                async with asyncio.timeout(_CONNECT_S):
                    inner, outer = await asyncio.open_connection(LOOPBACK, port)
                try:
                    await _either((reader, outer), (inner, writer))
                finally:
                    outer.transport.abort()
        finally:
            # What has been written and not been sent yet goes out first; nobody is waited for.
            writer.close()


async def _either(*ways: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    """Pass on in all directions, until one of them has ended: an HTTP connection is of no use with one."""
    tasks = [asyncio.create_task(_copied(*way)) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(_PIECE_BYTES):
        writer.write(piece)
        await writer.drain()
