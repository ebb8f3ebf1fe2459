"""The data plane on loopback: toxics on real sockets, back-pressure, half-close, changes under traffic."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import time

import pytest
from faults_proxy_http import add, call, client, echo, proxied

pytestmark = pytest.mark.integration


async def count_and_answer(reader, writer):
    """Read to the end, then say how much it was and what it hashed to."""
    digest, size_bytes = hashlib.sha256(), 0
    while data := await reader.read(65536):
        digest.update(data)
        size_bytes += len(data)
    writer.write(f"{size_bytes} {digest.hexdigest()}".encode())
    await writer.drain()


async def test_proxy_passes_a_reply_after_half_close():
    """The client's FIN reaches the upstream, and the reply after it reaches the client."""
    data = random.Random(1).randbytes(3_000_000)
    async with proxied(count_and_answer) as (_, port), client(port) as (reader, writer):
        writer.write(data)
        writer.write_eof()
        async with asyncio.timeout(10):
            reply = await reader.read()
    assert reply.decode() == f"{len(data)} {hashlib.sha256(data).hexdigest()}"


async def test_proxy_keeps_bytes_while_toxics_come_and_go_under_traffic():
    """Adding, updating and removing toxics in both directions while megabytes pass loses nothing."""
    data = random.Random(2).randbytes(4_000_000)
    async with proxied() as (server, port), client(port) as (reader, writer):

        async def send():
            for start in range(0, len(data), 40_000):
                writer.write(data[start : start + 40_000])
                await writer.drain()
                await asyncio.sleep(0.002)
            writer.write_eof()

        async def disturb():
            for turn in range(12):
                stream = ("upstream", "downstream")[turn % 2]
                await add(server, "latency", stream=stream, name="l", latency=20, jitter=10)
                await add(
                    server, "slicer", stream=stream, name="s", average_size=3000, size_variation=500, delay=50
                )
                await asyncio.sleep(0.02)
                await call(server, "PATCH", "/proxies/p/toxics/l", {"attributes": {"latency": 3}})
                await add(server, "bandwidth", stream=stream, name="b", rate=50_000)
                for name in ("l", "b", "s"):
                    assert (await call(server, "DELETE", f"/proxies/p/toxics/{name}")).status == 204

        async with asyncio.timeout(30):
            got, *_ = await asyncio.gather(reader.read(), send(), disturb())
    assert got == data


async def test_latency_delays_but_does_not_serialise():
    """Fifty pipelined chunks under 100 ms of latency take about 100 ms, not fifty times that."""
    async with proxied() as (server, port):
        await add(server, "latency", latency=100)
        async with client(port) as (reader, writer):
            started = time.monotonic()
            for _ in range(50):
                writer.write(b"x" * 100)
                await asyncio.sleep(0.001)
            await reader.readexactly(5000)
            took = time.monotonic() - started
    assert 0.1 <= took < 1.5


async def send_until_stopped(writer: asyncio.StreamWriter, limit_s: float) -> int:
    """Write up to 64 MB until a write has to wait; return the bytes written within `limit_s`."""
    sent_bytes = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            while sent_bytes < 64_000_000:
                writer.write(b"x" * 65536)
                await writer.drain()
                sent_bytes += 65536
    return sent_bytes


async def test_proxy_holds_a_bounded_amount_for_a_client_that_does_not_read():
    """With nobody reading, the sender is stopped long before its 64 MB are swallowed."""
    async with proxied() as (_, port), client(port) as (reader, writer):
        reader._transport.pause_reading()
        sent_bytes = await send_until_stopped(writer, 1.0)
    assert sent_bytes < 40_000_000


async def test_latency_holds_no_more_than_its_cap():
    """Behind a latency of minutes, a link stops reading at its cap."""
    async with proxied(link_cap_bytes=500_000) as (server, port):
        await add(server, "latency", stream="upstream", latency=600_000)
        async with client(port) as (_, writer):
            await send_until_stopped(writer, 0.7)
            held_bytes = server.control.budget.total_bytes
    assert 500_000 <= held_bytes < 1_500_000
    assert server.control.budget.total_bytes == 0


async def test_limit_data_passes_exactly_its_bytes_then_closes():
    """The client reads `bytes` bytes and the end."""
    async with proxied() as (server, port):
        await add(server, "limit_data", bytes=1234)
        async with client(port) as (reader, writer):
            writer.write(b"y" * 100_000)
            async with asyncio.timeout(5):
                assert await reader.read() == b"y" * 1234


async def test_reset_peer_resets():
    """The client sees a reset, not an end."""
    async with proxied() as (server, port):
        await add(server, "reset_peer", timeout=20)
        async with client(port) as (reader, writer):
            writer.write(b"hello")
            with pytest.raises(ConnectionResetError):
                async with asyncio.timeout(5):
                    await reader.read()


async def test_timeout_drops_data_and_closes():
    """Nothing arrives, and the end comes no earlier than asked."""
    async with proxied() as (server, port), client(port) as (reader, writer):
        writer.write(b"a")
        await reader.readexactly(1)
        started = time.monotonic()
        await add(server, "timeout", timeout=150)
        writer.write(b"lost")
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        assert time.monotonic() - started >= 0.14


async def test_slow_close_delays_the_end_only():
    """Data passes at once; the end comes later."""
    async with proxied() as (server, port):
        await add(server, "slow_close", delay=150)
        async with client(port) as (reader, writer):
            writer.write(b"data")
            assert await reader.readexactly(4) == b"data"
            started = time.monotonic()
            writer.write_eof()
            async with asyncio.timeout(5):
                assert await reader.read() == b""
            assert time.monotonic() - started >= 0.14


async def test_toxicity_picks_a_share_of_connections_and_the_seed_decides_which():
    """The same seed hits the same connections; half of them are hit, roughly."""

    async def hit(seed: int) -> list[bool]:
        hits = []
        async with proxied(seed=seed) as (server, port):
            body = {"type": "limit_data", "name": "t", "toxicity": 0.5, "attributes": {"bytes": 0}}
            assert (await call(server, "POST", "/proxies/p/toxics", body)).status == 200
            for _ in range(40):
                async with client(port) as (reader, writer):
                    writer.write(b"x")
                    hits.append(await reader.read(1) == b"")
        return hits

    first, again, other = await hit(7), await hit(7), await hit(8)
    assert first == again
    assert first != other
    assert 8 <= sum(first) <= 32


@pytest.mark.parametrize("how", ["disable", "delete", "move"])
async def test_connections_are_closed_at_once(how: str):
    """Disabling, deleting or moving a proxy ends open connections, toxics or not; the listener is gone."""
    async with proxied() as (server, port):
        await add(server, "latency", latency=60_000)
        async with client(port) as (reader, writer):
            writer.write(b"x")
            await asyncio.sleep(0.05)
            if how == "disable":
                await call(server, "PATCH", "/proxies/p", {"enabled": False})
            elif how == "delete":
                await call(server, "DELETE", "/proxies/p")
            else:
                await call(server, "PATCH", "/proxies/p", {"listen": "127.0.0.1:0"})
            with contextlib.suppress(ConnectionResetError):
                async with asyncio.timeout(1):
                    assert await reader.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_disable_keeps_port_and_toxics():
    """What comes back after enabling is what was there."""
    async with proxied() as (server, port):
        await add(server, "latency", latency=1)
        await call(server, "PATCH", "/proxies/p", {"enabled": False})
        shown = (await call(server, "PATCH", "/proxies/p", {"enabled": True})).json()
        assert shown["listen"] == f"127.0.0.1:{port}"
        assert [toxic["name"] for toxic in shown["toxics"]] == ["t"]
        async with client(port) as (reader, writer):
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"


async def test_removing_the_toxic_returns_to_the_direct_path():
    """Open connections write straight to the other socket again."""
    async with proxied(echo) as (server, port), client(port) as (reader, writer):
        writer.write(b"x")
        await reader.readexactly(1)
        connection = next(iter(server.control.listeners["p"].connections))
        direct = connection.upstream.sink
        await add(server, "latency", latency=1)
        assert connection.upstream.sink != direct
        await call(server, "DELETE", "/proxies/p/toxics/t")
        assert connection.upstream.sink == direct
        assert connection.upstream.sink.__self__ is connection.client.transport


async def test_moving_the_upstream_keeps_the_port():
    """The listener is closed and bound anew on the same port at once, many times, with a connection open."""
    async with proxied() as (server, port), client(port) as (reader, writer):
        writer.write(b"x")
        await reader.readexactly(1)
        for number in range(1, 11):
            moved = await call(server, "PATCH", "/proxies/p", {"upstream": f"127.0.0.1:{number}"})
            assert moved.status == 200, moved.body
            assert moved.json()["listen"] == f"127.0.0.1:{port}"
