"""Observers of one run: breaker events, breaker polls, the taps on the wire, memory and CPU of the target.

Each observer is a task that lives as long as the run and hands what it saw to one callback. `drain` waits until
everything that the taps had recorded when the load ended has arrived here: evidence is complete, or said to be lost.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import psutil

from resilience.breaker.observers.poll import PollObserver
from resilience.breaker.observers.sse import SseObserver
from resilience.breaker.observers.tap import TapObserver
from resilience.lab.system import Stack, System
from resilience.plan.schema import Plan
from resilience.run.clock import now_ns

Emit = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Observation:
    """The observers that are running."""

    taps: tuple[TapObserver, ...]
    emit: Emit

    async def drain(self) -> None:
        """Read all that the taps have recorded; a tap that cannot be asked emits a gap."""
        for tap in self.taps:
            await tap.drain(self.emit)


@contextlib.asynccontextmanager
async def observe(plan: Plan, stack: Stack, system: System, emit: Emit) -> AsyncIterator[Observation]:
    """Run every observer that the plan asks for."""
    taps = tuple(_taps(plan, system))
    running: list[Coroutine[Any, Any, None]] = [tap.run(emit) for tap in taps]
    running.append(_resources(system, emit))
    # One connection an instance serves all breakers of the plan: events name theirs.
    observed = [breaker.observe for breaker in plan.breakers.values()]
    intervals = [o.poll for o in observed if o.poll is not None]
    for instance in await stack.instances() if observed else ():
        if instance.admin_url is None:
            continue
        if any(o.events for o in observed):
            running.append(SseObserver(instance.admin_url, instance.name).run(emit))
        if intervals:
            poll = PollObserver(instance.admin_url, instance.name, interval_s=min(intervals) / 1e9)
            running.append(poll.run(emit))
    tasks = [asyncio.create_task(coroutine) for coroutine in running]
    try:
        yield Observation(taps, emit)
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                emit({"kind": "log", "level": "error", "text": f"an observer failed: {result!r}"})


def _taps(plan: Plan, system: System) -> list[TapObserver]:
    wanted = {breaker.observe.wire for breaker in plan.breakers.values() if breaker.observe.wire}
    wanted |= {name for e in plan.expect.values() if (name := getattr(e, "proxy", None))}
    points = [system.proxies[name] for name in sorted(wanted)]
    return [TapObserver(p.tap_url, p.tap, proxy=p.name) for p in points if p.tap_url and p.tap]


async def _resources(system: System, emit: Emit, interval_s: float = 1.0) -> None:
    """Resident size and CPU time of every process of the target that is within reach, once a second."""
    processes = {
        (service, pid): psutil.Process(pid)
        for service, pids in system.pids.items()
        for pid in pids
        if psutil.pid_exists(pid)
    }
    while True:
        for (service, pid), process in list(processes.items()):
            lo = now_ns()
            try:
                with process.oneshot():
                    rss_bytes, cpu = process.memory_info().rss, process.cpu_times()
            except psutil.Error:
                emit({"kind": "resource", "service": service, "pid": pid, "gone": True, "at": [lo, now_ns()]})
                del processes[service, pid]
                continue
            emit(
                {
                    "kind": "resource",
                    "service": service,
                    "pid": pid,
                    "rss_bytes": rss_bytes,
                    "cpu_s": round(cpu.user + cpu.system, 3),
                    "at": [lo, now_ns()],
                }
            )
        await asyncio.sleep(interval_s)
