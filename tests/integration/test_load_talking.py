"""Drivers that carry on a conversation, on loopback: what sessions take from answers, what becomes of sockets, what is written down."""

from __future__ import annotations

import asyncio
import json
from typing import Self

import pytest
from aiohttp import web
from websockets.asyncio.server import serve

from resilience.load.model import Herd
from resilience.load.requests import (
    HttpRequest,
    PostgresRequest,
    ScriptRequest,
    SessionRequest,
    WebSocketRequest,
)
from resilience.load.shapes import closed, constant, herd
from resilience.load.spike import SpikeLoadGenerator

pytestmark = pytest.mark.integration

S = 10**9
MS = 10**6


class Site:
    """An HTTP server that keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.app = web.Application()
        self.app.router.add_route("*", "/{rest:.*}", self._answer)

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.text()
        self.asked.append((request.method, request.raw_path, body))
        if request.path == "/login":
            return web.json_response({"token": 'a/b "c" {i}', "n": 5})
        if request.path == "/slow":
            await asyncio.sleep(30)
        if request.path == "/none":
            return web.json_response({})
        return web.json_response({"id": len(self.asked), "body": body}, headers={"X-Cache": "hit"})

    async def __aenter__(self) -> Self:
        self._runner = web.AppRunner(self.app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


async def test_session_values_arrive_as_they_were_given():
    """A token with quotes, slashes and braces goes into a path and a JSON body and breaks out of neither; a login that is `once` is."""
    async with Site() as site:
        login = HttpRequest(
            f"{site.url}/login", extract=(("token", "json.token"), ("n", "json.n")), once=True
        )
        use = HttpRequest(
            f"{site.url}/use/{{token}}",
            method="POST",
            headers=(("Content-Type", "application/json"),),
            body=b'{"t": "{token}", "n": {n}, "user": {user}}',
            record=(
                ("what", "use"),
                ("id_there", "json.id"),
                ("cache", "header.X-Cache"),
                ("user", "{user}"),
            ),
        )
        generator = SpikeLoadGenerator(SessionRequest((login, use), keep_users=2))
        metrics = await generator.run(closed(2, think_s=0.05, duration_s=0.5))
    offered = metrics.overall.counts["offered"]
    assert metrics.overall.counts["ok"] == offered >= 4
    assert sum(path == "/login" for _, path, _ in site.asked) == 2
    used = [(path, json.loads(body)) for _, path, body in site.asked if path != "/login"]
    assert {path for path, _ in used} == {"/use/a%2Fb%20%22c%22%20%7Bi%7D"}
    assert all(body == {"t": 'a/b "c" {i}', "n": 5, "user": body["user"]} for _, body in used)
    assert len(metrics.notes) == offered
    assert {note["user"] for note in metrics.notes} == {"0", "1"}
    assert all(note["cache"] == "hit" and note["outcome"] == "ok" for note in metrics.notes)
    assert len({note["id_there"] for note in metrics.notes}) == offered


async def test_session_answer_without_the_value_is_wrong_data():
    """A step that gives nothing to carry on ends the way; the steps after it are not sent, and their notes say so."""
    async with Site() as site:
        steps = (
            HttpRequest(f"{site.url}/none", extract=(("token", "json.token"),)),
            HttpRequest(f"{site.url}/use/{{token}}", record=(("got", "json.id"),)),
        )
        metrics = await SpikeLoadGenerator(SessionRequest(steps)).run(herd(5))
    assert metrics.overall.counts["wrong_data"] == 5
    assert {path for _, path, _ in site.asked} == {"/none"}
    assert [(note["outcome"], note["got"]) for note in metrics.notes] == [("wrong_data", None)] * 5


async def test_every_arrival_leaves_its_note_whatever_becomes_of_it():
    """Answered, cut off, dropped at the cap or refused: one note each, and the texts of the request are always there."""
    record = (("what", "order"), ("key", "{k}"), ("got", "json.id"))
    async with Site() as site:
        data = ({"k": "fast"}, {"k": "slow"})
        request = HttpRequest(f"{site.url}/{{k}}", data=data, record=record)
        generator = SpikeLoadGenerator(request, timeout_s=0.4, in_flight_cap=6, connections=2)
        metrics = await generator.run(herd(20))
    counts = metrics.overall.counts
    notes = metrics.notes
    assert sorted(note["i"] for note in notes) == list(range(20))
    assert counts["dropped"] == 14
    assert {outcome: sum(note["outcome"] == outcome for note in notes) for outcome in ("ok", "timeout", "dropped")} == {
        "ok": 3, "timeout": 3, "dropped": 14,
    }  # fmt: skip
    assert all(note["key"] == ("slow" if note["i"] % 2 else "fast") for note in notes)
    assert all((note["got"] is not None) == (note["outcome"] == "ok") for note in notes)
    assert all(note["at"][0] <= note["at"][1] for note in notes)
    refused = await SpikeLoadGenerator(HttpRequest("http://127.0.0.1:1/", record=record[:1])).run(herd(3))
    assert [note["outcome"] for note in refused.notes] == ["connect"] * 3


async def test_script_writes_down_what_it_likes(tmp_path):
    """More than one note, its own words, its own outcome; the system's addresses are known to it."""
    script = tmp_path / "user.py"
    script.write_text(
        "async def user(ctx):\n"
        "    ctx.record('seen', url=ctx.url('/x'), db=ctx.addresses['db'], outcome='mine')\n"
        "    ctx.record('more', n=ctx.i, text='y' * 500)\n"
    )
    addresses = {"base": "http://h:1", "db": "postgresql://h/x"}
    metrics = await SpikeLoadGenerator(ScriptRequest(str(script), addresses=addresses)).run(herd(2))
    seen = [note for note in metrics.notes if note["what"] == "seen"]
    assert [(note["url"], note["db"], note["outcome"]) for note in seen] == [
        ("http://h:1/x", "postgresql://h/x", "mine")
    ] * 2
    more = [note for note in metrics.notes if note["what"] == "more"]
    assert sorted(note["n"] for note in more) == [0, 1]
    assert {len(note["text"]) for note in more} == {200}


@pytest.mark.parametrize("expected", [False, True])
async def test_socket_close_codes_are_told_apart(expected):
    """The server ends sockets with every code from 1000 on that may be sent: each is counted, and lost unless it is expected."""
    codes = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999]

    async def end(socket):
        await socket.close(codes[int(socket.request.path.strip("/"))])

    async with serve(end, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        request = WebSocketRequest(
            f"ws://127.0.0.1:{port}/{{i}}", hold_ns=1 * S, close_code=1001 if expected else None, record=True
        )
        metrics = await SpikeLoadGenerator(request).run(herd(len(codes)))
    figures = metrics.figures
    assert metrics.overall.counts["ok"] == len(codes)
    assert {code: figures.count("load", f"close_{code}") for code in codes} == dict.fromkeys(codes, 1)
    assert figures.count("load", "lost") == len(codes) - expected
    assert sorted(note["code"] for note in metrics.notes) == codes
    assert sum(note["lost"] for note in metrics.notes) == len(codes) - expected


async def test_socket_that_breaks_off_comes_back():
    """Lost without a close frame (1005, 1006, 1015 are never sent): counted as 1006, and the user arrives again."""
    seen: dict[str, int] = {}

    async def greet(socket):
        path = socket.request.path
        seen[path] = seen.get(path, 0) + 1
        await socket.send(json.dumps({"type": "welcome"}))
        if seen[path] == 1:
            socket.transport.abort()
            return
        async for message in socket:
            await socket.send(message)

    async with serve(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        request = WebSocketRequest(
            f"ws://127.0.0.1:{port}/{{i}}",
            welcome=True,
            welcome_json=(("type", '"welcome"'),),
            hold_ns=2 * S,
            send="hello {n}",
            every_ns=100 * MS,
            echo=True,
            reconnect_ns=50 * MS,
            record=True,
        )
        metrics = await SpikeLoadGenerator(request).run(herd(5))
    figures = metrics.figures
    assert (
        figures.count("load", "reconnects")
        == figures.count("load", "lost")
        == figures.count("load", "close_1006")
        == 5
    )
    assert figures.count("load", "opened") == figures.count("load", "welcomed") == 10
    assert figures.count("load", "answered") >= 25
    assert figures.count("load", "wrong") == 0
    first = [note for note in metrics.notes if note["again"] == 0]
    later = [note for note in metrics.notes if note["again"] == 1]
    assert [note["lost"] for note in first] == [True] * 5
    assert [note["lost"] for note in later] == [False] * 5
    assert all(len(note["latencies"]) >= 5 for note in later)


async def test_socket_user_logs_in_and_is_refused_in_the_right_category():
    """The token of a login opens the socket; a login that fails, or gives no token, decides the operation."""
    async with Site() as site:

        def authorise(connection, request):
            good = request.headers.get("Authorization") == 'Bearer a/b "c" {i}'
            return None if good else connection.respond(401, "no\n")

        async def quiet(socket):
            await socket.wait_closed()

        async with serve(quiet, "127.0.0.1", 0, process_request=authorise) as server:
            url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"

            async def outcome(path: str, token: str = "Bearer {token}") -> dict[str, int]:
                login = HttpRequest(f"{site.url}{path}", extract=(("token", "json.token"),))
                request = WebSocketRequest(url, login=login, headers=(("Authorization", token),))
                metrics = await SpikeLoadGenerator(request, timeout_s=1.5).run(herd(3))
                return {
                    name: n
                    for name, n in metrics.overall.counts.items()
                    if n and name not in {"offered", "attempts", "good"}
                }

            assert await outcome("/login") == {"ok": 3}
            assert await outcome("/login", "Bearer other") == {"4xx": 3}
            assert await outcome("/none") == {"wrong_data": 3}
            assert await outcome("/slow") == {"timeout": 3}
        # The server is gone: the login is fine, and there is nothing to connect to.
        assert await outcome("/login") == {"connect": 3}


async def test_socket_counts_what_was_owed_and_did_not_come():
    """Messages without an answer, answers to nothing, pushes that were expected: each has its figure; a wrong welcome is wrong data."""

    async def odd(socket):
        await socket.send(json.dumps({"type": "hello"}))
        await socket.send(json.dumps({"type": "push", "id": "a"}))
        async for message in socket:
            if json.loads(message)["n"] % 2:
                await socket.send(json.dumps({"type": "answer", "to": json.loads(message)["n"]}))
            else:
                await socket.send(json.dumps({"type": "noise"}))

    async with serve(odd, "127.0.0.1", 0, subprotocols=["two"]) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        request = WebSocketRequest(
            url,
            welcome=True,
            subprotocols=("one", "two"),
            hold_ns=1200 * MS,
            send='{"n": {n}}',
            every_ns=100 * MS,
            count=6,
            answer_json=(("type", '"answer"'), ("to", '"{n}"')),
            push_json=(("type", '"push"'),),
            push_id="id",
            pushes=3,
        )
        metrics = await SpikeLoadGenerator(request).run(herd(4))
        figures = metrics.figures
        names = ("sent", "answered", "unanswered", "wrong", "pushes", "missed", "lost")
        assert {name: figures.count("load", name) for name in names} == {
            "sent": 24, "answered": 12, "unanswered": 12, "wrong": 12, "pushes": 4, "missed": 8, "lost": 0,
        }  # fmt: skip
        wrong = WebSocketRequest(
            url, welcome=True, welcome_json=(("type", '"welcome"'),), subprotocols=("two",)
        )
        assert (await SpikeLoadGenerator(wrong).run(herd(3))).overall.counts["wrong_data"] == 3


async def test_users_who_stay_keep_the_run_going_and_count_as_wanted():
    """The last arrival is not the end: users stay their time, and each second tells how many there should be and are."""

    async def quiet(socket):
        await socket.wait_closed()

    async with serve(quiet, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        metrics = await SpikeLoadGenerator(WebSocketRequest(url, hold_ns=2500 * MS), workers=2).run(
            Herd(10, 0)
        )
    reports = [message for message in metrics.messages if message["kind"] == "worker"]
    seconds: dict[int, list[int]] = {}
    for report in reports:
        gauge = report["drivers"]["load"]
        seconds.setdefault(report["worker"], []).append(gauge["live"])
        assert gauge["live"] <= gauge["wanted"]
    assert [max(live) for _, live in sorted(seconds.items())] == [5, 5]
    assert metrics.figures.count("load", "lost") == 0


async def test_postgres_that_is_not_there_leaves_its_notes():
    """Nothing listens: every operation is a failure to connect, and its note says so."""
    request = PostgresRequest(
        "postgresql://u@127.0.0.1:1/x", "SELECT $1::int", ("{i}",), record=(("rows", "rows"),)
    )
    metrics = await SpikeLoadGenerator(request).run(constant(20, 0.25))
    assert metrics.overall.counts["connect"] == 5
    assert [(note["outcome"], note["rows"]) for note in metrics.notes] == [("connect", None)] * 5
