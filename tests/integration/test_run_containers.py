"""What an engine says of containers, as events: figures, changes, and an engine that says nothing."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from resilience.lab.system import ContainerPoint, System
from resilience.run import containers
from resilience.run.containers import figures_of, runs, service_of, watch_containers
from resilience.run.shapes import event_problem

pytestmark = pytest.mark.integration


def stats(**memory: Any) -> dict[str, Any]:
    """An engine's `stats`, shortened."""
    return {"memory_stats": memory, "cpu_stats": {"cpu_usage": {"total_usage": 1_234_567_890}}}


@pytest.mark.parametrize(
    ("detail", "rss_bytes"),
    [
        ({"inactive_file": 40}, 60),
        ({"total_inactive_file": 30}, 70),
        ({}, 100),
        ({"inactive_file": 100}, 100),
    ],
)
def test_memory_is_without_the_cache_that_the_kernel_could_take_back(
    detail: dict[str, int], rss_bytes: int
) -> None:
    """Both generations of control groups; a cache as large as all of it says nothing."""
    assert figures_of(stats(usage=100, stats=detail)) == {"rss_bytes": rss_bytes, "cpu_s": 1.235}


def test_container_that_does_not_run_takes_nothing() -> None:
    """An engine answers with empty figures then."""
    assert figures_of({"memory_stats": {}, "cpu_stats": {}}) == {}
    assert figures_of({}) == {}


def test_service_of_a_replica_is_its_name_without_the_number() -> None:
    """Only gateways have numbers."""
    assert [service_of(name) for name in ("gateway-2", "pricing", "toxiproxy-db")] == [
        "gateway",
        "pricing",
        "toxiproxy-db",
    ]


class Engine(BaseHTTPRequestHandler):
    """An engine with one container, whose facts are to be changed."""

    facts: ClassVar[dict[str, Any] | None] = None

    def log_message(self, *_words: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Its version, the container, and its figures."""
        facts = type(self).facts
        body: Any = {"ApiVersion": "1.41"}
        if "/containers/json" in self.path:
            row = {"Id": "abc", "Names": ["/redis"], "Labels": {}}
            body = [] if facts is None else [{**row, "State": facts["State"]["Status"], **_networks(facts)}]
            return self._say(200, body)
        if "/containers/" in self.path:
            body = stats(usage=100) if "/stats" in self.path else facts
        status = 404 if "/containers/" in self.path and facts is None else 200
        return self._say(status, body or {"message": "no such container"})

    def _say(self, status: int, body: Any) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def _networks(facts: dict[str, Any]) -> dict[str, Any]:
    return {"NetworkSettings": facts["NetworkSettings"]}


def facts_of(status: str, pid: int, *networks: str) -> dict[str, Any]:
    """What `inspect` says."""
    state = {"Status": status, "Running": status == "running", "Pid": pid}
    return {"State": state, "NetworkSettings": {"Networks": {name: {} for name in networks}}}


@pytest.fixture
def engine() -> Iterator[str]:
    """The address of such an engine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    Engine.facts = facts_of("running", 7, "default")
    yield f"tcp://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def system_at(engine: str) -> System:
    """A system with one container."""
    return System(
        "compose", "http://127.0.0.1:1", containers={"redis": ContainerPoint("redis", engine, "abc")}
    )


def test_changes_of_a_container_are_told_once(engine: str) -> None:
    """Another state, another network, another process, and none: what was there has gone with its pid."""
    watch = containers._Watch(system_at(engine))
    told: list[list[dict[str, Any]]] = []
    for facts in (
        facts_of("running", 7, "default"),
        facts_of("running", 7, "default"),
        facts_of("running", 7),
        facts_of("exited", 0, "default"),
        facts_of("running", 8, "default"),
        None,
    ):
        Engine.facts = facts
        told.append([*watch.changes(), *watch.figures()])
    watch.close()
    kinds = [[event["kind"] for event in events] for events in told]
    assert kinds == [
        ["container", "resource"],
        ["resource"],
        ["container", "resource"],
        ["container", "resource"],
        ["container", "resource"],
        ["container", "resource"],
    ]
    assert [event["state"] for events in told for event in events if event["kind"] == "container"] == [
        "running",
        "running",
        "exited",
        "running",
        "removed",
    ]
    assert told[3][1]["gone"] is True
    assert told[3][1]["pid"] == 7
    assert told[4][1]["pid"] == 8
    assert told[5][1] == {"kind": "resource", "service": "redis", "process": "redis", "pid": 8, "gone": True}
    for event in (each for events in told for each in events):
        assert event_problem({"v": 1, "t": 1, **event, "at": [1, 2]}) is None


def test_engine_is_asked_whether_a_container_runs(engine: str) -> None:
    """Its word; none where it does not say."""
    assert runs(engine, "abc") is True
    Engine.facts = facts_of("exited", 0)
    assert runs(engine, "abc") is False
    Engine.facts = None
    assert runs(engine, "abc") is False
    assert runs("tcp://127.0.0.1:9", "abc") is True


async def test_engine_that_does_not_answer_is_a_gap_once() -> None:
    """The run goes on, and is held to be invalid: nobody takes silence for a container that is well."""
    seen: list[dict[str, Any]] = []
    task = asyncio.create_task(watch_containers(system_at("tcp://127.0.0.1:9"), seen.append, 0.01))
    async with asyncio.timeout(20):
        while len(seen) < 6:  # noqa: ASYNC110 - the observer runs beside us
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    # Changes and figures are asked for side by side: each says it once.
    assert sorted(event["kind"] for event in seen) == ["doubt", "doubt", "gap", "gap", "log", "log"]
    assert {event["source"] for event in seen if event["kind"] == "gap"} == {"containers"}
