"""Nothing stays behind: cancel, abort or break a connection anywhere, and no task, timer, hold or byte is left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
import socket
import weakref

import pytest
from faults_proxy_http import add, call, client, echo, proxied

from faults.proxy.connection import Connection
from faults.proxy.tap import TapSpec, serve_taps

pytestmark = pytest.mark.integration


async def quiet(server) -> None:
    """Wait until all connections of proxy `p` are gone, or fail."""
    async with asyncio.timeout(5):
        while server.control.listeners["p"].connections:  # noqa: ASYNC110 - the product has no event for it
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "kind", ["latency", "bandwidth", "slicer", "slow_close", "timeout", "reset_peer", "limit_data"]
)
async def test_connections_that_break_leave_nothing(kind: str):
    """Clients that abort, half-close or vanish at random moments, under each toxic."""
    attributes = {
        "latency": {"latency": 30},
        "bandwidth": {"rate": 500},
        "slicer": {"average_size": 500, "delay": 100},
        "slow_close": {"delay": 20},
        "timeout": {"timeout": 60},
        "reset_peer": {"timeout": 20},
        "limit_data": {"bytes": 5000},
    }[kind]
    dice = random.Random(kind)

    async def visit(port: int) -> None:
        async with client(port) as (reader, writer):
            writer.write(b"x" * dice.randrange(1, 30_000))
            await asyncio.sleep(dice.random() * 0.06)
            if dice.random() < 0.5:
                writer.write_eof()
                await asyncio.wait([asyncio.ensure_future(reader.read())], timeout=dice.random() * 0.1)

    async with proxied(echo) as (server, port):
        for stream in ("upstream", "downstream"):
            await add(server, kind, stream=stream, name=stream, **attributes)
        await asyncio.gather(*(visit(port) for _ in range(25)), return_exceptions=True)
        for name in ("upstream", "downstream"):
            await call(server, "DELETE", f"/proxies/p/toxics/{name}")
        await quiet(server)
        assert server.control.budget.total_bytes == 0
        assert not server.control.listeners["p"]._dials


async def test_server_closes_with_everything_open():
    """Closing it in the middle of dials, delays and floods ends within a second or so, with no task left."""
    before = asyncio.all_tasks()
    async with proxied(echo) as (server, port):
        await add(server, "latency", latency=60_000)
        writers = []
        for _ in range(10):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"x" * 10_000)
            writers.append(writer)
        await asyncio.sleep(0.05)
        async with asyncio.timeout(3):
            await server.close()
        assert server.control.budget.total_bytes == 0
        for writer in writers:
            writer.transport.abort()
    await asyncio.sleep(0.05)
    left = {task for task in asyncio.all_tasks() - before if "handle" not in repr(task)}
    assert not left


async def test_connections_that_are_gone_leave_memory_without_a_collection():
    """They cut their circles of references, so that no collection over thousands of connections is needed to free one."""
    async with proxied(echo) as (server, port):
        await add(server, "latency", latency=1)
        gc.collect()
        gc.disable()
        try:
            gone = []
            for ending in ("close", "abort", "half-close"):
                async with client(port) as (reader, writer):
                    writer.write(b"x")
                    assert await reader.readexactly(1) == b"x"
                    gone += map(weakref.ref, server.control.listeners["p"].connections)
                    if ending == "abort":
                        writer.transport.abort()
                    elif ending == "half-close":
                        writer.write_eof()
                        assert await reader.read() == b""
                await quiet(server)
            async with asyncio.timeout(5):
                while any(connection() is not None for connection in gone):  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.01)
            assert len(gone) == 3
        finally:
            gc.enable()


async def test_connections_that_never_came_about_leave_memory_without_a_collection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Refused by a dead upstream, refused by a toxic, given up while it was dialled: none of them waits for a collection."""
    caplog.set_level(
        logging.ERROR, "faults.proxy"
    )  # pytest keeps each warning, with the error in it and all its frames
    gone: list[weakref.ref[Connection]] = []
    made = Connection.__init__

    def noted(self: Connection, *words: object, **more: object) -> None:
        made(self, *words, **more)  # type: ignore[arg-type]
        gone.append(weakref.ref(self))

    monkeypatch.setattr(Connection, "__init__", noted)
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))  # bound, and not listening
        async with proxied(echo) as (server, _):
            upstream = f"127.0.0.1:{dead.getsockname()[1]}"
            await call(server, "PATCH", "/proxies/p", {"upstream": upstream})
            taps = await serve_taps([TapSpec("t", "127.0.0.1:0", upstream, "http")])
            ports = [server.control.store.proxies["p"].listen, taps.addresses()["t"]]
            gc.collect()
            gc.disable()
            try:
                for ending in ("refused", "given up", "gated"):
                    if ending == "gated":
                        await add(server, "fail_first", connections=10)
                    for port in ports:
                        reader, writer = await asyncio.open_connection(
                            "127.0.0.1", int(port.rpartition(":")[2])
                        )
                        writer.write(b"GET / HTTP/1.1\r\n\r\n")
                        if ending != "given up":
                            with contextlib.suppress(ConnectionError):
                                assert await reader.read() == b""
                        writer.transport.abort()
                async with asyncio.timeout(5):
                    while len(gone) < 6 or any(each() is not None for each in gone):  # noqa: ASYNC110 - as above
                        await asyncio.sleep(0.01)
            finally:
                gc.enable()
                await taps.close()
