"""The tap process: traffic passes untouched, and the records say what went by, when, and how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from faults_proxy_http import client, upstream

pytestmark = pytest.mark.integration


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer requests; /slow waits, /die hangs up."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/die" in head:
            return
        if b"/slow" in head:
            await asyncio.sleep(5)
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()


class Taps:
    """A running tap process."""

    def __init__(
        self, process: asyncio.subprocess.Process, ready: dict[str, Any], session: aiohttp.ClientSession
    ):
        self.process, self.ready, self.session = process, ready, session

    def port(self, name: str) -> int:
        """Where a tap listens."""
        return int(self.ready["taps"][name].rpartition(":")[2])

    async def records(self, name: str, count: int) -> list[dict[str, Any]]:
        """Long-poll until there are `count` records."""
        found: list[dict[str, Any]] = []
        following = 1
        async with asyncio.timeout(5):
            while len(found) < count:
                url = f"{self.ready['control']}/taps/{name}/records?since={following}&wait=2"
                async with self.session.get(url) as response:
                    got = await response.json()
                found += got["records"]
                following = got["next"]
        return found


@contextlib.asynccontextmanager
async def taps(tmp_path, *entries: dict[str, Any]) -> AsyncIterator[Taps]:
    """Run the process with a config; it must end by itself when its stdin does."""
    config = tmp_path / "taps.json"
    config.write_text(json.dumps(entries), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "faults.proxy.tap", "--config", str(config), "--die-with-parent"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        async with asyncio.timeout(10), aiohttp.ClientSession() as session:
            yield Taps(process, json.loads(await process.stdout.readline()), session)
        process.stdin.close()
        async with asyncio.timeout(3):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def entry(port: int, name: str = "t", **changes: Any) -> dict[str, Any]:
    """Configure a tap."""
    return {"name": name, "listen": "127.0.0.1:0", "upstream": f"127.0.0.1:{port}", "protocol": "http"} | {
        "correlate": "x-request-id",
        **changes,
    }


async def test_tap_records_requests_and_answers(tmp_path):
    """Arrival and done for each, with id, path, status and an interval around the true time."""
    async with upstream(answer) as port, taps(tmp_path, entry(port)) as running:
        async with client(running.port("t")) as (reader, writer):
            for number in (1, 2):
                before_ns = time.monotonic_ns()
                writer.write(b"GET /p/%d HTTP/1.1\r\nX-Request-ID: r%d\r\n\r\n" % (number, number))
                await reader.readuntil(b"ok")
                after_ns = time.monotonic_ns()
        records = await running.records("t", 4)
    assert [record["kind"] for record in records] == ["arrival", "done", "arrival", "done"]
    assert [record["seq"] for record in records] == [1, 2, 3, 4]
    arrival, done = records[2:]
    assert (arrival["id"], arrival["method"], arrival["path"], arrival["n"]) == ("r2", "GET", "/p/2", 2)
    assert (done["n"], done["status"], done["end"]) == (2, 201, "response")
    assert arrival["at"][0] <= arrival["at"][1]
    assert before_ns <= arrival["at"][1] <= done["at"][1] <= after_ns


@pytest.mark.parametrize(("path", "end"), [("/slow", "caller_closed"), ("/die", "upstream_closed")])
async def test_tap_tells_who_ended_a_call(tmp_path, path, end):
    """A caller that gives up and an upstream that hangs up are told apart; there is no status."""
    async with upstream(answer) as port, taps(tmp_path, entry(port)) as running:
        async with client(running.port("t")) as (reader, writer):
            writer.write(f"GET {path} HTTP/1.1\r\n\r\n".encode())
            if path == "/die":
                assert await reader.read() == b""
            else:
                await running.records("t", 1)
        records = await running.records("t", 2)
    assert (records[1]["end"], records[1]["status"]) == (end, None)


async def test_tap_passes_a_refusal_on_as_a_reset(tmp_path):
    """The tap listens although nobody is behind it; the caller is reset, and the request is on record."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        async with taps(tmp_path, entry(sock.getsockname()[1])) as running:
            async with client(running.port("t")) as (reader, writer):
                writer.write(b"GET /x HTTP/1.1\r\nX-Request-Id: r\r\n\r\n")
                with pytest.raises(ConnectionResetError):
                    await reader.read()
            arrival, done = await running.records("t", 2)
    assert arrival["id"] == "r"
    assert done["end"] == "refused"


async def test_tap_of_tcp_records_connections_and_that_something_passed(tmp_path):
    """Open, traffic once within a second however much is sent, and close, whatever the bytes are."""

    async def echo(reader, writer):
        while data := await reader.read(100):
            writer.write(data)

    async with upstream(echo) as port, taps(tmp_path, entry(port, protocol="tcp", correlate=None)) as running:
        async with client(running.port("t")) as (reader, writer):
            for _ in range(5):
                writer.write(b"\0\1\2")
                assert await reader.readexactly(3) == b"\0\1\2"
        records = await running.records("t", 3)
    kinds = [record["kind"] for record in records]
    assert (kinds[0], kinds[1], kinds[-1]) == ("open", "traffic", "close")
    assert len(kinds) <= 5


async def test_tap_control_adds_shows_and_removes(tmp_path):
    """POST, GET and DELETE /taps, with clear errors."""
    async with upstream(answer) as port, taps(tmp_path) as running:
        base = running.ready["control"] + "/taps"
        for body, status in ((entry(port), 201), (entry(port), 409), ({"name": "x"}, 400)):
            async with running.session.post(base, json=body) as response:
                assert response.status == status
        async with running.session.post(base, data=b"[" * 100_000) as response:
            assert response.status == 400
        async with running.session.get(base) as response:
            shown = (await response.json())["t"]
        assert (shown["protocol"], shown["next_seq"], shown["dropped"], shown["connections"]) == (
            "http",
            1,
            0,
            0,
        )
        for status in (204, 404):
            async with running.session.delete(f"{base}/t") as response:
                assert response.status == status
        async with running.session.get(base, headers={"Origin": "http://evil.example"}) as response:
            assert response.status == 403


async def test_tap_ends_on_sigterm_within_two_seconds(tmp_path):
    """A waiting reader and an open connection do not keep it."""
    async with upstream(answer) as port, taps(tmp_path, entry(port)) as running, client(running.port("t")):
        waiting = asyncio.create_task(
            running.session.get(f"{running.ready['control']}/taps/t/records?since=1&wait=30")
        )
        await asyncio.sleep(0.2)
        started = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        assert await running.process.wait() == 0
        assert time.monotonic() - started < 2
        waiting.cancel()
        await asyncio.wait([waiting])
