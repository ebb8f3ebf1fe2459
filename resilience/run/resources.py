"""Memory and CPU time of the system's processes on this host, once a second. An observer: it writes down, it judges nothing.

`resource` events, one a process and second: `{"service", "pid", "rss_bytes", "cpu_s"}`, with `process` where plans have a name for it; the last of a pid has `gone`
instead. A process that was killed and started again by the lab's supervisor has another pid: it is asked for those, so that the new one is followed as well.
Containers are measured by their engine's word (containers.py), not by one pid of many.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import psutil

from resilience.lab.probing import probing_session, read_json
from resilience.lab.system import System
from resilience.run.clock import now_ns

Emit = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class _Followed:
    service: str
    process: psutil.Process
    name: str | None


async def watch_processes(system: System, emit: Emit, interval_s: float = 1.0) -> None:
    """Follow every process of the target that is within reach, until cancelled."""
    watch = _Watch(system, emit)
    async with probing_session() as session:
        while True:
            watch.look()
            await watch.find(session)
            await asyncio.sleep(interval_s)


class _Watch:
    """The processes that are followed now."""

    def __init__(self, system: System, emit: Emit) -> None:
        self._emit = emit
        self._control = next((each.control for each in system.processes.values()), "")
        self._followed: dict[int, _Followed] = {}
        self._services: dict[str, str] = {}
        names = {each.pid: name for name, each in system.processes.items()}
        contained = {name for known in system.containers for name in (known, known.rpartition("-")[0])}
        for service, pids in system.pids.items():
            for pid in pids if service not in contained else ():
                if name := names.get(pid):
                    self._services[name] = service
                self._follow(service, pid, name)

    def look(self) -> None:
        """Tell of each what it takes, or that it has ended."""
        for pid, each in list(self._followed.items()):
            lo = now_ns()
            sample: dict[str, Any] = {"kind": "resource", "service": each.service, "pid": pid}
            if each.name is not None:
                sample["process"] = each.name
            try:
                sample |= _sample(each.process)
            except psutil.AccessDenied as error:
                # Not ours to look at, which says nothing about whether it runs.
                self._emit({"kind": "gap", "source": "resources", "lost": None, "at": [lo, now_ns()]})
                text = f"{each.service} cannot be measured: {error}"
                self._emit({"kind": "log", "level": "warning", "text": text})
                del self._followed[pid]
                continue
            if sample.get("gone"):
                del self._followed[pid]
            self._emit({**sample, "at": [lo, now_ns()]})

    async def find(self, session: aiohttp.ClientSession) -> None:
        """Follow those that the supervisor has started again."""
        missing = set(self._services) - {each.name for each in self._followed.values()}
        shown = await read_json(session, f"{self._control}/processes") if missing else None
        for name in missing:
            told = (shown or {}).get(name) or {}
            if told.get("runs"):
                self._follow(self._services[name], int(told["pid"]), name)

    def _follow(self, service: str, pid: int, name: str | None) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            self._followed[pid] = _Followed(service, psutil.Process(pid), name)


def _sample(process: psutil.Process) -> dict[str, Any]:
    """What one process takes; gone when it has ended, whether or not its parent has noticed. Raises AccessDenied."""
    try:
        with process.oneshot():
            if process.status() == psutil.STATUS_ZOMBIE:
                return {"gone": True}
            rss_bytes, cpu = process.memory_info().rss, process.cpu_times()
    except psutil.NoSuchProcess:
        return {"gone": True}
    return {"rss_bytes": rss_bytes, "cpu_s": round(cpu.user + cpu.system, 3)}
