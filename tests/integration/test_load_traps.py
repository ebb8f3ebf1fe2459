"""What client libraries do unasked, switched off in every driver: no second sending, no queue before the network.

The server answers the first request of each connection and hangs up on the second, unanswered: what a kept connection does that has
died meanwhile. aiohttp would send a GET again, redis-py anything, ten times; each of them must be one failure that the server saw once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from load_peers import listening

from resilience.load import SpikeLoadGenerator
from resilience.load.requests import HttpRequest, RedisRequest, Request, ScriptRequest, SessionRequest
from resilience.load.shapes import closed, herd

pytestmark = pytest.mark.integration

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
SCRIPT = """
async def get(ctx):
    async with ctx.http.get(ctx.row["url"], headers=ctx.headers) as answer:
        assert answer.status == 200
"""
Hear = Callable[[asyncio.StreamReader], Awaitable[bytes]]


def once_and_no_more(hear: Hear, answer: bytes, heard: list[bytes]) -> Callable[..., Awaitable[None]]:
    """Answers the first of each connection, and hangs up on the second."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await hear(reader))
        writer.write(answer)
        heard.append(await hear(reader))

    return handle


async def http_head(reader: asyncio.StreamReader) -> bytes:
    """The id of the next request."""
    head = await reader.readuntil(b"\r\n\r\n")
    (found,) = (line for line in head.split(b"\r\n") if line.lower().startswith(b"x-request-id"))
    return found


async def redis_command(reader: asyncio.StreamReader) -> bytes:
    """The last word of the next command; what the library says of itself when it connects is answered by nobody."""
    words = []
    for _ in range(int((await reader.readline())[1:])):
        await reader.readline()
        words.append((await reader.readline()).strip())
    return words[-1]


async def outcomes(request: Request) -> dict[str, int]:
    """What became of one user who asks again and again for half a second."""
    generator = SpikeLoadGenerator(request, deadline_s=30, connections=1)
    metrics = await generator.run(closed(1, think_s=0.01, duration_s=0.5))
    counts = metrics.overall.counts
    return {name: n for name, n in counts.items() if n and name not in {"offered", "attempts", "good"}}


@pytest.mark.parametrize("driver", ["http", "session", "script"])
async def test_driver_sends_no_request_twice(driver: str, tmp_path: Path) -> None:
    """A kept connection that dies under a GET is a reset, and the server saw every id once."""
    heard: list[bytes] = []
    async with listening(once_and_no_more(http_head, ANSWER, heard)) as port:
        url = f"http://127.0.0.1:{port}/"
        script = tmp_path / "users.py"
        script.write_text(SCRIPT)
        request: Request = {
            "http": HttpRequest(url),
            "session": SessionRequest((HttpRequest(url),)),
            "script": ScriptRequest(str(script), "get", data=({"url": url},)),
        }[driver]
        counts = await outcomes(request)
    assert set(counts) == {"ok", "reset"}
    assert len(heard) == sum(counts.values())
    assert set(Counter(heard).values()) == {1}


async def test_redis_driver_sends_no_command_twice() -> None:
    """A connection that dies under a command is a reset; neither is the command sent again nor the connection tried again."""
    heard: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = True
        while True:
            word = await redis_command(reader)
            if not word.startswith(b"n-"):
                writer.write(b"+OK\r\n")  # CLIENT SETINFO and the like
                continue
            heard.append(word)
            if not first:
                return
            first = False
            writer.write(b"+OK\r\n")

    async with listening(handle) as port:
        counts = await outcomes(RedisRequest(f"redis://127.0.0.1:{port}/0", ("INCR", "n-{i}")))
    assert set(counts) == {"ok", "reset"}
    assert len(heard) == len(set(heard)) == sum(counts.values())


@pytest.mark.parametrize("driver", ["http", "script"])
async def test_driver_queues_nobody_of_a_herd(driver: str, tmp_path: Path) -> None:
    """All of a herd of 150 is at the server before it answers anybody: no limit of connections inside the generator."""
    here = 0
    together = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal here
        await http_head(reader)
        here += 1
        if here == 150:
            together.set()
        await together.wait()
        writer.write(ANSWER)
        await reader.read()

    async with listening(handle) as port:
        url = f"http://127.0.0.1:{port}/"
        script = tmp_path / "users.py"
        script.write_text(SCRIPT)
        request: Request = (
            HttpRequest(url) if driver == "http" else ScriptRequest(str(script), "get", data=({"url": url},))
        )
        metrics = await SpikeLoadGenerator(request, deadline_s=30, connections=0).run(herd(150))
    assert metrics.overall.counts["ok"] == 150
