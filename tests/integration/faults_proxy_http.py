"""HTTP as bytes for tests of the admin API: what is sent and what comes back is not normalised by a client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from faults.proxy.control import ControlOptions
from faults.proxy.server import ProxyServer, ServerOptions, serve


@dataclass(frozen=True)
class Raw:
    """An answer as it came; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Parse the body."""
        return json.loads(self.body)


async def exchange(
    port: int, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Raw:
    """Make one request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sent = {"Host": f"127.0.0.1:{port}", "Connection": "close", **(headers or {})}
    if body is not None:
        sent["Content-Length"] = str(len(body))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
    writer.write("\r\n".join(lines).encode() + (body or b""))
    async with asyncio.timeout(5):
        head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    first, *others = head.decode().split("\r\n")
    pairs = (line.partition(":") for line in others)
    return Raw(int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}, rest)


async def call(server: ProxyServer, method: str, path: str, body: Any = None) -> Raw:
    """Make a request with a JSON body."""
    return await exchange(server.port, method, path, None if body is None else json.dumps(body).encode())


@asynccontextmanager
async def upstream(handler: Any) -> AsyncIterator[int]:
    """Run a server of `handler(reader, writer)`; yield its port. Connections are closed at the end."""
    writers: list[asyncio.StreamWriter] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes, and the end too."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


@asynccontextmanager
async def proxied(handler: Any = echo, **options: Any) -> AsyncIterator[tuple[ProxyServer, int]]:
    """Run a server with one proxy `p` before `handler`; yield it and the proxy's port."""
    async with upstream(handler) as port:
        control = ControlOptions(**options)
        async with await serve(ServerOptions(port=0, control=control)) as server:
            made = await call(
                server,
                "POST",
                "/proxies",
                {"name": "p", "listen": "127.0.0.1:0", "upstream": f"127.0.0.1:{port}"},
            )
            yield server, int(made.json()["listen"].rpartition(":")[2])


@asynccontextmanager
async def client(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect to a proxy; aborted at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


async def add(
    server: ProxyServer, kind: str, *, stream: str = "downstream", name: str = "t", **attributes: Any
) -> Raw:
    """Add a toxic to proxy `p`."""
    body = {"type": kind, "name": name, "stream": stream, "attributes": attributes}
    made = await call(server, "POST", "/proxies/p/toxics", body)
    assert made.status == 200, made.body
    return made
