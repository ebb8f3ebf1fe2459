"""Where the embedded server does better than Toxiproxy 2.12 on purpose: one test a line of docs/proxy.md."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest
from faults_proxy_http import add, call, client, echo, exchange, proxied

from faults.proxy.control import ControlOptions
from faults.proxy.server import ServerOptions, serve

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("toxic", "complaint"),
    [
        ({"type": "bandwidth", "attributes": {"rate": -1}}, "rate must not be negative"),
        ({"type": "slicer"}, "average_size must be at least 1"),
        (
            {"type": "slicer", "attributes": {"average_size": 5, "size_variation": 9}},
            "size_variation must be between",
        ),
        ({"type": "latency", "attributes": {"latency": -5}}, "latency must not be negative"),
        ({"type": "timeout", "attributes": {"timeout": -5}}, "timeout must not be negative"),
        ({"type": "limit_data", "attributes": {"bytes": -5}}, "bytes must not be negative"),
        ({"type": "noop", "toxicity": 7}, "toxicity must be between 0 and 1"),
        ({"type": "noop", "toxicity": -0.5}, "toxicity must be between 0 and 1"),
    ],
)
async def test_better_attributes_are_validated(toxic, complaint):
    """What cannot work is a 400 that names the attribute; Toxiproxy panics or overflows its stack later."""
    async with proxied() as (server, _):
        answer = await call(server, "POST", "/proxies/p/toxics", toxic)
        assert answer.status == 400
        assert complaint in answer.json()["error"]
        assert (await call(server, "GET", "/proxies/p/toxics")).json() == []


async def test_better_a_refused_update_changes_nothing():
    """A toxic update with one bad attribute leaves the good one alone as well."""
    async with proxied() as (server, _):
        await add(server, "latency", latency=5)
        body = {"attributes": {"latency": 99, "jitter": "z"}}
        assert (await call(server, "PATCH", "/proxies/p/toxics/t", body)).status == 400
        shown = (await call(server, "GET", "/proxies/p/toxics/t")).json()
        assert shown["attributes"] == {"latency": 5, "jitter": 0}


@pytest.mark.parametrize("kind", ["bandwidth", "slicer"])
async def test_compat_accepts_what_kills_toxiproxy_and_lives(kind):
    """In compatible mode the same requests are 200; data then passes, or waits, but the server stays up."""
    async with proxied(compat=True) as (server, port):
        await add(server, kind, **({"rate": -1} if kind == "bandwidth" else {}))
        async with client(port) as (reader, writer):
            writer.write(b"x" * 1000)
            if kind == "slicer":
                assert await reader.readexactly(1000) == b"x" * 1000
            await asyncio.sleep(0.05)
        assert (await call(server, "GET", "/proxies")).status == 200


async def test_better_admin_answers_while_a_client_does_not_read():
    """With megabytes queued for a client that stopped reading, adding a toxic and listing take no time."""

    async def flood(_reader, writer):
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with proxied(flood) as (server, port), client(port) as (reader, _):
        reader._transport.pause_reading()
        await asyncio.sleep(0.3)
        for method, path, body in (
            ("POST", "/proxies/p/toxics", {"type": "latency", "name": "t"}),
            ("GET", "/proxies", None),
            ("PATCH", "/proxies/p/toxics/t", {"attributes": {"latency": 5}}),
            ("DELETE", "/proxies/p/toxics/t", None),
        ):
            started = time.monotonic()
            assert (await call(server, method, path, body)).status in {200, 204}
            assert time.monotonic() - started < 1


async def test_better_reset_peer_at_toxicity_zero_leaves_connections_alone():
    """A connection that the dice spared ends with FIN, not RST, even with unread data on its way."""
    async with proxied() as (server, port):
        body = {"type": "reset_peer", "toxicity": 0}
        assert (await call(server, "POST", "/proxies/p/toxics", body)).status == 200
        async with client(port) as (reader, writer):
            writer.write(b"hello")
            writer.write_eof()
            assert await reader.read() == b"hello"


async def test_better_removing_a_timeout_spares_connections_it_never_touched():
    """With toxicity 0, removal closes nothing; with toxicity 1, it closes."""
    async with proxied() as (server, port):
        for toxicity, survives in ((0, True), (1, False)):
            async with client(port) as (reader, writer):
                writer.write(b"a")
                await reader.readexactly(1)
                await call(
                    server,
                    "POST",
                    "/proxies/p/toxics",
                    {"type": "timeout", "name": "t", "toxicity": toxicity},
                )
                await call(server, "DELETE", "/proxies/p/toxics/t")
                if survives:
                    writer.write(b"b")
                async with asyncio.timeout(2):
                    assert await reader.read(1) == (b"b" if survives else b"")


async def test_better_one_slow_dial_stalls_nobody():
    """While one upstream swallows the SYN, another proxy's, and the same proxy's new address, connect at once."""
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    stuffed = []
    for _ in range(4):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(full.getsockname())
        stuffed.append(sock)
    try:
        async with proxied(echo, dial_timeout_s=0.4) as (server, port):
            slow = f"127.0.0.1:{full.getsockname()[1]}"
            made = await call(
                server, "POST", "/proxies", {"name": "slow", "listen": "127.0.0.1:0", "upstream": slow}
            )
            slow_port = int(made.json()["listen"].rpartition(":")[2])
            async with client(slow_port) as (waiting, _), client(port) as (reader, writer):
                started = time.monotonic()
                writer.write(b"x")
                assert await reader.readexactly(1) == b"x"
                assert time.monotonic() - started < 0.4
                async with asyncio.timeout(3):
                    with pytest.raises(ConnectionResetError):
                        await waiting.read()
    finally:
        for sock in [*stuffed, full]:
            sock.close()


async def test_better_an_upstream_reset_stays_a_reset():
    """A response cut off by RST does not look like a complete one; in compatible mode it does."""

    async def cut(reader, writer):
        await reader.read(1)
        writer.write(b"half")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    async def read(*, compat: bool) -> bytes:
        async with proxied(cut, compat=compat) as (_, port), client(port) as (reader, writer):
            writer.write(b"x")
            assert await reader.readexactly(4) == b"half"
            async with asyncio.timeout(2):
                return await reader.read()

    with pytest.raises(ConnectionResetError):
        await read(compat=False)
    assert await read(compat=True) == b""


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "[::1]:1"}, 200),
        ({"User-Agent": "Mozilla/5.0"}, 403),
    ],
)
async def test_better_web_pages_are_refused(headers, status):
    """Requests that a page could have sent are 403, whatever they ask for."""
    async with await serve(ServerOptions(port=0)) as server:
        assert (await exchange(server.port, "GET", "/version", None, headers)).status == status


async def test_better_bodies_are_bounded():
    """A body beyond the limit is a 413, not memory."""
    async with await serve(ServerOptions(port=0, control=ControlOptions())) as server:
        answer = await exchange(server.port, "POST", "/populate", b"[" + b" " * 5_000_000)
        assert answer.status == 413
