"""How the instances are, asked before, during and after a run; and what an autoscaler does meanwhile. An observer: it writes down, it judges nothing.

`health` events, one an instance and time: `{"stage", "service", "instance", "live", "ready", "dependencies", "breakers", "connections", "idle", "sockets",
"rss_bytes", "descriptors"}`, null for what the instance does not say. Before and after, everything is asked; during the run only what costs
the dependencies nothing (liveness, breakers, metrics). "After" is asked again until all is well or `SETTLE_S` is over: pools empty when their
last call ends, breakers close with their last probe.

`scale` events: `{"instance", "step"}` with `decided` and `leaving` as the autoscaler says, `ready` and `gone` as they were *seen*: a readiness route that answers, a
process that is no more, a container that its engine says does not run. The first event is `{"step": "watching"}`: an autoscaler that never does anything was still watched.

`probe` events, one a question: `{"path", "status"}`, null where no answer came within a second. Asked for the plan's abort conditions.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families

from resilience.lab.system import Instance, System
from resilience.run.clock import now_ns

Emit = Callable[[dict[str, Any]], None]

EVERY_S = 0.5
SETTLE_S = 5.0
_ASK_S = 1.0
_SCALE_EVERY_S = 0.2
_GAUGES = {
    "lab_db_connections": "connections",
    "lab_db_connections_idle": "idle",
    "lab_websockets": "sockets",
}
AUTOSCALER = "autoscaler"
"""The fact of a system that says where its autoscaler shows what it does."""


class Prober:
    """Asks every instance that has an admin port. One a run; `before`, then `during` as a task, then `after`."""

    def __init__(self, instances: Iterable[Instance], emit: Emit) -> None:
        self._instances = [instance for instance in instances if instance.admin_url is not None]
        self._emit = emit

    async def before(self) -> None:
        """Everything, once."""
        async with _session() as session:
            await self._all(session, "before")

    async def during(self) -> None:
        """Twice a second, until it is cancelled."""
        async with _session() as session:
            while True:
                await self._all(session, "during")
                await asyncio.sleep(EVERY_S)

    async def after(self) -> None:
        """Everything, until it looks well or the time to settle is over."""
        async with _session() as session:
            until = now_ns() + int(SETTLE_S * 1e9)
            while not await self._all(session, "after") and now_ns() < until:  # noqa: ASYNC110 - it asks other processes
                await asyncio.sleep(EVERY_S)

    async def _all(self, session: aiohttp.ClientSession, stage: str) -> bool:
        found = await asyncio.gather(*(self._one(session, stage, each) for each in self._instances))
        return all(found)

    async def _one(self, session: aiohttp.ClientSession, stage: str, instance: Instance) -> bool:
        """Ask one instance; whether there is nothing that time might still mend."""
        lo = now_ns()
        live = await _get(session, f"{instance.admin_url}/health/live")
        reading: dict[str, Any] = {"live": None if live is None else live[0] == 200}
        if stage != "during":
            ready = await _get(session, f"{instance.admin_url}/health/ready")
            reading["ready"] = None if ready is None else ready[0] == 200
            reading["dependencies"] = _object(ready, "dependencies")
        told = await _get(session, f"{instance.admin_url}/breakers")
        listed = _object(told, "breakers")
        reading["breakers"] = {
            n: str(each.get("state")) for n, each in listed.items() if isinstance(each, dict)
        }
        reading |= await _gauges(session, f"{instance.admin_url}/metrics")
        reading |= _process(instance.pid)
        self._emit(
            {
                "kind": "health",
                "stage": stage,
                "service": instance.service,
                "instance": instance.name,
                **reading,
                "at": [lo, now_ns()],
            }
        )
        return (
            reading["live"] is True
            and all(state == "closed" for state in reading["breakers"].values())
            and reading.get("idle") == reading.get("connections")
        )


async def watch_path(base_url: str, path: str, emit: Emit) -> None:
    """Ask one path of the system twice a second, until cancelled. A redirect is an answer: it is not followed to another host."""
    url = f"{base_url.rstrip('/')}{path}"
    async with _session() as session:
        while True:
            lo = now_ns()
            status: int | None = None
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with session.get(url, allow_redirects=False) as response:
                    status = response.status
            emit({"kind": "probe", "path": path, "status": status, "at": [lo, now_ns()]})
            await asyncio.sleep(EVERY_S)


async def watch_scaling(system: System, emit: Emit) -> None:
    """Follow the system's autoscaler until cancelled; a gap while it does not answer."""
    url = f"{system.facts[AUTOSCALER]}/scaling"
    engine = next((point.engine for point in system.containers.values()), None)
    watch = _ScaleWatch(emit, engine)
    silent = False
    at = now_ns()
    emit({"kind": "scale", "step": "watching", "at": [at, at]})
    async with _session() as session:
        while True:
            lo = now_ns()
            shown = await _get(session, url)
            if shown is None and not silent:
                emit({"kind": "gap", "source": AUTOSCALER, "lost": None, "at": [lo, now_ns()]})
            silent = shown is None
            listed = shown[1] if shown is not None else {}
            for gateway in (*listed.get("gateways", ()), *listed.get("gone", ())):
                if gateway["decided_ns"] is not None:  # else it was there from the start
                    await watch.look(session, gateway, lo)
            await asyncio.sleep(_SCALE_EVERY_S)


class _ScaleWatch:
    """Tells each step of each instance once."""

    def __init__(self, emit: Emit, engine: str | None = None) -> None:
        self._emit = emit
        self._engine = engine
        self._seen: set[tuple[str, str]] = set()

    async def look(self, session: aiohttp.ClientSession, gateway: Mapping[str, Any], since_ns: int) -> None:
        """What is new about one gateway since the last look."""
        name, leaving_ns = str(gateway["instance"]), gateway["leaving_ns"]
        self._tell(name, "decided", gateway["decided_ns"], gateway["decided_ns"])
        if leaving_ns is None:
            if (name, "ready") in self._seen:
                return
            answer = await _get(session, f"{gateway['admin_url']}/health/ready")
            if answer is not None and answer[0] == 200:
                self._tell(name, "ready", since_ns, now_ns())
            return
        self._tell(name, "leaving", leaving_ns, leaving_ns)
        if await self._is_gone(gateway):
            self._tell(name, "gone", since_ns, now_ns())

    async def _is_gone(self, gateway: Mapping[str, Any]) -> bool:
        if gateway.get("container") is None or self._engine is None:
            return not psutil.pid_exists(gateway["pid"])
        # Its process is the engine's to know.
        from resilience.run.containers import runs  # noqa: PLC0415 - Docker's client takes a while to import

        return not await asyncio.to_thread(runs, self._engine, str(gateway["container"]))

    def _tell(self, name: str, step: str, lo: int, hi: int) -> None:
        if (name, step) not in self._seen:
            self._seen.add((name, step))
            self._emit({"kind": "scale", "instance": name, "step": step, "at": [lo, hi]})


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=_ASK_S), connector=aiohttp.TCPConnector(limit=0, force_close=True)
    )


async def _get(session: aiohttp.ClientSession, url: str) -> tuple[int, dict[str, Any]] | None:
    """(status, JSON object); None when nothing of the kind came."""
    try:
        async with session.get(url) as response:
            body: Any = None
            with contextlib.suppress(ValueError, RecursionError):  # no JSON, or nested beyond reading
                body = await response.json(content_type=None)
            return response.status, body if isinstance(body, dict) else {}
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None


def _object(answer: tuple[int, dict[str, Any]] | None, key: str) -> dict[str, Any]:
    """What an answer holds under a key; empty where that is no JSON object: a port of others may say anything."""
    found = answer[1].get(key) if answer is not None else None
    return found if isinstance(found, dict) else {}


async def _gauges(session: aiohttp.ClientSession, url: str) -> dict[str, int]:
    """The gauges of the pool and the sockets, where there are such metrics and they are numbers."""
    try:
        async with session.get(url) as response:
            text = await response.text() if response.status == 200 else ""
        families = list(text_string_to_metric_families(text))
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        return {}
    return {
        _GAUGES[sample.name]: int(sample.value)
        for family in families
        for sample in family.samples
        if sample.name in _GAUGES and math.isfinite(sample.value)
    }


def _process(pid: int | None) -> dict[str, int]:
    """Memory and descriptors of a process on this host, where they may be looked at."""
    if pid is None:
        return {}
    try:
        process = psutil.Process(pid)
        return {"rss_bytes": process.memory_info().rss, "descriptors": process.num_fds()}
    except psutil.Error:
        return {}
