"""The observers against local servers that misbehave: they reconnect, say each thing once, and own up to gaps."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from resilience.breaker.observers.base import MOST_BYTES
from resilience.breaker.observers.poll import PollObserver
from resilience.breaker.observers.sse import SseObserver
from resilience.breaker.observers.tap import TapObserver

pytestmark = pytest.mark.integration

Handler = Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]


@asynccontextmanager
async def serving(path: str, handler: Handler) -> AsyncIterator[str]:
    """A server on a free port; gives its address."""
    app = web.Application()
    app.router.add_get(path, handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def collect(observer: Any, enough: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    """Run an observer until what it emitted is enough, at most ten seconds."""
    found: list[dict[str, Any]] = []
    task = asyncio.create_task(observer.run(found.append))
    try:
        async with asyncio.timeout(10):
            while not enough(found):  # noqa: ASYNC110 - a list grows without an event
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return found


def event(seq: int, boot: str = "x", **more: Any) -> bytes:
    """One server-sent event."""
    told = {
        "breaker": "b",
        "instance": "i",
        "boot": boot,
        "from": "closed",
        "to": "open",
        "at_ns": time.monotonic_ns(),
        "seq": seq,
        **more,
    }
    return f"id: {seq}\ndata: {json.dumps(told)}\n\n".encode()


async def test_breaker_sse_reconnects_and_emits_each_event_once() -> None:
    """A stream that breaks off is opened again; repeated numbers are left out, missing ones are a gap."""
    asked: list[str] = []
    streams = [[event(1), event(2)], [event(2), event(3)], [event(6), event(1, "y")]]

    async def events(request: web.Request) -> web.StreamResponse:
        asked.append(request.query["since"])
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b": hello\n\ndata: not json\n\n" if len(asked) == 2 else b"")
        if len(asked) == 2:
            return response
        index = min(len(asked) - 1 if len(asked) < 2 else len(asked) - 2, 2)
        for each in streams[index]:
            told = json.loads(each.split(b"data: ")[1])
            told["at_ns"] = time.monotonic_ns()
            await response.write(f"data: {json.dumps(told)}\n\n".encode())
        return response

    async with serving("/breakers/events", events) as url:
        observer = SseObserver(url, "i")
        found = await collect(observer, lambda got: any(e.get("boot") == "y" for e in got))
    told = [(e["boot"], e["seq"]) for e in found if e["kind"] == "breaker.transition"]
    gaps = [e["lost"] for e in found if e["kind"] == "gap"]
    assert told[:5] == [("x", 1), ("x", 2), ("x", 3), ("x", 6), ("y", 1)]
    assert gaps[0] == 2
    assert asked[0] == "0"
    assert asked[1] == "2"


async def test_breaker_sse_leaves_out_what_was_before_it() -> None:
    """Transitions of an earlier run are still in the ring, and are not emitted."""

    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        old = event(1, at_ns=1)
        await response.write(old + event(2, since_ns=time.monotonic_ns() - 5))
        await asyncio.sleep(30)
        return response

    async with serving("/breakers/events", events) as url:
        found = await collect(SseObserver(url, "i"), bool)
    assert [e["seq"] for e in found] == [2]
    assert found[0]["at"][0] < found[0]["at"][1]


async def test_breaker_sse_event_without_end_breaks_the_stream() -> None:
    """It would fill the runner's memory: the stream is given up, and taken up again where it was."""
    asked: list[str] = []

    async def events(request: web.Request) -> web.StreamResponse:
        asked.append(request.query["since"])
        response = web.StreamResponse()
        await response.prepare(request)
        line = b"data: " + b" " * 60_000 + b"\n"
        first = len(asked) == 1
        await response.write(event(1 if first else 2))
        for _ in range(MOST_BYTES // len(line) + 1 if first else 0):
            await response.write(line)
        await response.write(b"\n")
        await asyncio.sleep(30)  # until the observer hangs up
        return response

    async with serving("/breakers/events", events) as url:
        found = await collect(SseObserver(url, "i", since_ns=0), lambda got: len(got) == 2)
    assert [e["seq"] for e in found] == [1, 2]
    assert asked == ["0", "1"]


async def test_breaker_poll_answer_without_end_is_none() -> None:
    """However well it begins."""
    answer = json.dumps({"boot": "x", "breakers": {"b": {"state": "open"}}})
    asked = 0

    async def breakers(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(text=answer + " " * (MOST_BYTES if asked == 1 else 0))

    async with serving("/breakers", breakers) as url:
        found = await collect(PollObserver(url, "i", interval_s=0.01), lambda got: len(got) > 1)
    assert [e["kind"] for e in found[:2]] == ["gap", "breaker.state"]


async def test_breaker_poll_reads_states_and_reports_missed_ones() -> None:
    """A state is stamped with the interval it was read in; readings that failed are one gap."""
    asked = 0

    async def breakers(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        if asked in {2, 3}:
            return web.Response(status=500)
        if asked == 4:
            return web.json_response({"boot": "x", "breakers": {"b": {"state": "purple"}}})
        state = {"state": "half-opened"}
        return web.json_response({"instance": "i", "boot": "x", "breakers": {"b": state}})

    async with serving("/breakers", breakers) as url:
        observer = PollObserver(url, "i", interval_s=0.01)
        found = await collect(observer, lambda got: len([e for e in got if e["kind"] != "gap"]) >= 2)
    assert [e["kind"] for e in found[:3]] == ["breaker.state", "gap", "breaker.state"]
    assert found[0]["state"] == "half_open"
    assert found[0]["at"][0] <= found[0]["at"][1]
    assert found[1]["lost"] == 3


async def test_breaker_tap_passes_records_on_and_reports_lost_ones() -> None:
    """Every record becomes a wire line once, lost ones a gap; draining asks without waiting."""
    asked: list[tuple[str, str]] = []

    async def records(request: web.Request) -> web.Response:
        since = int(request.query["since"])
        asked.append((request.query["since"], request.query["wait"]))
        if since == 0:
            record = {"seq": 1, "kind": "arrival", "n": 1, "id": "a", "at": [1, 2]}
            return web.json_response({"next": 2, "dropped": 0, "records": [record]})
        if since == 2:
            record = {"seq": 9, "kind": "done", "n": 1, "end": "response", "at": [3, 4]}
            return web.json_response({"next": 10, "dropped": 7, "records": [record]})
        await asyncio.sleep(0.02)
        return web.json_response({"next": since, "dropped": 0, "records": []})

    async with serving("/taps/pricing/records", records) as url:
        observer = TapObserver(url, "pricing")
        found = await collect(observer, lambda got: len(got) >= 3)
        drained: list[dict[str, Any]] = []
        assert await observer.drain(drained.append)
    assert [(e["kind"], e.get("what"), e["proxy"]) for e in found] == [
        ("wire", "arrival", "pricing"),
        ("gap", None, "pricing"),
        ("wire", "done", "pricing"),
    ]
    assert found[1]["lost"] == 7
    assert drained == []
    assert asked[-1] == ("10", "0")


async def test_breaker_tap_that_cannot_be_asked_is_a_gap() -> None:
    """At the end of a run, a tap that has gone leaves a gap rather than silence."""
    drained: list[dict[str, Any]] = []
    assert not await TapObserver("http://127.0.0.1:9", "pricing").drain(drained.append, timeout_s=0.5)
    assert [e["source"] for e in drained] == ["tap"]
