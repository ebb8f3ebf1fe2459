"""The toxics that Toxiproxy does not have, on real sockets: HTTP faults, gates, a shared line; and the event log."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from faults_proxy_http import add, call, client, echo, exchange, proxied

from faults.model import ProxySpec, ToxicSpec
from faults.proxy.control import ControlOptions
from faults.proxy.server import ServerOptions, serve
from faults.toxics import OWN_TOXICS
from faults.toxiproxy import ToxiproxyClient, ToxiproxyError, ToxiproxyUnsupported

pytestmark = pytest.mark.integration


async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request with its own path, on a connection that stays."""
    while head := await reader.readuntil(b"\r\n\r\n"):
        path = head.split()[1]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path))
        await writer.drain()


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> tuple[int, str, str]:
    """Make a request on a kept connection; return status, head and body."""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    async with asyncio.timeout(5):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().partition("content-length: ")[2].split()[0])
        return int(head.split()[1]), head, (await reader.readexactly(length)).decode()


async def events(server: Any) -> list[tuple[int, str, str]]:
    """What was done, as (connection, toxic, did)."""
    shown = (await call(server, "GET", "/events")).json()["events"]
    return [(event["connection"], event["toxic"], event["did"]) for event in shown]


async def test_http_faults_are_per_request():
    """One path is answered by the proxy with status, header and body, the other by the upstream, on one connection."""
    async with proxied(web) as (server, port), client(port) as (reader, writer):
        assert (await ask(reader, writer, "/a"))[0] == 200
        made = {
            "type": "http",
            "name": "t",
            "attributes": {"status": 503, "headers": "Retry-After: 7", "body": "busy", "path": "/a*"},
        }
        answer = await call(server, "POST", "/proxies/p/toxics", made)
        assert answer.json()["stream"] == "upstream"
        assert answer.json()["attributes"]["probability"] == 1.0
        status, head, body = await ask(reader, writer, "/ab")
        assert (status, body) == (503, "busy")
        assert "Retry-After: 7\r\n" in head
        assert await ask(reader, writer, "/b") == (200, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "/b")
        await call(server, "DELETE", "/proxies/p/toxics/t")
        assert (await ask(reader, writer, "/a"))[0] == 200
        connection = next(iter(server.control.listeners["p"].connections))
        assert connection.upstream.sink.__self__ is connection.client.transport
        assert (1, "t", "answered") in await events(server)


async def test_http_faults_take_the_way_back_of_answers():
    """A downstream latency delays what the proxy answers too."""
    async with proxied(web) as (server, port), client(port) as (reader, writer):
        await add(server, "latency", name="l", latency=120)
        await add(server, "http", stream="upstream", name="h", status=429, delay=30)
        started = time.monotonic()
        assert (await ask(reader, writer, "/"))[0] == 429
        assert time.monotonic() - started >= 0.149
        listed = (await call(server, "GET", "/connections")).json()["connections"][0]
        assert listed["upstream"]["sent_bytes"] == 0
        assert listed["downstream"]["received_bytes"] == 0
        assert listed["downstream"]["sent_bytes"] > 0


@pytest.mark.parametrize(
    ("attributes", "complaint"),
    [
        ({"status": 99}, "status must be 0 or between 200 and 599"),
        ({"probability": 2}, "probability must be between 0 and 1"),
        ({"probability": "x"}, "of type float64"),
        ({"probability": 1e400}, "bad request body"),
        ({"body": 5}, "of type string"),
        ({"headers": "x"}, "headers must be lines"),
        ({"delay": 1.5}, "of type int64"),
    ],
)
async def test_http_attributes_are_validated_by_the_api(attributes: dict[str, Any], complaint: str):
    """A 400 that names the attribute."""
    async with proxied() as (server, _):
        body = {"type": "http", "stream": "upstream", "attributes": attributes}
        answer = await call(server, "POST", "/proxies/p/toxics", body)
        assert answer.status == 400
        assert complaint in answer.json()["error"]


async def test_http_acts_upstream_only():
    """The other stream is a 400 that says so."""
    async with proxied() as (server, _):
        answer = await call(server, "POST", "/proxies/p/toxics", {"type": "http", "stream": "downstream"})
        assert (answer.status, answer.json()["error"]) == (400, "stream of http must be upstream")


async def connects(port: int) -> str:
    """Try a connection: what becomes of it."""
    try:
        async with client(port) as (reader, writer):
            writer.write(b"x")
            async with asyncio.timeout(3):
                return (await reader.readexactly(1)).decode()
    except ConnectionRefusedError:
        return "refused"
    except (ConnectionResetError, asyncio.IncompleteReadError):
        return "reset"


async def test_refuse_refuses_new_connections_and_spares_open_ones():
    """Refused by the kernel while it is there; the open connection and the port survive; then all is as before."""
    async with proxied(echo) as (server, port), client(port) as (reader, writer):
        writer.write(b"a")
        await reader.readexactly(1)
        for _ in range(3):
            await add(server, "refuse")
            await asyncio.sleep(0.02)
            assert await connects(port) == "refused"
            writer.write(b"b")
            assert await reader.readexactly(1) == b"b"
            await call(server, "DELETE", "/proxies/p/toxics/t")
            assert await connects(port) == "x"
        await add(server, "refuse")
        await call(server, "PATCH", "/proxies/p", {"enabled": False})
        await call(server, "PATCH", "/proxies/p", {"enabled": True})
        await asyncio.sleep(0.02)
        assert await connects(port) == "refused"
        await call(server, "POST", "/reset")
        assert await connects(port) == "x"


async def test_refuse_turns_away_a_share():
    """Below toxicity 1 the chosen connections are reset, and logged."""
    async with proxied(echo, seed=5) as (server, port):
        body = {"type": "refuse", "name": "t", "toxicity": 0.5}
        assert (await call(server, "POST", "/proxies/p/toxics", body)).status == 200
        found = [await connects(port) for _ in range(40)]
        assert set(found) == {"reset", "x"}
        assert 8 <= found.count("reset") <= 32
        refused = [number for number, _, did in await events(server) if did == "refused"]
        assert refused == [number for number, what in enumerate(found, start=1) if what == "reset"]


async def test_fail_first_fails_the_first_connections():
    """Counted from when the toxic came."""
    async with proxied(echo) as (server, port):
        assert await connects(port) == "x"
        await add(server, "fail_first", connections=2)
        assert [await connects(port) for _ in range(4)] == ["reset", "reset", "x", "x"]


async def test_bandwidth_is_shared_over_connections():
    """Four connections together take at least as long as one line needs for all their bytes."""
    async with proxied(echo) as (server, port):
        await add(server, "bandwidth_shared", rate=1000)

        async def fetch() -> bytes:
            async with client(port) as (reader, writer):
                writer.write(b"x" * 50_000)
                return await reader.readexactly(50_000)

        started = time.monotonic()
        async with asyncio.timeout(10):
            await asyncio.gather(*(fetch() for _ in range(4)))
        assert time.monotonic() - started >= 0.19


async def test_events_tell_what_each_toxic_did_to_which_connection():
    """Attached and spared, the end that a toxic made, and what passed it; read on from a number."""
    async with proxied(echo) as (server, port):
        await add(server, "limit_data", name="cut", bytes=3)
        await call(server, "POST", "/proxies/p/toxics", {"type": "noop", "name": "never", "toxicity": 0})
        async with client(port) as (reader, writer):
            writer.write(b"hello")
            assert await reader.read() == b"hel"
        found = await events(server)
        for expected in (
            (1, "cut", "attached"),
            (1, "never", "spared"),
            (1, "cut", "close"),
            (1, "cut", "over"),
        ):
            assert expected in found
        shown = (await call(server, "GET", "/events")).json()
        (over,) = [event for event in shown["events"] if event["did"] == "over"]
        assert (over["in_bytes"], over["out_bytes"], over["stream"], over["proxy"]) == (
            5,
            3,
            "downstream",
            "p",
        )
        assert shown["next"] == len(found) + 1
        after = await exchange(server.port, "GET", f"/events?since={shown['next']}")
        assert after.json() == {"next": shown["next"], "dropped": 0, "events": []}
        for wrong in ("x", "-1", "9" * 30):
            assert (await exchange(server.port, "GET", f"/events?since={wrong}")).status == 400


@pytest.mark.parametrize("kind", [toxic.kind for toxic in OWN_TOXICS])
async def test_own_toxics_are_capabilities(kind: str):
    """Each is told by GET /capabilities, is unknown to compatible mode, and the client says so before it sends."""
    stream = "upstream" if kind == "http" else "downstream"
    toxic = ToxicSpec(kind, stream=stream)
    spec = ProxySpec("p", "127.0.0.1:0", "127.0.0.1:9", toxics=(toxic,))
    async with await serve(ServerOptions(port=0)) as server, ToxiproxyClient(server.admin_url) as control:
        assert f"toxic:{kind}" in await control.capabilities()
        assert (await control.populate([spec]))["p"].toxics[0].type == kind
        assert await control.events() == ([], 1)
        assert await control.connections() == []
    compat = ServerOptions(port=0, control=ControlOptions(compat=True))
    async with await serve(compat) as server, ToxiproxyClient(server.admin_url) as control:
        await control.create(ProxySpec("p", "127.0.0.1:0", "127.0.0.1:9"))
        for attempt in (control.add_toxic("p", toxic), control.populate([spec]), control.events()):
            with pytest.raises(ToxiproxyUnsupported):
                await attempt
        body = {"type": kind, "stream": stream}
        assert (await call(server, "POST", "/proxies/p/toxics", body)).json()["error"] == "invalid toxic type"
        with pytest.raises(ToxiproxyError):
            await control.proxy("q")
