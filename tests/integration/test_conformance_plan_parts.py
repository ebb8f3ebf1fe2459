"""The scripted dependency, the driver before it starts, and proxies of ours, on real sockets."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from resilience.breaker.spec import BreakerSpec
from resilience.lab.external import ExternalStack
from resilience.lab.fronting import repoint
from resilience.lab.system import ProxyPoint, StackError, System
from resilience.load.identity import call_id
from resilience.load.requests import HttpRequest
from resilience.load.stimulus_actions import Answer, Send
from resilience.load.stimulus_dependency import Healthy, ScriptedDependency
from resilience.load.stimulus_driver import Aim, Rejection, StimulusDriver, StimulusError

pytestmark = pytest.mark.integration

MS = 1_000_000
Handler = Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A service on a free port that answers /call."""
    app = web.Application()
    app.router.add_get("/call", handler)
    app.router.add_get("/", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def caller_of(
    upstream: str, header: str | None = "X-Request-Id", names: tuple[str, ...] = ("i1",)
) -> Handler:
    """A service without a breaker that calls its dependency, and passes the id on in `header`; connections take turns over `names`."""
    seats: dict[Any, str] = {}

    async def handler(request: web.Request) -> web.Response:
        name = seats.setdefault(request.transport, names[len(seats) % len(names)])
        headers = {} if header is None else {header: request.headers["X-Request-Id"]}
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as client,
                client.get(upstream, headers=headers) as response,
            ):
                status = 200 if response.status < 500 else 502
        except (aiohttp.ClientError, TimeoutError):
            status = 502
        return web.Response(status=status, headers={"X-Instance": name})

    return handler


def driver_for(url: str, dependency: ScriptedDependency, rows: list[Any]) -> StimulusDriver:
    """A driver for a service at an address."""
    aim = Aim(
        name="calls",
        run_id="r",
        request=HttpRequest(f"{url}/call", expect_status=((200, 200),), instance_header="X-Instance"),
        spec=BreakerSpec.from_mapping({"failures": 3, "wait_ms": 100}),
        rejection=Rejection(status=503),
        timeout_ns=2_000 * MS,
        upstream=dependency.address,
    )
    return StimulusDriver(aim, dependency, on_row=rows.append, on_event=lambda _: None)


async def test_conformance_plan_dependency_does_as_it_was_told() -> None:
    """Each call gets what was decided for its id; a stranger gets a good answer and is counted."""
    async with (
        ScriptedDependency(Healthy(b"fine", {"X-Kind": "well"})) as dependency,
        aiohttp.ClientSession() as client,
    ):

        async def ask(known_as: str | None) -> tuple[int, str]:
            headers = {} if known_as is None else {"x-request-id": known_as}
            async with client.get(f"http://{dependency.address}/any/path", headers=headers) as response:
                return response.status, await response.text()

        dependency.announce("bad", Answer("failure"))
        dependency.announce("slow", Answer("ok", 150 * MS))
        dependency.announce("hang", Answer("hang", 50 * MS))
        dependency.announce("never", Answer())
        assert (await ask("bad"))[0] == 500
        begun = time.monotonic()
        assert await ask("slow") == (200, "fine")
        assert time.monotonic() - begun >= 0.15
        with pytest.raises(aiohttp.ClientError):
            await ask("hang")
        assert dependency.strangers == 0
        assert await ask(None) == (200, "fine")
        assert dependency.strangers == 1
        assert dependency.arrived("bad")
        assert not dependency.arrived("never")


async def test_conformance_plan_driver_prepares_when_a_call_comes_through() -> None:
    """One instance is found, every call is a row, and what failed behind a good answer is a fallback."""
    rows: list[Any] = []
    async with (
        ScriptedDependency(Healthy()) as dependency,
        serving(caller_of(f"http://{dependency.address}")) as url,
    ):
        driver = driver_for(url, dependency, rows)
        assert await driver.prepare() == ["i1"]
        driver.close()
    calls = [row for message in rows for row in message["rows"]]
    assert [row[0] for row in calls] == list(range(len(calls)))
    assert {(row[6], row[7], row[8], row[9]) for row in calls} == {(200, "ok", "i1", "ok")}
    assert all(dependency.arrived(call_id("r", "calls", row[0])) for row in calls)


async def test_conformance_plan_driver_finds_every_instance_behind_an_address() -> None:
    """Connections lead to one instance each; the script then keeps to its own."""
    async with ScriptedDependency(Healthy()) as dependency:
        handler = caller_of(f"http://{dependency.address}", names=("a", "b"))
        async with serving(handler) as url:
            rows: list[Any] = []
            driver = driver_for(url, dependency, rows)
            assert await driver.prepare() == ["a", "b"]
            before = len(rows)
            for number in range(10_000, 10_005):
                lane = await driver._lanes.borrow("b")
                row, seen = await driver._call(number, Send(Answer("failure")), lane)
                assert (row[8], seen.outcome) == ("b", "failed")
            assert len(rows) == before + 5
            driver.close()


@pytest.mark.parametrize("header", [None, "X-Other"])
async def test_conformance_plan_driver_says_that_the_id_is_not_passed_on(header: str | None) -> None:
    """The dependency was called, but nobody knows for which call."""
    async with (
        ScriptedDependency(Healthy()) as dependency,
        serving(caller_of(f"http://{dependency.address}", header)) as url,
    ):
        with pytest.raises(StimulusError, match="must pass the header X-Request-Id on"):
            await driver_for(url, dependency, []).prepare()


async def test_conformance_plan_driver_says_that_nothing_arrived() -> None:
    """The service works, with another dependency."""

    async def alone(_: web.Request) -> web.Response:
        return web.Response()

    async with ScriptedDependency(Healthy()) as dependency, serving(alone) as url:
        with pytest.raises(StimulusError, match=f"must call http://{dependency.address}"):
            await driver_for(url, dependency, []).prepare()


async def test_conformance_plan_driver_says_that_a_breaker_stays_shut() -> None:
    """It is given its time, then named."""

    async def shut(_: web.Request) -> web.Response:
        return web.Response(status=503)

    async with ScriptedDependency(Healthy()) as dependency, serving(shut) as url:
        driver = driver_for(url, dependency, [])
        driver.patience_ns = 300 * MS
        with pytest.raises(StimulusError, match="does not let a single call through"):
            await driver.prepare()


async def test_conformance_plan_driver_says_that_nobody_is_there() -> None:
    """No connection, no traceback."""
    async with ScriptedDependency(Healthy()) as dependency:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            driver = driver_for(f"http://127.0.0.1:{sock.getsockname()[1]}", dependency, [])
            with pytest.raises(StimulusError, match="cannot be reached"):
                await driver.prepare()


def external(base_url: str, listen: str, upstream: str = "") -> ExternalStack:
    """A system with a proxy of ours in front of its dependency."""
    point = ProxyPoint("dependency", "", "dependency", listen, upstream)
    return ExternalStack(System("external", base_url, {"dependency": point}))


async def test_external_stack_puts_proxies_of_ours_where_the_plan_says() -> None:
    """Tap and toxic proxy are there while it is up, may be led elsewhere, and are gone afterwards."""

    async def named(_: web.Request) -> web.Response:
        return web.Response(text="theirs")

    async with serving(named) as theirs, ScriptedDependency(Healthy(b"ours")) as dependency:
        stack = external(theirs, "127.0.0.1:0", theirs.removeprefix("http://"))
        system = await stack.up()
        point = system.proxies["dependency"]
        try:
            async with aiohttp.ClientSession() as client:
                async with client.get(f"http://{point.listen}/") as response:
                    assert await response.text() == "theirs"
                await repoint(point, dependency.address)
            async with aiohttp.ClientSession() as client:
                async with client.get(f"http://{point.listen}/") as response:
                    assert await response.text() == "ours"
                async with client.get(f"{point.tap_url}/taps/dependency/records") as response:
                    records = (await response.json())["records"]
            assert [record["kind"] for record in records].count("arrival") == 2
        finally:
            await stack.down()
        host, _, port = point.listen.rpartition(":")
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection(host, int(port))


async def test_external_stack_says_that_its_address_is_taken() -> None:
    """With the setting that chooses another; nothing is left running."""

    async def named(_: web.Request) -> web.Response:
        return web.Response()

    async with serving(named) as theirs:
        taken = theirs.removeprefix("http://")
        with pytest.raises(StackError, match=r"external\.proxies\.dependency\.listen=HOST:PORT"):
            await external(theirs, taken).up()
