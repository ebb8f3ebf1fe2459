"""Observers of a run: none dies in silence, and what may not be looked at is not taken for gone."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import psutil
import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer
from interpreter_world import Stack, World
from run_sample import PLAN

from resilience.breaker.observers.sse import SseObserver
from resilience.breaker.observers.tap import TapObserver
from resilience.breaker.wire import from_record
from resilience.lab.system import Instance, ProxyPoint, StackError, System
from resilience.plan import Plan, load_text
from resilience.plan.schema import Abort
from resilience.run import observing
from resilience.run.observing import observe
from resilience.run.probes import Prober
from resilience.run.resources import watch_processes
from resilience.run.shapes import event_problem

WATCHED = PLAN + "breakers:\n  db: {load: orders, observe: {wire: db}}\n"
POINT = ProxyPoint("db", "http://127.0.0.1:2", "db", "127.0.0.1:3", "127.0.0.1:4", "http://127.0.0.1:5", "db")


class OneInstance(Stack):
    """A stack with one instance whose breakers could be followed."""

    async def instances(self) -> tuple[Instance, ...]:
        """One."""
        return (Instance("gateway", "gateway-1", "http://127.0.0.1:9"),)


def plan() -> Plan:
    """A plan with one breaker."""
    return load_text(WATCHED, source="plan.yaml", environment={}).plan


async def until(condition: Callable[[], Any]) -> None:
    """Wait for something, at most ten seconds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - a list grows without an event
            await asyncio.sleep(0.01)


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Observers that see nothing, and never end."""

    async def nothing(*_: object) -> None:
        await asyncio.sleep(60)

    for observer in (observing.SseObserver, observing.PollObserver, observing.TapObserver):
        monkeypatch.setattr(observer, "run", nothing)


@pytest.mark.parametrize(
    ("observer", "source", "known_as"),
    [("SseObserver", "sse", "events"), ("PollObserver", "poll", "polls"), ("TapObserver", "tap", "wire")],
)
async def test_observer_that_dies_is_a_gap_at_once(
    idle: None, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, observer: str, source: str, known_as: str
) -> None:
    """Not when the run is over: evidence is missing from that moment on, in words that the verifier knows."""

    async def dies(*_: object) -> None:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr(getattr(observing, observer), "run", dies)
    found: list[dict[str, Any]] = []
    system = System("embedded", "http://127.0.0.1:1", {"db": POINT})
    async with observe(plan(), OneInstance(World(tmp_path)), system, found.append):
        await until(lambda: len(found) >= 2)
    gap, log = found
    assert (gap["kind"], gap["source"], gap["lost"]) == ("gap", source, None)
    assert gap["at"][0] == gap["at"][1] > 0
    assert gap.get("proxy", gap.get("instance")) in ("db", "gateway-1")
    assert "boom" in log["text"]
    (understood,) = from_record(breaker="db", run_id="r", calls=(), gaps=[gap])
    assert understood.source == known_as  # type: ignore[union-attr]


async def test_observers_that_are_ended_leave_no_gap(idle: None, tmp_path: Any) -> None:
    """The end of a run is no loss."""
    found: list[dict[str, Any]] = []
    system = System("embedded", "http://127.0.0.1:1", {"db": POINT})
    async with observe(plan(), OneInstance(World(tmp_path)), system, found.append):
        await asyncio.sleep(0)
    assert found == []


async def test_first_question_that_fails_is_a_gap_and_the_run_goes_on(
    idle: None, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after, as during: what a target answers costs evidence, never the run."""

    async def dies(_: object) -> None:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr(Prober, "before", dies)
    monkeypatch.setattr(Prober, "after", dies)
    found: list[dict[str, Any]] = []
    system = System("embedded", "http://127.0.0.1:1", {"db": POINT})
    async with observe(plan(), OneInstance(World(tmp_path)), system, found.append) as observation:
        assert [line["kind"] for line in found] == ["gap", "log"]
        monkeypatch.setattr(TapObserver, "drain", lambda *_: asyncio.sleep(0))
        await observation.drain()
    gaps = [line for line in found if line["kind"] == "gap"]
    assert [(gap["source"], gap["lost"]) for gap in gaps] == [("health", None)] * 2
    assert all(event_problem({"t": 1, **line}) is None for line in found)


async def test_stop_at_the_first_question_leaves_no_observer(
    idle: None, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have begun by then, and nobody else would end them."""
    asked = asyncio.Event()

    async def hangs(_: object) -> None:
        asked.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(Prober, "before", hangs)

    async def watch() -> None:
        system = System("embedded", "http://127.0.0.1:1", {"db": POINT})
        async with observe(plan(), OneInstance(World(tmp_path)), system, lambda _: None):
            raise AssertionError("nobody answered")

    before = asyncio.all_tasks()
    watching = asyncio.create_task(watch())
    await asked.wait()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert asyncio.all_tasks() == before


ODD = {
    "/health/live": "{}",
    "/health/ready": '{"dependencies": ["db"]}',
    "/metrics": "lab_db_connections NaN\nlab_db_connections_idle +Inf\nlab_websockets 3\n",
}


@pytest.mark.parametrize(
    ("breakers", "understood"),
    [
        ('{"breakers": ["pricing"]}', {}),
        ('{"breakers": {"pricing": "open", "db": {"state": "closed"}}}', {"db": "closed"}),
        ('{"breakers": null}', {}),
        ('["pricing"]', {}),
    ],
)
async def test_instance_that_answers_oddly_is_read_as_far_as_it_makes_sense(
    breakers: str, understood: dict[str, str]
) -> None:
    """The admin port is somebody's own: other shapes are no answer, and what is no number is no figure."""
    texts = {**ODD, "/breakers": breakers}

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(text=texts[request.path])

    found: list[dict[str, Any]] = []
    async with RawTestServer(answer) as server:
        await Prober([Instance("shop", "shop-1", f"http://127.0.0.1:{server.port}")], found.append).before()
    (reading,) = found
    assert event_problem({"t": 1, **reading}) is None
    assert (reading["live"], reading["ready"], reading["dependencies"]) == (True, True, {})
    assert (reading["breakers"], reading["sockets"]) == (understood, 3)
    assert "connections" not in reading
    assert "idle" not in reading


async def test_stream_that_was_never_there_is_a_gap() -> None:
    """No transition was heard, and nobody may take that for "there was none"."""
    found: list[dict[str, Any]] = []
    task = asyncio.create_task(SseObserver("http://127.0.0.1:9", "gateway-1").run(found.append))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    (gap,) = found
    assert (gap["kind"], gap["source"], gap["instance"], gap["lost"]) == ("gap", "sse", "gateway-1", None)
    assert gap["at"][0] < gap["at"][1]


class Ring:
    """A tap's answers, read as `TapObserver` reads them, slowly enough for two readers to meet."""

    def __init__(self) -> None:
        self.records = [{"seq": 1, "kind": "arrival", "n": 1, "at": [1, 2]}]

    def get(self, _: str, params: dict[str, str]) -> Any:
        """An answer as a context manager."""
        ring = self

        class Answer:
            async def __aenter__(self) -> Self:
                await asyncio.sleep(0.01)
                return self

            async def __aexit__(self, *_: object) -> None:
                pass

            def raise_for_status(self) -> None:
                pass

            async def json(self) -> dict[str, Any]:
                new = [r for r in ring.records if r["seq"] > int(params["since"])]
                return {"next": len(ring.records), "dropped": 0, "records": new}

        return Answer()


async def test_tap_read_by_two_at_once_is_read_once() -> None:
    """Draining while the long poll is under way emits no record twice."""
    tap, ring, found = TapObserver("http://127.0.0.1:9", "db"), Ring(), []
    await asyncio.gather(*(tap._fetch(ring, found.append, 0.0) for _ in range(3)))  # type: ignore[arg-type]
    assert [line["seq"] for line in found] == [1]


async def resources_of(pid: int) -> dict[str, Any]:
    """The first thing that is said of a process."""
    found: list[dict[str, Any]] = []
    task = asyncio.create_task(watch_processes(System("e", "u", pids={"gateway": (pid,)}), found.append))
    await until(lambda: found)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return found[0]


async def test_process_that_may_not_be_looked_at_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No permission is a gap; only a process that ended is a restart."""

    def denied(_: object) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "status", denied)
    said = await resources_of(os.getpid())
    assert (said["kind"], said["source"], said["lost"]) == ("gap", "resources", None)


async def test_process_that_ended_is_gone_also_before_its_parent_knows() -> None:
    """A zombie takes no memory and serves nobody."""
    child = subprocess.Popen([sys.executable, "-c", ""])  # noqa: ASYNC220 - it is over before anything is awaited
    try:
        await until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
        said = await resources_of(child.pid)
    finally:
        child.wait()
    assert said["gone"] is True
    assert said["at"][0] <= said["at"][1]


async def test_abort_on_memory_that_nobody_can_measure_is_refused(idle: None, tmp_path: Any) -> None:
    """A condition that could never be seen to hold would protect nobody; where a process is known it is watched."""
    wanted = plan().model_copy(
        update={"abort": (Abort.model_validate({"service": "pricing", "memory": "> 1MB", "for": "1s"}),)}
    )
    there = System("embedded", "http://127.0.0.1:1", {"db": POINT}, pids={"pricing": (os.getpid(),)})
    async with observe(wanted, OneInstance(World(tmp_path)), there, lambda _: None):
        pass
    with pytest.raises(StackError, match="memory of pricing, but no process"):
        async with observe(wanted, OneInstance(World(tmp_path)), replace(there, pids={}), lambda _: None):
            raise AssertionError("it was not refused")
