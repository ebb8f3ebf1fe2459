"""Tap and proxy of one dependency in one process: what passes is recorded, a cut-off proxy comes back at its port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from faults.proxy.front import Point, main, parse_point, serve_front
from faults.toxiproxy import ToxiproxyClient
from resilience.interpose.counting import passed
from resilience.interpose.model import Front, Gate
from resilience.interpose.proving import silent
from resilience.lab.system import StackError

pytestmark = pytest.mark.integration


@pytest.fixture
async def dependency() -> AsyncIterator[str]:
    """Answers each line with itself; its "host:port"."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()


async def said(port: int) -> bytes:
    """What the dependency answers through the front; nothing where it is cut off."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello\n")
        answer = await asyncio.wait_for(reader.readline(), 10)
        writer.close()
        await writer.wait_closed()
    except OSError:
        return b""
    return answer


async def test_front_passes_records_is_cut_off_and_comes_back(dependency: str) -> None:
    """As a caller sees it, as the tap sees it, and by the API that faults use."""
    points = [Point("db", 0, dependency)]
    front = await serve_front(points, host="127.0.0.1", admin_port=0, tap_port=0, listen_host="127.0.0.1")
    port = int(front.taps.addresses()["db"].rpartition(":")[2])
    try:
        assert await said(port) == b"hello\n"
        async with ToxiproxyClient(front.proxies.admin_url) as proxies, aiohttp.ClientSession() as session:
            async with session.get(f"{front.taps.control_url}/taps/db/records") as answer:
                records = (await answer.json())["records"]
            assert records[0]["kind"] == "open"
            await proxies.update("db", enabled=False)
            assert await said(port) == b""
            await proxies.update("db", enabled=True)
            assert await said(port) == b"hello\n"
    finally:
        await front.close()


async def test_passed_counts_what_goes_over_a_connection_of_before(dependency: str) -> None:
    """A pool that was filled before the load is no unused proxy; one that nothing goes over is."""
    points = [Point("db", 0, dependency)]
    server = await serve_front(points, host="127.0.0.1", admin_port=0, tap_port=0, listen_host="127.0.0.1")
    admin, tap = (int(url.rpartition(":")[2]) for url in (server.proxies.admin_url, server.taps.control_url))
    front = Front("db", "db--real", "chaos-db", ("db",), (Gate("db", 5432, "tcp", None),), (), (), admin, tap)
    try:
        host, _, port = server.taps.addresses()["db"].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"pooled\n")
        assert await asyncio.wait_for(reader.readline(), 10) == b"pooled\n"
        before = await passed([front])
        assert silent(front, before, await passed([front]))[0].kind == "silent"
        writer.write(b"used\n")
        assert await asyncio.wait_for(reader.readline(), 10) == b"used\n"
        assert silent(front, before, await passed([front])) == ()
        writer.close()
        await writer.wait_closed()
    finally:
        await server.close()
    with pytest.raises(StackError, match="the tap of db does not tell"):
        await passed([front])


def test_front_reads_its_points() -> None:
    """A header that names each call comes last, and only then."""
    assert parse_point("p,80,real:80,http,traceparent") == Point("p", 80, "real:80", "http", "traceparent")
    assert parse_point("p,80,real:80,tcp") == Point("p", 80, "real:80")


@pytest.mark.parametrize("text", ["p,80,real:80", "p,0,real:80,tcp", "p,80,real:80,udp", ",80,real:80,tcp"])
def test_front_refuses_what_is_no_point(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One message, exit 2, nothing started."""
    with pytest.raises(SystemExit) as ended:
        main(["--point", text])
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err
