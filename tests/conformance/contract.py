"""What every breaker service has to do, checked against a running one: the same checks for every library in every language.

The dependency is a server of the test's own, which does with each request what it was told and remembers the requests. Breakers are
asked for a short wait, so that a whole life (closed, open, half-open, closed) takes a second.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from aiohttp import web

from tests.conformance.candidates import Asked, Candidate
from tests.conformance.services import Running, running, spawn

ASKED: Final = Asked(wait_ms=400, timeout_ms=250)
PATIENCE_S: Final = 10.0


@dataclass
class Dependency:
    """What services call. `mode` is ok, fail (500) or hang (no answer)."""

    mode: str = "ok"
    ids: list[str | None] = field(default_factory=list)
    url: str = ""
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.Response:
        """One request."""
        self.ids.append(request.headers.get("X-Request-Id"))
        self.asked.set()
        if self.mode == "hang":
            await asyncio.sleep(PATIENCE_S)
        return web.Response(status=500 if self.mode == "fail" else 200, text="x")


@asynccontextmanager
async def dependency() -> AsyncIterator[Dependency]:
    """A dependency on a free port."""
    told = Dependency()
    application = web.Application()
    application.router.add_get("/", told.answer)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    told.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield told
    finally:
        await runner.cleanup()


@dataclass(frozen=True, slots=True)
class Caller:
    """A client of one service."""

    session: aiohttp.ClientSession
    url: str

    async def call(self, request_id: str = "r-1") -> tuple[int, str, str]:
        """Status, X-Breaker and X-Instance of one call."""
        async with self.session.get(f"{self.url}/call", headers={"X-Request-Id": request_id}) as answer:
            await answer.read()
            return answer.status, answer.headers["X-Breaker"], answer.headers["X-Instance"]

    async def words(self, count: int) -> list[str]:
        """What that many calls, one after the other, came to."""
        return [(await self.call())[1] for _ in range(count)]

    async def breakers(self) -> dict[str, Any]:
        """The answer of /breakers."""
        async with self.session.get(f"{self.url}/breakers") as answer:
            assert answer.status == 200
            told: dict[str, Any] = await answer.json()
            return told

    async def events(self, count: int, query: str = "") -> list[dict[str, Any]]:
        """The first `count` events of the stream."""
        found: list[dict[str, Any]] = []
        async with (
            asyncio.timeout(PATIENCE_S),
            self.session.get(f"{self.url}/breakers/events{query}") as stream,
        ):
            assert stream.status == 200
            assert stream.content_type == "text/event-stream"
            while len(found) < count:
                line = (await stream.content.readline()).decode()
                assert line, "the stream ended"
                if line.startswith("data:"):
                    found.append(json.loads(line[5:]))
        return found


@asynccontextmanager
async def calling(candidate: Candidate) -> AsyncIterator[tuple[Dependency, Caller, Running]]:
    """A service, what it depends on, and a client of it."""
    async with (
        dependency() as told,
        running(candidate, told.url, ASKED, instance="copy-7") as service,
        aiohttp.ClientSession() as session,
    ):
        yield told, Caller(session, service.url), service


async def keeps_the_contract(candidate: Candidate) -> None:
    """A whole life of one breaker, seen through every route of its service."""
    began_ns = time.monotonic_ns()
    async with calling(candidate) as (told, caller, service):
        assert service.ready["ready"] is True
        assert await caller.call("first") == (200, "ok", "copy-7")
        assert told.ids == ["first"], "the request id goes on, and one call is one request"
        await _opens(told, caller, exactly=candidate.counts_a_row)
        await _recovers(told, caller, candidate.asked(ASKED).permitted)
        await _times_out(told, caller)
        await _tells_what_happened(caller, began_ns)


async def _opens(told: Dependency, caller: Caller, *, exactly: bool) -> None:
    told.mode = "fail"
    assert await caller.call("bad") == (502, "failed", "copy-7")
    failed = 1
    while (answer := await caller.call())[1] == "failed":
        failed += 1
        assert failed <= ASKED.failures + 2, "a window may want some calls more before it speaks"
    assert answer == (503, "rejected", "copy-7")
    assert failed == ASKED.failures or not exactly
    seen = len(told.ids)
    assert seen == 1 + failed
    assert await caller.words(2) == ["rejected"] * 2
    assert len(told.ids) == seen, "a refused call does not reach the dependency"
    about = await caller.breakers()
    (breaker,) = about["breakers"].values()
    assert breaker["state"] == "open"
    promised = {name: breaker["spec"][name] for name in ("failures", "wait_ms", "timeout_ms")}
    assert promised == {
        "failures": ASKED.failures,
        "wait_ms": ASKED.wait_ms,
        "timeout_ms": ASKED.timeout_ms,
    }


async def _recovers(told: Dependency, caller: Caller, probes: int) -> None:
    told.mode = "ok"
    async with asyncio.timeout(PATIENCE_S):
        while (await caller.call())[1] != "ok":  # noqa: ASYNC110 - only asking shows that the wait is over
            await asyncio.sleep(0.02)
    assert await caller.words(probes - 1) == ["ok"] * (probes - 1)
    (breaker,) = (await caller.breakers())["breakers"].values()
    assert breaker["state"] == "closed"
    # A window that remembers the calls of its past would open too early; with this many successes it does not.
    assert await caller.words(3) == ["ok"] * 3


async def _times_out(told: Dependency, caller: Caller) -> None:
    told.mode = "hang"
    began = time.monotonic()
    assert (await caller.call())[:2] == (502, "failed")
    took = time.monotonic() - began
    assert ASKED.timeout_ms / 1000 - 0.01 <= took < PATIENCE_S / 2


async def _tells_what_happened(caller: Caller, began_ns: int) -> None:
    events = await caller.events(3)
    assert [(e["from"], e["to"]) for e in events] == [
        ("closed", "open"),
        ("open", "half_open"),
        ("half_open", "closed"),
    ]
    about = await caller.breakers()
    assert [e["seq"] for e in events] == [1, 2, 3]
    assert {e["boot"] for e in events} == {about["boot"]}
    assert {e["instance"] for e in events} == {"copy-7"} == {about["instance"]}
    assert {e["breaker"] for e in events} == set(about["breakers"])
    assert about["last_seq"] >= 3
    times = [began_ns] + [e["at_ns"] for e in events] + [time.monotonic_ns()]
    assert times == sorted(times), "on this machine's monotonic clock, in order"
    assert all(e["since_ns"] <= e["at_ns"] for e in events)
    # One timer may round down to whole milliseconds what another has measured.
    assert events[1]["at_ns"] - events[0]["since_ns"] >= (ASKED.wait_ms - 2) * 1_000_000
    assert [e["seq"] for e in await caller.events(1, "?since=2")] == [3]
    assert [e["seq"] for e in await caller.events(3, "?since=2&boot=another")] == [1, 2, 3]
    async with caller.session.get(f"{caller.url}/breakers/events?since=x") as answer:
        assert answer.status == 400


async def ends_when_told(candidate: Candidate, how: str) -> None:
    """Ends within 2 s, with a reader of events and a call that hangs, by `signal` or by `input` at its end."""
    async with calling(candidate) as (told, caller, service):
        told.mode = "hang"
        hanging = asyncio.create_task(caller.call())
        async with caller.session.get(f"{caller.url}/breakers/events") as stream:
            assert await stream.content.readline()
            async with asyncio.timeout(PATIENCE_S):
                await told.asked.wait()
            began = time.monotonic()
            if how == "signal":
                service.process.terminate()
            else:
                assert service.process.stdin is not None
                service.process.stdin.close()
            async with asyncio.timeout(PATIENCE_S):
                assert await service.process.wait() == 0
            assert time.monotonic() - began < 2
        await asyncio.gather(hanging, return_exceptions=True)


async def refuses_bad_settings(candidate: Candidate) -> None:
    """A bad value ends it at once with one line that names the variable."""
    good = {"UPSTREAM": "http://127.0.0.1:9"}
    for environ, named in (
        ({}, "UPSTREAM"),
        ({**good, "FAILURES": "many"}, "FAILURES"),
        ({**good, "WAIT_MS": "0"}, "WAIT_MS"),
    ):
        process = await spawn(candidate, environ)
        async with asyncio.timeout(PATIENCE_S):
            out, complaint = await process.communicate()
        assert process.returncode == 1
        assert out == b""
        assert named in complaint.decode()
        assert "Traceback" not in complaint.decode()
        assert len(complaint.decode().strip().splitlines()) == 1
