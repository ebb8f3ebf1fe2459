"""Tap and proxy of one dependency in one process: what passes is recorded, a cut-off proxy comes back at its port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from faults.proxy.front import Point, main, parse_point, serve_front
from faults.toxiproxy import ToxiproxyClient

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
