"""What only the embedded server can do, and that compatible mode knows nothing of it."""

from __future__ import annotations

import asyncio
import json

import pytest
from faults_proxy_http import add, call, client, exchange, proxied

from faults.proxy.api import Guard
from faults.proxy.control import CAPABILITIES, ControlOptions
from faults.proxy.server import ServerOptions, serve
from faults.proxy.wire import Route

pytestmark = pytest.mark.integration

LATENCY = {"type": "latency", "name": "l", "attributes": {"latency": 5}}


async def test_capabilities_are_told():
    """GET /capabilities names them; in compatible mode the path does not exist."""
    async with proxied() as (server, _):
        assert (await call(server, "GET", "/capabilities")).json() == {"capabilities": list(CAPABILITIES)}
    async with proxied(compat=True) as (server, _):
        assert (await call(server, "GET", "/capabilities")).status == 404


async def test_ttl_removes_a_toxic_by_itself():
    """After its time the toxic is gone, from the store and from open connections."""
    async with proxied() as (server, port), client(port) as (reader, writer):
        writer.write(b"a")
        await reader.readexactly(1)
        made = await call(
            server, "POST", "/proxies/p/toxics", {"type": "bandwidth", "name": "b", "ttl_ms": 150}
        )
        assert made.json()["ttl_ms"] == 150
        writer.write(b"held")
        async with asyncio.timeout(5):
            assert await reader.readexactly(4) == b"held"
        assert (await call(server, "GET", "/proxies/p/toxics")).json() == []


async def test_ttl_is_renewed_by_an_update_and_dies_with_its_toxic():
    """PATCH with ttl_ms starts a new time; a toxic added under the same name is not taken for the old one."""
    async with proxied() as (server, _):
        await call(server, "POST", "/proxies/p/toxics", {**LATENCY, "ttl_ms": 100})
        await call(server, "PATCH", "/proxies/p/toxics/l", {"ttl_ms": 60_000})
        await asyncio.sleep(0.2)
        assert (await call(server, "GET", "/proxies/p/toxics/l")).status == 200
        await call(server, "DELETE", "/proxies/p/toxics/l")
        await call(server, "POST", "/proxies/p/toxics", {**LATENCY, "ttl_ms": 100})
        await call(server, "DELETE", "/proxies/p/toxics/l")
        await call(server, "POST", "/proxies/p/toxics", LATENCY)
        await asyncio.sleep(0.2)
        assert (await call(server, "GET", "/proxies/p/toxics/l")).status == 200


@pytest.mark.parametrize("ttl", [0, -1, 1.5, "x"])
async def test_ttl_must_be_a_positive_integer(ttl):
    """Anything else is a 400."""
    async with proxied() as (server, _):
        assert (await call(server, "POST", "/proxies/p/toxics", {**LATENCY, "ttl_ms": ttl})).status == 400


async def test_toxics_in_bodies_are_created_with_the_proxy():
    """POST /proxies and /populate take toxics, all or none; in compatible mode they are ignored."""
    entry = {"name": "q", "listen": "127.0.0.1:0", "upstream": "x:1", "toxics": [LATENCY]}
    async with proxied() as (server, _):
        assert (await call(server, "POST", "/proxies", entry)).json()["toxics"][0]["name"] == "l"
        wrong = {**entry, "name": "r", "toxics": [LATENCY, {"type": "nah"}]}
        refused = await call(server, "POST", "/populate", [{**entry, "name": "s"}, wrong])
        assert refused.status == 400
        assert refused.json()["error"] == "invalid toxic type (toxic 2 at proxy 2)"
        assert set((await call(server, "GET", "/proxies")).json()) == {"p", "q"}
        assert (await call(server, "POST", "/populate", [{**entry, "name": "s"}])).status == 201
    async with proxied(compat=True) as (server, _):
        assert (await call(server, "POST", "/proxies", entry)).json()["toxics"] == []


async def test_populate_again_sets_the_listed_toxics_and_keeps_connections():
    """The same entry with other toxics changes the toxics; without `toxics` it changes nothing."""
    async with proxied() as (server, port), client(port) as (reader, writer):
        writer.write(b"a")
        await reader.readexactly(1)
        shown = (await call(server, "GET", "/proxies/p")).json()
        same = {name: shown[name] for name in ("name", "listen", "upstream")}
        await call(server, "POST", "/populate", [{**same, "toxics": [LATENCY]}])
        assert len((await call(server, "GET", "/proxies/p/toxics")).json()) == 1
        await call(server, "POST", "/populate", [same])
        assert len((await call(server, "GET", "/proxies/p/toxics")).json()) == 1
        await call(server, "POST", "/populate", [{**same, "toxics": []}])
        assert (await call(server, "GET", "/proxies/p/toxics")).json() == []
        writer.write(b"b")
        assert await reader.readexactly(1) == b"b"


async def test_connections_are_listed():
    """Each open connection tells its bytes and the toxics at work on it."""
    async with proxied() as (server, port), client(port) as (reader, writer):
        await add(server, "latency", latency=1)
        writer.write(b"abc")
        await reader.readexactly(3)
        (shown,) = (await call(server, "GET", "/connections")).json()["connections"]
        assert shown["proxy"] == "p"
        assert shown["upstream"]["sent_bytes"] == 3
        assert shown["downstream"] == {"received_bytes": 3, "sent_bytes": 3, "held_bytes": 0, "toxics": ["t"]}


async def test_metrics_count_bytes_of_open_and_closed_connections():
    """The names and labels are Toxiproxy's, and each connection is counted once."""
    async with proxied(proxy_metrics=True) as (server, port):
        for _ in range(2):
            async with client(port) as (reader, writer):
                writer.write(b"12345")
                await reader.readexactly(5)
        async with client(port) as (reader, writer):
            writer.write(b"123")
            await reader.readexactly(3)
            answer = server.control.metrics(Route("metrics"), b"").body.decode()
    lines = [line for line in answer.splitlines() if line.startswith("toxiproxy_proxy_received_bytes_total{")]
    assert len(lines) == 2
    assert all(line.endswith(" 13.0") for line in lines)
    assert f'listener="127.0.0.1:{port}",proxy="p",upstream=' in lines[0]


async def test_metrics_need_their_flag():
    """Without one there is no /metrics."""
    async with await serve(ServerOptions(port=0)) as server:
        assert (await exchange(server.port, "GET", "/metrics")).status == 404
    async with await serve(ServerOptions(port=0, control=ControlOptions(runtime_metrics=True))) as server:
        assert b"process_cpu_seconds_total" in (await exchange(server.port, "GET", "/metrics")).body


async def test_token_is_required_where_one_is_set():
    """Without the right token everything is 401."""
    async with await serve(ServerOptions(port=0, guard=Guard(token="s3cret"))) as server:
        assert (await exchange(server.port, "GET", "/version")).status == 401
        headers = {"Authorization": "Bearer s3cret"}
        assert (await exchange(server.port, "GET", "/version", None, headers)).status == 200


async def test_config_file_populates_at_start(tmp_path):
    """The array of /populate, toxics included; a broken file is logged and the server serves."""
    config = tmp_path / "toxiproxy.json"
    entry = {"name": "c", "listen": "127.0.0.1:0", "upstream": "x:1", "toxics": [LATENCY]}
    config.write_text(json.dumps([entry]), encoding="utf-8")
    async with await serve(ServerOptions(port=0, config=config)) as server:
        assert (await exchange(server.port, "GET", "/proxies/c")).json()["toxics"][0]["name"] == "l"
    config.write_text("{", encoding="utf-8")
    async with await serve(ServerOptions(port=0, config=config)) as server:
        assert (await exchange(server.port, "GET", "/proxies")).json() == {}
