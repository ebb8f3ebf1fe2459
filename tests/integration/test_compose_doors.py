"""Doors to admin ports: one address, wherever the container's port is now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from resilience.lab.compose.doors import Doors
from resilience.lab.ports import LOOPBACK
from resilience.lab.system import StackError

pytestmark = pytest.mark.integration


@asynccontextmanager
async def serving(word: bytes) -> AsyncIterator[int]:
    """A server that answers each line with its word and the line; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(word + b" " + line)
        writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client of a door."""
    reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
    try:
        yield reader, writer
    finally:
        writer.close()


async def asked(url: str) -> bytes:
    """What is answered to one line on a connection of its own; empty where it is closed instead."""
    async with connected(url) as (reader, writer):
        writer.write(b"who\n")
        try:
            return await asyncio.wait_for(reader.readline(), 10)
        except ConnectionError:
            return b""


async def test_door_leads_to_where_the_port_is_now() -> None:
    """After a start elsewhere the same address leads there; while it is away, a caller is turned away at once."""
    now: dict[str, int | None] = {}
    doors = Doors(now.get)
    async with serving(b"first") as first, serving(b"second") as second:
        now.update({"one": first, "two": second})
        await doors.open(["one", "two"])
        url = doors.urls["one"]
        assert await asked(url) == b"first who\n"
        assert await asked(doors.urls["two"]) == b"second who\n"
        now["one"] = None
        assert await asked(url) == b""
        now["one"] = second
        assert await asked(url) == b"second who\n"
        await doors.open(["one"])
        assert doors.urls["one"] == url
    now["one"] = first
    assert await asked(url) == b"", "nobody listens there any more"
    await doors.close()
    assert doors.urls == {}
    with pytest.raises(ConnectionRefusedError):
        await asked(url)


async def test_door_that_cannot_ask_the_engine_turns_its_caller_away() -> None:
    """An engine that is being started anew is no reason to hang."""

    def port_now(_container: str) -> int:
        raise StackError("the engine does not answer")

    doors = Doors(port_now)
    await doors.open(["one"])
    assert await asked(doors.urls["one"]) == b""
    await doors.close()


async def test_close_ends_what_passes_through() -> None:
    """A stream that is followed to the end of a run does not hold up its end; one that its server ends is ended."""
    async with serving(b"here") as port:
        doors = Doors(lambda _container: port)
        await doors.open(["one"])
        async with connected(doors.urls["one"]) as (reader, writer):
            writer.write(b"still\nthere\n")
            assert await reader.readline() == b"here still\n"
            assert await reader.readline() == b"here there\n"
            await asyncio.wait_for(doors.close(), 10)
            assert await asyncio.wait_for(reader.read(), 10) == b""
