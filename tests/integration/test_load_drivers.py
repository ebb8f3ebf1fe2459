"""Every driver against a real counterpart, through a real worker: stamps, categories, and the client traps switched off."""

import asyncio
import contextlib
import os
import shutil
import time
from collections import Counter

import pytest
from aiohttp import web
from websockets.asyncio.server import serve

from resilience.lab.binaries import postgres_programs, valkey_program
from resilience.lab.databases import start_postgres, start_valkey
from resilience.lab.rundir import make_run_directory
from resilience.lab.unprivileged import account
from resilience.load.engine import LoadEngine
from resilience.load.model import Closed, Herd, HttpRequest, PhaseWindow, RateSegment, Stream
from resilience.load.requests import (
    PostgresRequest,
    RedisRequest,
    ScriptRequest,
    SessionRequest,
    WebSocketRequest,
)
from resilience.load.shapes import herd
from resilience.load.spike import SpikeLoadGenerator
from resilience.metrics.fold import LoadTable
from resilience.metrics.outcomes import CATEGORIES

pytestmark = pytest.mark.integration

MS = 10**6
S = 10**9


async def drive(request, *, shape=None, seconds=0.4, rate=50.0, finish_s=30, **changes):
    """Drive 20 operations of a request, or a shape; the categories that are not empty, and the calls."""
    given = {
        "name": "load",
        "shape": shape or (RateSegment(0, int(seconds * S), rate, rate),),
        "arrival": "uniform",
        "request": request,
        "deadline_ns": 10 * S,
        "timeout_ns": 10 * S,
        "record_calls": True,
        "connections": 4,
    }
    messages = []
    async with LoadEngine(
        [Stream(**{**given, **changes})],
        (PhaseWindow("all", 0, 60 * S),),
        workers=1,
        run_id="t",
        on_message=messages.append,
    ) as engine:
        await engine.prepare()
        await engine.start(time.monotonic_ns())
        await engine.finish(finish_s)
    counts = LoadTable.from_messages(messages).bin("load").counts
    assert sum(counts[name] for name in CATEGORIES) == counts["offered"]
    calls = [call for message in messages if message["kind"] == "call" for call in message["rows"]]
    assert len(calls) == counts["offered"]
    for _, intended, start, sent, first, done, *_ in calls:
        assert intended <= start <= sent <= (first or done) <= done
    return {name: counts[name] for name in CATEGORIES if counts[name]}, calls


@contextlib.asynccontextmanager
async def site(*routes):
    """The base URL of an aiohttp site on loopback."""
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        listener = web.TCPSite(runner, "127.0.0.1", 0)
        await listener.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_session_driver_logs_in_and_follows_redirects():
    """A user's cookie from the login lets the second step through, after a redirect, under one id."""
    seen = Counter()

    async def login(request):
        seen[request.headers["X-Request-Id"]] += 1
        answer = web.Response(text="in")
        answer.set_cookie("token", (await request.text()))
        return answer

    async def moved(_request):
        raise web.HTTPFound("/basket")

    async def basket(request):
        seen[request.headers["X-Request-Id"]] += 1
        wanted = request.headers["X-User"]
        return web.Response(status=200 if request.cookies.get("token") == wanted else 401)

    routes = [web.post("/login", login), web.get("/moved", moved), web.get("/basket", basket)]
    async with site(*routes) as url:
        steps = (
            HttpRequest(
                url=f"{url}/login", method="POST", body=b"{user}-{i}", data=({"user": "a"}, {"user": "b"})
            ),
            HttpRequest(
                url=f"{url}/moved", headers=(("X-User", "{user}-{i}"),), data=({"user": "a"}, {"user": "b"})
            ),
        )
        counts, _ = await drive(SessionRequest(steps))
    assert counts == {"ok": 20}
    assert seen == {f"t-load-{i}": 2 for i in range(20)}


async def test_session_driver_first_failing_step_decides():
    """A step that is refused ends the way, and says why."""

    async def refuse(_request):
        return web.Response(status=503)

    async def unreachable(_request):
        raise AssertionError

    async with site(web.get("/a", refuse), web.get("/b", unreachable)) as url:
        counts, calls = await drive(
            SessionRequest((HttpRequest(url=f"{url}/a"), HttpRequest(url=f"{url}/b")))
        )
    assert counts == {"shed": 20}
    assert {call[6] for call in calls} == {503}


async def test_session_driver_does_not_queue_a_herd():
    """All of a herd of 150 is at the server at once: no limit of 100 connections inside the generator."""
    here = asyncio.Event()
    count = 0

    async def wait(_request):
        nonlocal count
        count += 1
        if count == 150:
            here.set()
        await here.wait()
        return web.Response()

    async with site(web.get("/", wait)) as url:
        counts, _ = await drive(SessionRequest((HttpRequest(url=f"{url}/"),)), shape=Herd(150, 0))
    assert counts == {"ok": 150}


async def test_session_driver_does_not_send_twice():
    """A kept connection that dies under a GET is a failure, seen once by the server, not a silent second try."""
    requests = []

    async def once(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
            requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with await asyncio.start_server(once, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        counts, _ = await drive(
            SessionRequest((HttpRequest(url=url),)), shape=Closed(1, 10 * MS, 0, 500 * MS), seconds=0.5
        )
    assert set(counts) == {"ok", "reset"}
    assert len(requests) == sum(counts.values())


async def test_session_driver_counts_a_refusing_target_as_connect():
    """Nothing listens on port 1."""
    counts, _ = await drive(SessionRequest((HttpRequest(url="http://127.0.0.1:1/"),)))
    assert counts == {"connect": 20}


async def test_websocket_driver_arrives_echoes_and_stays():
    """Handshake with a token, a welcome, echoed messages; a wrong echo and a refused token are told apart."""

    async def greet(socket):
        await socket.send("welcome")
        async for message in socket:
            await socket.send(message if message != "wrong" else "right")

    def authorise(connection, request):
        if request.headers.get("Authorization") != "Bearer good":
            return connection.respond(401, "no\n")
        return None

    async with serve(greet, "127.0.0.1", 0, process_request=authorise) as server:
        port = server.sockets[0].getsockname()[1]
        good = WebSocketRequest(
            url=f"ws://127.0.0.1:{port}/{{i}}",
            headers=(("Authorization", "Bearer good"),),
            welcome=True,
            messages=("hello {i}", "again"),
            echo=True,
            hold_ns=100 * MS,
        )
        counts, calls = await drive(good, shape=Herd(50, 0))
        assert counts == {"ok": 50}
        assert all(call[4] is not None for call in calls)
        wrong = WebSocketRequest(
            url=good.url, headers=good.headers, welcome=True, messages=("wrong",), echo=True
        )
        assert (await drive(wrong))[0] == {"wrong_data": 20}
        refused = WebSocketRequest(url=good.url, headers=(("Authorization", "Bearer bad"),))
        assert (await drive(refused))[0] == {"4xx": 20}


async def test_websocket_driver_counts_what_held_sockets_hear_and_lose():
    """Held sockets hear a broadcast; those that the server closes early are counted as lost."""
    together = asyncio.Event()
    here = set()

    async def broadcast(socket):
        await socket.send(await socket.recv())
        here.add(socket)
        if len(here) == 10:
            together.set()
        await together.wait()
        await socket.send("news")
        if len(here) > 4:
            here.discard(socket)
            return  # closes it
        await socket.wait_closed()

    async with serve(broadcast, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        generator = SpikeLoadGenerator(
            WebSocketRequest(url=f"ws://127.0.0.1:{port}/", messages=("hello",), echo=True, hold_ns=2 * S)
        )
        metrics = await generator.run(herd(10))
    assert metrics.overall.counts["ok"] == 10
    figures = metrics.figures
    assert figures.count("load", "opened") == 10
    assert figures.count("load", "pushes") == 10
    assert figures.count("load", "lost") == figures.count("load", "close_1000") == 6
    assert figures.histogram("load", "message").count == 10


async def test_websocket_driver_tells_a_lost_socket_from_no_websocket():
    """A server that hangs up after the handshake is a reset; one that speaks something else is no protocol."""

    async def hang_up(socket):
        socket.transport.abort()

    async with serve(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        request = WebSocketRequest(url=f"ws://127.0.0.1:{port}/", messages=("hello",))
        assert (await drive(request))[0] == {"reset": 20}

    async def babble(_reader, writer):
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert (await drive(WebSocketRequest(url=f"ws://127.0.0.1:{port}/")))[0] == {"protocol": 20}
    assert (await drive(WebSocketRequest(url="ws://127.0.0.1:1/")))[0] == {"connect": 20}


@contextlib.asynccontextmanager
async def running(start):
    """A database of the lab in a directory of its own."""
    who = account(os.environ)
    directory = make_run_directory(os.environ, who)
    (directory / "logs").mkdir()
    try:
        server = await start(directory, who)
        try:
            yield server
        finally:
            await server.child.stop(5)
    finally:
        shutil.rmtree(directory)


async def test_postgres_driver_pools_connects_and_explains():
    """Statements on a pool and on fresh connections; errors by their class; a slow pool shows as waiting for it."""

    def start(directory, who):
        return start_postgres(directory, directory / "logs", postgres_programs(who), who, None)

    async with running(start) as server:
        dsn = f"postgresql://lab:{server.password}@127.0.0.1:{server.port}/postgres"
        sql = "SELECT generate_series(1, $1::text::int)"
        good = PostgresRequest(dsn=dsn, sql=sql, arguments=("{n}",), expect_rows=3, data=({"n": "3"},))
        assert (await drive(good))[0] == {"ok": 20}
        assert (await drive(PostgresRequest(dsn=dsn, pool=0), shape=Herd(20, 0)))[0] == {"ok": 20}
        assert (await drive(PostgresRequest(dsn=dsn, sql="SELECT 1/0")))[0] == {"5xx": 20}
        assert (await drive(PostgresRequest(dsn=dsn, expect_rows=2)))[0] == {"wrong_data": 20}
        herd, _ = await drive(
            PostgresRequest(dsn=dsn, sql="SELECT pg_sleep(0.3)", pool=0), shape=Herd(120, 0)
        )
        assert herd["shed"] >= 15  # the server has 100 places, some of them reserved
        assert set(herd) == {"ok", "shed"}
        slow, calls = await drive(
            PostgresRequest(dsn=dsn, sql="SELECT pg_sleep(0.05)", pool=2), shape=Herd(10, 0)
        )
        assert slow == {"ok": 10}
        assert max(call[3] - call[2] for call in calls) >= 150 * MS
        cut, _ = await drive(PostgresRequest(dsn=dsn, sql="SELECT pg_sleep(5)"), timeout_ns=200 * MS)
        # On a busy machine a connection of the pool may not be open again within the time-out.
        assert set(cut) <= {"timeout", "connect"}
        assert cut["timeout"] >= 10
    assert (await drive(PostgresRequest(dsn=dsn)))[0] == {"connect": 20}


async def test_redis_driver_commands_and_explains():
    """Commands with data, expectations, error replies, and an outage that shows at once instead of after ten retries."""

    def start(directory, _who):
        return start_valkey(directory, directory / "logs", valkey_program(), None)

    async with running(start) as server:
        url = f"redis://:{server.password}@127.0.0.1:{server.port}/0"
        data = ({"sku": "a"}, {"sku": "b"})
        assert (await drive(RedisRequest(url=url, command=("SET", "{sku}", "v-{sku}"), data=data)))[0] == {
            "ok": 20
        }
        get = RedisRequest(url=url, command=("GET", "{sku}"), expect="v-{sku}", data=data)
        assert (await drive(get))[0] == {"ok": 20}
        assert (await drive(RedisRequest(url=url, command=("GET", "b"), expect="v-a")))[0] == {
            "wrong_data": 20
        }
        assert (await drive(RedisRequest(url=url, command=("LPUSH", "a", "x"))))[0] == {"5xx": 20}
        blocked = RedisRequest(url=url, command=("BLPOP", "empty", "5"))
        # On connections that are open already: on a busy machine opening one may take the whole time-out, which is no time-out then.
        assert (await drive(blocked, timeout_ns=S, connections=20))[0] == {"timeout": 20}
    counts, calls = await drive(RedisRequest(url=url))
    assert counts == {"connect": 20}
    assert max(call[5] - call[2] for call in calls) < 5 * S


async def test_script_driver_runs_the_users_function(tmp_path):
    """What the user's coroutine does, returns or raises becomes the category."""
    script = tmp_path / "users.py"
    script.write_text(
        "async def place(ctx):\n"
        "    async with ctx.http.get(ctx.row['url'], headers=ctx.headers) as answer:\n"
        "        assert answer.status == 200\n"
        "        text = await answer.text()\n"
        "        assert text == ctx.id\n"
        "    if ctx.i % 4 == 1:\n"
        "        return 'degraded'\n"
        "    if ctx.i % 4 == 2:\n"
        "        assert text == 'other'\n"
        "    if ctx.i % 4 == 3:\n"
        "        raise ConnectionResetError\n"
    )

    async def echo(request):
        return web.Response(text=request.headers["X-Request-Id"])

    async with site(web.get("/", echo)) as url:
        counts, _ = await drive(ScriptRequest(str(script), "place", data=({"url": f"{url}/"},)))
    assert counts == {"ok": 5, "degraded": 5, "wrong_data": 5, "reset": 5}


async def test_closed_model_users_wait_and_think():
    """Three users who think 50 ms ask a slow server in turn: never more than three at once, about the right number."""
    most = now = 0

    async def slow(_request):
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.05)
        now -= 1
        return web.Response()

    async with site(web.get("/", slow)) as url:
        counts, calls = await drive(HttpRequest(url=f"{url}/"), shape=Closed(3, 50 * MS, 0, S))
    assert most <= 3
    assert 3 <= counts["ok"] <= 33
    assert len({call[0] for call in calls}) == len(calls)
