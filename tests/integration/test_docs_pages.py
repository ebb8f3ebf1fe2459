"""Python of the pages that needs something to act on: servers of our own, the lab, a pytest of a user's project."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from docs_blocks import ROOT, blocks
from plugin_projects import run_project, write_project

from faults.model import ProxySpec, ToxicSpec
from faults.toxiproxy import ToxiproxyClient
from resilience.lab.ports import free_port
from resilience.pytest_plugin.layers import EmbeddedServer

pytestmark = pytest.mark.integration


def texts(page: str, language: str = "python") -> list[str]:
    """The blocks of a page in one language."""
    return [block.text for block in blocks(ROOT / page) if block.language == language]


async def run_block(text: str, **names: Any) -> dict[str, Any]:
    """Run statements that may await, with these names at hand; gives the names that they leave."""
    body = "".join(f"    {line}\n" if line.strip() else "\n" for line in text.splitlines())
    space: dict[str, Any] = {}
    exec(f"async def example({', '.join(names)}):\n{body}    return locals()\n", space)
    found: dict[str, Any] = await space["example"](**names)
    return found


@contextlib.asynccontextmanager
async def server() -> AsyncIterator[str]:
    """A proxy server of our own; its admin URL."""
    embedded = EmbeddedServer(seed=1)
    try:
        yield await embedded.start()
    finally:
        await embedded.stop()


async def test_page_on_proxies_shows_a_client_that_works() -> None:
    """A toxic for the length of a block, and the HTTP toxic of the page, on a real server."""
    async with server() as admin_url, ToxiproxyClient(admin_url) as client:
        (text,) = texts("docs/proxy.md")
        assert "http://127.0.0.1:8474" in text
        await run_block(text.replace("http://127.0.0.1:8474", admin_url))
        assert await client.toxics("db") == ()
        (http,) = texts("docs/proxy.md", "json")
        told = json.loads(http)
        await client.add_toxic(
            "db", ToxicSpec(told["type"], stream="upstream", attributes=told["attributes"])
        )
        (toxic,) = await client.toxics("db")
        assert toxic.attributes["status"] == 503


async def test_page_on_safety_shows_a_session_that_heals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The fault of the page goes in, is taken out, and is looked at."""
    async with server() as admin_url, ToxiproxyClient(admin_url) as client:
        await client.create(ProxySpec("pricing", "127.0.0.1:0", "127.0.0.1:9"))
        found = await run_block(texts("docs/safety.md")[0])
        await found["slow_for_a_while"](admin_url, tmp_path / "state")
        assert await client.toxics("pricing") == ()
    said = capsys.readouterr().out
    assert said.index("injected") < said.index("healed") < said.index("verified")


@pytest.mark.slow
async def test_page_on_the_lab_brings_it_up_breaks_it_and_takes_it_down() -> None:
    """The two blocks of the page, one inside the other: up, a toxic in front of pricing, down."""
    pytest.importorskip("asyncpg")
    first, second = texts("docs/lab.md")
    up, down = first.split("await stack.down()")[0], "await stack.down()"
    found = await run_block(up)
    try:
        await run_block(second, system=found["system"])
        async with ToxiproxyClient(found["system"].proxies["pricing"].admin_url) as client:
            assert await client.toxics("pricing") == ()
    finally:
        await run_block(down, stack=found["stack"])


PRELUDE = """
import socketserver
import threading

import aiobreaker
import pytest


class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        while line := self.rfile.readline():
            self.wfile.write(line)


@pytest.fixture(scope="module", autouse=True)
def upstream():
    with socketserver.ThreadingTCPServer(("127.0.0.1", PORT), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


class my_client:
    def __init__(self, host, port, breaker):
        self.address, self.breaker = (host, port), breaker

    def get(self, key):
        return self.breaker.call(self._get, key)

    def _get(self, key):
        import socket

        with socket.create_connection(self.address, 1) as connection:
            connection.sendall(key.encode() + b"\\n")
            if not connection.recv(10):
                raise ConnectionError


class Client:
    def __init__(self, host, port):
        from datetime import timedelta

        self.address = host, port
        self.breaker = aiobreaker.CircuitBreaker(fail_max=5, timeout_duration=timedelta(seconds=0.3))

    async def get(self):
        return await self.breaker.call_async(self._get)

    async def _get(self):
        import asyncio

        reader, writer = await asyncio.open_connection(*self.address)
        try:
            writer.write(b"x\\n")
            if not await reader.readline():
                raise ConnectionError
        finally:
            writer.close()
"""


def test_page_on_pytest_is_a_project_that_passes(tmp_path: Path) -> None:
    """The tests of the page, with a client to break; `chaos_allow` and the specification from a file stand beside them."""
    pytest.importorskip("pybreaker")
    pytest.importorskip("aiobreaker")
    own, spec, _service, waits, allow = texts("docs/pytest.md")
    (tmp_path / "app").mkdir()
    (tmp_path / "app/application.yml").write_text(
        "resilience4j.circuitbreaker.instances.pricing: {slidingWindowSize: 10, minimumNumberOfCalls: 5}\n"
        "---\nspring.config.activate.on-profile: test\n"
        "resilience4j.circuitbreaker.instances.pricing: {waitDurationInOpenState: 2s}\n"
    )
    port = str(free_port())
    page = f"{PRELUDE.replace('PORT', port)}{own}\n{spec}\n@pytest.mark.asyncio\n{waits}"
    project = write_project(
        tmp_path,
        test_page=page.replace("127.0.0.1:6379", f"127.0.0.1:{port}"),
        conftest=f"import pytest\n\n{allow}",
    )
    ended = run_project(project, "-q", asyncio=True)
    assert (ended.code, "2 passed" in ended.output) == (0, True), ended.output
