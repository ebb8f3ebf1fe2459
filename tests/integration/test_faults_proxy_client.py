"""One contract for the client and both servers: ours always, Shopify's where its binary is on this machine.

What only one server can do has its own tests; everything here must hold for both.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from faults_proxy_http import echo, upstream

from faults.model import ProxySpec, ToxicSpec
from faults.proxy.server import ServerOptions, serve
from faults.toxiproxy import ToxiproxyClient, ToxiproxyError, ToxiproxyUnavailable, ToxiproxyUnsupported
from resilience.lab.ports import free_port

pytestmark = pytest.mark.integration

LATENCY = ToxicSpec("latency", attributes={"latency": 100, "jitter": 0})


@contextlib.asynccontextmanager
async def shopify(program: str) -> AsyncIterator[str]:
    """Run Shopify's server; yield its admin URL."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        program, "-host", "127.0.0.1", "-port", str(port), stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with ToxiproxyClient(f"http://127.0.0.1:{port}") as client:
            for _ in range(100):
                with contextlib.suppress(ToxiproxyUnavailable):
                    await client.version()
                    break
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


@pytest_asyncio.fixture(params=["embedded", "toxiproxy"])
async def control(request: pytest.FixtureRequest) -> AsyncIterator[ToxiproxyClient]:
    """A client of a fresh server of either kind."""
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "embedded":
            url = (await stack.enter_async_context(await serve(ServerOptions(port=0)))).admin_url
        else:
            url = await stack.enter_async_context(shopify(request.getfixturevalue("require")("toxiproxy")))
        yield await stack.enter_async_context(ToxiproxyClient(url))


def spec(name: str = "p", **changes: object) -> ProxySpec:
    """A proxy on any port, before nothing in particular."""
    return ProxySpec(name, **{"listen": "127.0.0.1:0", "upstream": "127.0.0.1:9", **changes})


async def round_trip(listen: str) -> bytes:
    """Send a byte to a proxy of an echo server and read what comes back."""
    host, _, port = listen.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"x")
    async with asyncio.timeout(3):
        got = await reader.read(1)
    writer.close()
    return got


async def test_client_creates_shows_and_deletes(control: ToxiproxyClient):
    """A proxy comes back with the port it got, is listed, and goes."""
    made = await control.create(spec())
    assert not made.listen.endswith(":0")
    assert await control.proxy("p") == made
    assert await control.proxies() == {"p": made}
    await control.delete("p")
    assert await control.proxies() == {}


async def test_client_creates_a_proxy_with_its_toxics(control: ToxiproxyClient):
    """Toxics of the spec are added, whichever server it is."""
    made = await control.create(spec(toxics=(LATENCY,)))
    assert made.toxics == (ToxicSpec("latency", "latency_downstream", attributes=LATENCY.attributes),)
    assert await control.proxy("p") == made


async def test_client_passes_bytes_and_takes_a_proxy_down(control: ToxiproxyClient):
    """Up it passes, down it refuses, up again it passes on the same port."""
    async with upstream(echo) as port:
        made = await control.create(spec(upstream=f"127.0.0.1:{port}"))
        assert await round_trip(made.listen) == b"x"
        async with control.down("p") as down:
            assert not down.enabled
            with pytest.raises(ConnectionRefusedError):
                await round_trip(made.listen)
        assert await round_trip(made.listen) == b"x"


async def test_client_updates_and_removes_toxics(control: ToxiproxyClient):
    """Attributes are merged, toxicity is replaced, removal empties the list."""
    await control.create(spec())
    added = await control.add_toxic("p", LATENCY)
    assert added.name == LATENCY.resolved_name
    changed = await control.update_toxic("p", added.name, attributes={"jitter": 7}, toxicity=0.5)
    assert (changed.attributes, changed.toxicity) == ({"latency": 100, "jitter": 7}, 0.5)
    assert await control.toxics("p") == (changed,)
    await control.remove_toxic("p", added.name)
    assert await control.toxics("p") == ()


@pytest.mark.parametrize(
    ("act", "status"),
    [
        (lambda control: control.proxy("nah"), 404),
        (lambda control: control.remove_toxic("p", "nah"), 404),
        (lambda control: control.create(spec()), 409),
        (lambda control: control.add_toxic("p", ToxicSpec("nah")), 400),
        (lambda control: control.create(spec("", upstream="x:1")), 400),
    ],
)
async def test_client_raises_the_servers_words(control: ToxiproxyClient, act, status: int):
    """Errors carry the HTTP status and what the server said."""
    await control.create(spec())
    with pytest.raises(ToxiproxyError) as caught:
        await act(control)
    assert caught.value.status == status


async def test_client_populates_and_resets(control: ToxiproxyClient):
    """Populate is idempotent; reset enables everything and removes every toxic."""
    made = await control.populate([spec("a"), spec("b", enabled=False)])
    assert [proxy.enabled for proxy in made.values()] == [True, False]
    again = await control.populate([ProxySpec("a", made["a"].listen, made["a"].upstream)])
    assert again["a"] == made["a"]
    await control.add_toxic("a", LATENCY)
    await control.reset()
    after = await control.proxies()
    assert all(proxy.enabled and not proxy.toxics for proxy in after.values())


async def test_client_heals_on_cancellation(control: ToxiproxyClient):
    """A block that is cancelled leaves neither the toxic nor a proxy that is down."""
    await control.create(spec())
    entered = asyncio.Event()

    async def hold() -> None:
        async with control.toxic("p", LATENCY), control.down("p"):
            entered.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(hold())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    after = await control.proxy("p")
    assert after.enabled
    assert after.toxics == ()


async def test_client_restores_a_snapshot(control: ToxiproxyClient):
    """Whatever was changed since, names, addresses, states and toxics are what they were."""
    await control.create(spec("a", toxics=(LATENCY,)))
    await control.create(spec("b"))
    before = await control.snapshot()
    await control.delete("b")
    await control.create(spec("c"))
    await control.remove_toxic("a", LATENCY.resolved_name)
    await control.add_toxic("a", ToxicSpec("timeout"))
    await control.set_enabled("a", enabled=False)
    await control.restore(before)
    assert await control.snapshot() == before


async def test_client_names_the_capability_that_a_server_lacks(control: ToxiproxyClient):
    """A time to live works where the server can; elsewhere nothing is sent and the error says why."""
    await control.create(spec())
    if "ttl" in await control.capabilities():
        await control.add_toxic("p", LATENCY, ttl_ms=60_000)
        assert len(await control.toxics("p")) == 1
        return
    with pytest.raises(ToxiproxyUnsupported, match="'ttl'"):
        await control.add_toxic("p", LATENCY, ttl_ms=60_000)
    assert await control.toxics("p") == ()


async def test_client_does_not_hang_on_a_dead_server():
    """A refused connection, and a server that never answers, are ToxiproxyUnavailable within the limit."""
    async with ToxiproxyClient(f"http://127.0.0.1:{free_port()}", timeout_s=0.5) as client:
        with pytest.raises(ToxiproxyUnavailable):
            await client.version()

    async def silent(reader, _writer):
        await reader.read()

    async with upstream(silent) as port, ToxiproxyClient(f"http://127.0.0.1:{port}", timeout_s=0.2) as client:
        with pytest.raises(ToxiproxyUnavailable, match=r"within 0\.2 s"):
            await client.proxies()


@pytest.mark.parametrize(
    ("call", "tries"),
    [
        (lambda client: client.version(), 3),
        (lambda client: client.reset(), 3),
        (lambda client: client.create(spec()), 1),
    ],
    ids=["read", "reset", "create"],
)
async def test_client_tries_again_what_may_be_repeated(call, tries: int):
    """A server that hangs up on everybody: what may be repeated is, a creation is not, and the error says what failed."""
    asked = []

    async def moody(reader, writer):
        asked.append((await reader.readuntil(b"\r\n\r\n")).split()[1])
        writer.close()

    async with upstream(moody) as port, ToxiproxyClient(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(ToxiproxyUnavailable, match="no answer"):
            await call(client)
    # aiohttp tries reads again on its own account as well.
    assert len(asked) == tries if tries == 1 else len(asked) >= tries


async def test_client_gets_through_where_only_the_first_try_fails():
    """The answer of the second try is the answer."""
    asked = []

    async def moody(reader, writer):
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        if len(asked) > 1:
            body = b'{"version": "9"}'
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
        writer.close()

    async with upstream(moody) as port, ToxiproxyClient(f"http://127.0.0.1:{port}") as client:
        assert await client.version() == "9"
    assert len(asked) == 2
