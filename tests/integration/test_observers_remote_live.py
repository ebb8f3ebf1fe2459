"""Observers of other people's breakers against servers that go away, are slow, or tell nonsense: each loss is a gap, nothing is made up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from resilience.breaker.observers.base import MOST_BYTES
from resilience.breaker.observers.mapped import Fields
from resilience.breaker.observers.polling import PolledObserver, Subject
from resilience.breaker.observers.registry import REMOTE, Request
from resilience.breaker.observers.resilience4j import ActuatorEvents
from resilience.lab.system import Instance, System
from resilience.plan import load_text
from resilience.run.observing import observe

pytestmark = pytest.mark.integration

Handler = Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]
Lines = list[dict[str, Any]]
PRICING = Subject("pricing", "pricing", "i1")


@asynccontextmanager
async def serving(routes: dict[str, Handler]) -> AsyncIterator[str]:
    """A server on a free port; gives its address."""
    app = web.Application()
    for path, handler in routes.items():
        app.router.add_get(path, handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def observed(request: Request, key: str, enough: Callable[[Lines], bool]) -> Lines:
    """What an observer of the registry emits until it is enough, at most ten seconds; what it says at its end included."""
    found: Lines = []
    tasks = [asyncio.create_task(observer.run(found.append)) for observer in REMOTE[key](request)]
    try:
        async with asyncio.timeout(10):
            while not enough(found):  # noqa: ASYNC110 - a list grows without an event
                await asyncio.sleep(0.01)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return found


def answering(*answers: str) -> Handler:
    """Each answer once, the last one for ever; "down" is a 500."""
    asked = iter(range(10**9))

    async def handler(_: web.Request) -> web.Response:
        text = answers[min(next(asked), len(answers) - 1)]
        return web.Response(status=500 if text == "down" else 200, text=text)

    return handler


def kinds(lines: Lines) -> list[str]:
    """The kinds of lines, in order."""
    return [line["kind"] for line in lines]


async def test_observers_remote_poll_owns_up_to_missed_answers() -> None:
    """Errors and nonsense are one gap, with when it was and how many; then it goes on."""
    good = '{"name": "pricing", "state": "open"}'
    async with serving(
        {"/b": answering(good, "down", "not json", '{"name": "else", "state": "open"}', good)}
    ) as url:
        request = Request(f"{url}/b", PRICING, interval_s=0.01)
        lines = await observed(request, "gobreaker", lambda found: kinds(found).count("breaker.state") >= 2)
    gap = next(line for line in lines if line["kind"] == "gap")
    assert kinds(lines)[:3] == ["breaker.state", "gap", "breaker.state"]
    assert (gap["source"], gap["lost"], gap["breaker"], gap["instance"]) == ("poll", 3, "pricing", "i1")
    assert lines[0]["at"][1] <= gap["at"][0] <= lines[2]["at"][0] <= gap["at"][1]


async def test_observers_remote_stream_owns_up_to_what_was_sent_while_it_was_away() -> None:
    """Nothing numbers these events: a stream that broke off has a gap until it is back, and what is no event is passed over."""
    told = iter([["closed", "open"], ["open", "half-open"]])

    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        before, after = next(told, ("", ""))
        if not before:
            await asyncio.sleep(30)
        data = json.dumps({"from": before, "to": after})
        await response.write(f": hello\n\ndata: nonsense\n\nevent: x\ndata: {data}\n\n".encode())
        return response

    async with serving({"/e": events}) as url:
        request = Request(f"{url}/e", PRICING, fields=Fields(before="from", after="to"))
        lines = await observed(request, "sse", lambda found: kinds(found).count("breaker.transition") >= 2)
    assert kinds(lines)[:3] == ["breaker.transition", "gap", "breaker.transition"]
    assert [(line["from"], line["to"]) for line in lines if "to" in line] == [
        ("closed", "open"),
        ("open", "half_open"),
    ]


async def test_observers_remote_stream_that_never_came_is_a_gap() -> None:
    """Whoever was never heard may have said anything."""
    lines: Lines = []
    (observer,) = REMOTE["opossum_events"](Request("http://127.0.0.1:9/", PRICING))
    task = asyncio.create_task(observer.run(lines.append))
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert kinds(lines) == ["gap"]
    assert lines[0]["source"] == "events"


DATA = Path(__file__).parents[1] / "data" / "observers"
READ = json.loads((DATA / "resilience4j-2.2.0.json").read_text())["readings"][0]
TOTALS = json.loads((DATA / "resilience4j-2.2.0-totals.json").read_text())["readings"][-1]


@pytest.mark.parametrize("exposed", [True, False], ids=["with /metrics", "without /metrics"])
async def test_observers_remote_actuator_tells_states_and_what_totals_it_has(exposed: bool) -> None:
    """Everything that a real actuator answered, each at its address; one that does not expose totals loses nothing else by that."""

    async def total(request: web.Request) -> web.Response:
        kind = next((tag for tag in request.query.getall("tag") if tag.startswith("kind:")), "")
        name = {"kind:successful": "succeeded", "kind:failed": "failed", "": "rejected"}[kind]
        assert "name:pricing" in request.query.getall("tag")
        return web.json_response(TOTALS["totals"][name], status=200 if exposed else 404)

    routes = {
        "/actuator/circuitbreakers": answering(json.dumps(READ["states"])),
        "/actuator/circuitbreakerevents/pricing": answering(json.dumps(READ["events"])),
        "/actuator/metrics/{metric}": total,
    }
    async with serving(routes) as url:
        request = Request(f"{url}/actuator", PRICING, interval_s=0.01)
        lines = await observed(
            request,
            "actuator",
            lambda found: (
                kinds(found).count("breaker.state") >= 3
                and (
                    not exposed
                    or len({line["name"] for line in found if "value" in line}) == len(TOTALS["made"])
                )
            ),
        )
    told = {line["name"]: line["value"] for line in lines if line["kind"] == "breaker.total"}
    assert told == (TOTALS["made"] if exposed else {})
    assert {line["state"] for line in lines if line["kind"] == "breaker.state"} == {"closed"}
    assert {line["source"] for line in lines if line["kind"] == "gap"} <= {"totals"}


def ring(*changes: str) -> str:
    """An actuator's events, a second apart."""
    return json.dumps(
        {
            "circuitBreakerEvents": [
                {
                    "circuitBreakerName": "pricing",
                    "type": "STATE_TRANSITION",
                    "creationTime": f"2026-11-22T12:28:{second:02d}.031789641Z[Etc/UTC]",
                    "stateTransition": change,
                }
                for second, change in enumerate(changes)
            ]
        }
    )


@pytest.mark.parametrize(
    ("answers", "told", "lost"),
    [
        (
            ["A", "down", "AB"],
            [("open", "half_open")],
            False,
        ),  # the ring goes on meanwhile, and shows that it was read in time
        (["A", "down", "B"], [("open", "half_open")], True),  # pushed out: who knows what else was
        (["down", "A", "AB"], [("open", "half_open")], True),  # what is in the first answer may be old or new
    ],
)
async def test_observers_remote_ring_makes_up_for_missed_answers(
    answers: list[str], told: list[tuple[str, str]], lost: bool
) -> None:
    """An answer that did not come costs nothing if the next one goes on where the last one ended."""
    changes = {"A": "CLOSED_TO_OPEN", "B": "OPEN_TO_HALF_OPEN"}
    texts = [each if each == "down" else ring(*map(changes.__getitem__, each)) for each in answers]
    async with serving({"/e": answering(*texts)}) as url:
        observer = PolledObserver("events", f"{url}/e", PRICING, ActuatorEvents(PRICING), interval_s=0.01)
        lines: Lines = []
        task = asyncio.create_task(observer.run(lines.append))
        async with asyncio.timeout(10):
            while "breaker.transition" not in kinds(lines):  # noqa: ASYNC110 - a list grows without an event
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert [(line["from"], line["to"]) for line in lines if "to" in line] == told
    assert ("gap" in kinds(lines)) is lost, lines


async def test_observers_remote_totals_that_were_not_told_for_a_while_may_have_begun_anew() -> None:
    """Transitions that are counted make up for an answer that did not come; whether it was the same life that counted they do not tell."""
    page = 'circuit{{name="pricing",event="open"}} {0}\ncircuit{{name="pricing",event="success"}} 7\n'
    async with serving({"/m": answering(page.format(0), "down", page.format(1))}) as url:
        request = Request(f"{url}/m", PRICING, interval_s=0.01)
        lines = await observed(request, "prometheus", lambda found: "breaker.transition" in kinds(found))
    assert [line["source"] for line in lines if line["kind"] == "gap"] == ["totals"]


async def test_observers_remote_answer_without_end_is_none() -> None:
    """However well it begins: what never ends would fill the runner's memory."""
    state = '{"status": "open"}'
    async with serving({"/s": answering(state + " " * MOST_BYTES, state)}) as url:
        request = Request(f"{url}/s", PRICING, interval_s=0.01, fields=Fields(state="status"))
        lines = await observed(request, "json", lambda found: "breaker.state" in kinds(found))
    assert kinds(lines)[0] == "gap"


async def test_observers_remote_event_without_end_is_a_broken_stream() -> None:
    """It is given up as one that broke off, and taken up again."""
    asked = 0

    async def events(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        response = web.StreamResponse()
        await response.prepare(request)
        line = b"data: " + b" " * 60_000 + b"\n"
        for _ in range(MOST_BYTES // len(line) + 1 if asked == 1 else 0):
            await response.write(line)
        await response.write(b'data: {"from": "closed", "to": "open"}\n\n')
        await asyncio.sleep(5)  # until the observer hangs up, or the server is taken down
        return response

    async with serving({"/e": events}) as url:
        request = Request(f"{url}/e", PRICING, fields=Fields(before="from", after="to"))
        lines = await observed(request, "sse", lambda found: "breaker.transition" in kinds(found))
    assert kinds(lines)[:2] == ["gap", "breaker.transition"]


async def test_observers_remote_asks_for_the_breaker_by_its_whole_name() -> None:
    """Neither a "&" nor a "/" in it makes another breaker of it."""
    asked: set[str] = set()

    async def metric(request: web.Request) -> web.Response:
        asked.add(request.query["tag"])
        return web.Response(status=404)

    async def events(request: web.Request) -> web.Response:
        asked.add(request.match_info["name"])
        return web.Response(status=404)

    name = "a&b/50%"
    async with serving({"/metrics/{metric}": metric, "/circuitbreakerevents/{name}": events}) as url:
        request = Request(url, Subject("pricing", name, None), interval_s=0.01)
        await observed(request, "actuator", lambda _: len(asked) == 2)
    assert asked == {name, f"name:{name}"}


@pytest.mark.parametrize("answers", [True, False], ids=["answering", "gone"])
async def test_observers_remote_events_are_asked_for_once_more_at_the_end(answers: bool) -> None:
    """What the breaker did since the last look is no silence: it is read when observing ends, or owned up to as lost."""
    told: list[dict[str, Any]] = []
    over = asyncio.Event()

    async def events(_: web.Request) -> web.Response:
        status = 500 if over.is_set() and not answers else 200
        return web.json_response({"circuitBreakerEvents": told}, status=status)

    async with serving({"/a/circuitbreakerevents/pricing": events}) as url:
        lines: Lines = []
        address = f"{url}/a/circuitbreakerevents/pricing"
        observer = PolledObserver("events", address, PRICING, ActuatorEvents(PRICING), interval_s=3600)
        task = asyncio.create_task(observer.run(lines.append))
        await asyncio.sleep(0)
        began = observer.known_until_ns
        async with asyncio.timeout(10):
            while observer.known_until_ns == began:  # noqa: ASYNC110 - nobody tells that an empty ring was read
                await asyncio.sleep(0.01)
        known = observer.known_until_ns
        told.append({
            "circuitBreakerName": "pricing",
            "type": "STATE_TRANSITION",
            "creationTime": "2026-11-22T12:28:28.031789641Z[Etc/UTC]",
            "stateTransition": "CLOSED_TO_OPEN",
        })  # fmt: skip
        over.set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    if answers:
        assert [(line["from"], line["to"]) for line in lines] == [("closed", "open")]
        assert known <= lines[0]["at"][0] <= lines[0]["at"][1]
    else:
        assert {(line["kind"], line["source"]) for line in lines} == {("gap", "events")}
        assert min(line["at"][0] for line in lines) == known


PLAN = """
version: 1
name: watched
external:
  base_url: "http://127.0.0.1:1"
  instances: [{name: a, service: web}, {name: b, service: web}, {name: c, service: other}]
phases: [{name: all, duration: 1s}]
load: {calls: {http: {url: /}, rate: 1/s}}
breakers:
  pricing:
    load: calls
    spec: {failures: 3}
    observe: {gobreaker: "URL/{instance}/{name}", name: price-circuit, poll: 20ms}
    instances: {service: web, header: X-Pod}
expect: {conforms: {breaker: pricing}}
"""


async def test_observers_remote_run_watches_each_instance_of_the_service() -> None:
    """Addresses are filled with instance and name; the breaker is called in the record what it is called in the plan."""
    asked: set[str] = set()

    async def state(request: web.Request) -> web.Response:
        asked.add(request.path)
        return web.json_response({"name": request.match_info["name"], "state": "closed"})

    class Stack:
        async def instances(self) -> tuple[Instance, ...]:
            return tuple(Instance(s, n) for n, s in (("a", "web"), ("b", "web"), ("c", "other")))

    async with serving({"/{instance}/{name}": state}) as url:
        plan = load_text(PLAN.replace("URL", url), source="plan", environment={}).plan
        assert plan.breakers["pricing"].header == "X-Pod"
        lines: Lines = []
        async with observe(plan, Stack(), System("external", url), lines.append):  # type: ignore[arg-type]
            async with asyncio.timeout(10):
                while len({line.get("instance") for line in lines}) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
    assert asked == {"/a/price-circuit", "/b/price-circuit"}
    states = [line for line in lines if line["kind"] == "breaker.state"]
    assert {(line["breaker"], line["instance"]) for line in states} == {("pricing", "a"), ("pricing", "b")}
