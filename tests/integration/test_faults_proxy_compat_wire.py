"""Compatible mode is Toxiproxy 2.12 on the wire as well, its slips included: the same conversations with both.

The embedded server's must end as the table says; where Shopify's binary is on this machine, so must Shopify's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import aiohttp
import pytest
import pytest_asyncio
from faults_proxy_http import client, echo, upstream
from test_faults_proxy_client import shopify

from faults.proxy.api import Guard
from faults.proxy.control import ControlOptions
from faults.proxy.server import ServerOptions, serve
from resilience.lab.ports import free_port

pytestmark = pytest.mark.integration

RESET = b"\1\0\0\0\0\0\0\0"


@dataclass
class Proxy:
    """A proxy `p` on a server of either kind."""

    url: str
    port: int
    session: aiohttp.ClientSession

    async def call(self, method: str, path: str, body: object = None) -> None:
        """Make a request that must succeed."""
        data = None if body is None else json.dumps(body)
        async with self.session.request(method, self.url + path, data=data) as answer:
            assert answer.status < 300, await answer.text()

    async def add(
        self, kind: str, toxicity: float = 1.0, stream: str = "downstream", **attributes: int
    ) -> None:
        """Add toxic `t`."""
        body = {"name": "t", "type": kind, "toxicity": toxicity, "stream": stream, "attributes": attributes}
        await self.call("POST", "/proxies/p/toxics", body)

    async def remove(self) -> None:
        """Remove toxic `t`."""
        await self.call("DELETE", "/proxies/p/toxics/t")


@pytest_asyncio.fixture(params=["embedded", "toxiproxy"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """The URL of a server of either kind."""
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "toxiproxy":
            yield await stack.enter_async_context(shopify(request.getfixturevalue("require")("toxiproxy")))
        else:
            options = ServerOptions(port=0, control=ControlOptions(compat=True), guard=Guard(strict=False))
            yield (await stack.enter_async_context(await serve(options))).admin_url


@contextlib.asynccontextmanager
async def before(url: str, handler: object) -> AsyncIterator[Proxy]:
    """Put a proxy before a server of `handler`; None for a port where nobody listens."""
    async with contextlib.AsyncExitStack() as stack:
        to = free_port() if handler is None else await stack.enter_async_context(upstream(handler))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        port = free_port()
        proxy = Proxy(url, port, session)
        body = {"name": "p", "listen": f"127.0.0.1:{port}", "upstream": f"127.0.0.1:{to}"}
        await proxy.call("POST", "/proxies", body)
        yield proxy


async def rest(reader: asyncio.StreamReader, limit_s: float = 1.5) -> tuple[bytes, str]:
    """Read what still comes, and how it ends: fin, reset or open."""
    got = b""
    try:
        async with asyncio.timeout(limit_s):
            while data := await reader.read(65536):
                got += data
    except TimeoutError:
        return got, "open"
    except ConnectionResetError:
        return got, "reset"
    return got, "fin"


async def reply_after_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer once the client has said its last."""
    await reader.read()
    writer.write(b"reply")


async def reset_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say half of something, then break."""
    await reader.read(1)
    writer.write(b"half")
    await writer.drain()
    await asyncio.sleep(0.1)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


Found = tuple[bytes, str]


async def half_close(url: str) -> Found:
    """The client says FIN and waits for a reply."""
    async with before(url, reply_after_end) as proxy, client(proxy.port) as (reader, writer):
        writer.write(b"x")
        writer.write_eof()
        return await rest(reader)


async def broken_upstream(url: str) -> Found:
    """The upstream resets in the middle of an answer."""
    async with before(url, reset_at_once) as proxy, client(proxy.port) as (reader, writer):
        writer.write(b"x")
        return await rest(reader)


async def refused_upstream(url: str) -> Found:
    """Nobody listens there."""
    async with before(url, None) as proxy, client(proxy.port) as (reader, _):
        return await rest(reader)


async def talk_into_timeout(url: str) -> Found:
    """A peer that talks on every 100 ms keeps a connection with a timeout of 300 ms open."""
    async with before(url, echo) as proxy, client(proxy.port) as (reader, writer):
        await proxy.add("timeout", stream="upstream", timeout=300)

        async def talk() -> None:
            for _ in range(20):
                writer.write(b"x")
                await asyncio.sleep(0.1)

        talking = asyncio.create_task(talk())
        try:
            return await rest(reader, 1.2)
        finally:
            talking.cancel()


async def remove_spared_timeout(url: str) -> Found:
    """A timeout of toxicity 0 is removed."""
    async with before(url, echo) as proxy, client(proxy.port) as (reader, writer):
        await proxy.add("timeout", toxicity=0, timeout=0)
        writer.write(b"a")
        await reader.readexactly(1)
        await proxy.remove()
        return await rest(reader)


async def reset_peer(url: str, *, late: bool, toxicity: float) -> Found:
    """A connection under reset_peer that was made before it, or after."""
    async with before(url, echo) as proxy, contextlib.AsyncExitStack() as stack:
        if not late:
            await proxy.add("reset_peer", toxicity=toxicity, timeout=50)
        reader, writer = await stack.enter_async_context(client(proxy.port))
        writer.write(b"a" if late or not toxicity else b"")
        if late or not toxicity:
            await reader.readexactly(1)
        if late:
            await proxy.add("reset_peer", toxicity=toxicity, timeout=50)
        writer.write(b"b")
        if not toxicity:
            await reader.readexactly(1)
            writer.write_eof()
        return await rest(reader)


async def limit_data(url: str) -> Found:
    """Exactly that many bytes, then the end."""
    async with before(url, echo) as proxy, client(proxy.port) as (reader, writer):
        await proxy.add("limit_data", bytes=3)
        writer.write(b"hello")
        return await rest(reader)


CASES: dict[str, tuple[Callable[[str], Awaitable[Found]], Found]] = {
    "half-close": (half_close, (b"", "fin")),
    "broken upstream": (broken_upstream, (b"half", "fin")),
    "refused upstream": (refused_upstream, (b"", "fin")),
    "talking into a timeout": (talk_into_timeout, (b"", "open")),
    "removing a timeout that spared": (remove_spared_timeout, (b"", "fin")),
    "reset_peer": (lambda url: reset_peer(url, late=False, toxicity=1), (b"", "reset")),
    "reset_peer on an open connection": (lambda url: reset_peer(url, late=True, toxicity=1), (b"", "fin")),
    "reset_peer that spared": (lambda url: reset_peer(url, late=False, toxicity=0), (b"", "reset")),
    "limit_data": (limit_data, (b"hel", "fin")),
}


@pytest.mark.parametrize("name", CASES)
async def test_compat_ends_connections_as_toxiproxy_does(server: str, name: str):
    """The bytes that the client reads, and how it ends."""
    play, expected = CASES[name]
    assert await play(server) == expected
