"""Observers of one run: breaker events, breaker polls, the taps on the wire, memory and CPU of the target.

Each observer is a task that lives as long as the run and hands what it saw to one callback. None dies in silence: from
the moment in which one fails, its source has a gap. `drain` ends the reading of the taps and then fetches what they had
recorded when the load ended: evidence is complete, or said to be lost.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from resilience.breaker.observers.mapped import Fields
from resilience.breaker.observers.poll import PollObserver
from resilience.breaker.observers.polling import Subject
from resilience.breaker.observers.registry import REMOTE, Request
from resilience.breaker.observers.sse import SseObserver
from resilience.breaker.observers.tap import TapObserver
from resilience.lab.system import Instance, Stack, StackError, System
from resilience.plan.addresses import resolved, unknown_addresses
from resilience.plan.schema import Plan
from resilience.plan.schema.breakers import Mapped
from resilience.plan.schema.expect_promises import CacheExpectation
from resilience.plan.targets import wire_of
from resilience.run.clock import now_ns
from resilience.run.machine import watch_machine
from resilience.run.probes import AUTOSCALER, Prober, watch_path, watch_scaling
from resilience.run.resources import watch_processes

DEFAULT_POLL_NS = 200_000_000
_HEALTH: Final[Mapping[str, str]] = {"source": "health"}
Emit = Callable[[dict[str, Any]], None]
Running = tuple[Mapping[str, str], Coroutine[Any, Any, None]]
"""What a gap of an observer is a gap of, and the observer."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The observers that are running."""

    taps: Mapping[TapObserver, asyncio.Task[None]]
    emit: Emit
    prober: Prober | None = None

    async def drain(self) -> None:
        """Read all that the taps have recorded, and read no more; a tap that cannot be asked emits a gap. Then ask how all are."""
        # Their long polls end first: whoever waits for one to answer would wait for nothing.
        await _ended(self.taps.values())
        for tap in self.taps:
            await tap.drain(self.emit)
        if self.prober is not None:
            await _told(_HEALTH, self.prober.after(), self.emit)


@contextlib.asynccontextmanager
async def observe(plan: Plan, stack: Stack, system: System, emit: Emit) -> AsyncIterator[Observation]:
    """Run every observer that the plan asks for. StackError where an abort condition could never be seen to hold."""
    if unseen := _unmeasured(plan, system):
        named = ", ".join(unseen)
        raise StackError(
            f"`abort` bounds the memory of {named}, but no process of it is within reach: leave that out"
        )
    # One connection an instance serves all breakers of the plan: events name theirs.
    instances = await stack.instances() if plan.breakers else ()
    tasks: list[asyncio.Task[None]] = []

    def watch(source: Mapping[str, str], observer: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        tasks.append(_watched(source, observer, emit))
        return tasks[-1]

    try:
        taps = {tap: watch(tap.source, tap.run(emit)) for tap in _taps(plan, system)}
        watch({"source": "resources"}, watch_processes(system, emit))
        if system.containers:
            from resilience.run.containers import watch_containers  # noqa: PLC0415 - Docker's client takes a while to import

            watch({"source": "containers"}, watch_containers(system, emit))
        watch({"source": "machine"}, watch_machine(system, emit))
        for source, observer in chain(_breakers(plan, instances, emit), _remote(plan, instances, emit)):
            watch(source, observer)
        prober = Prober(system.instances, emit)
        await _told(_HEALTH, prober.before(), emit)
        watch(_HEALTH, prober.during())
        for path in sorted({each.probe for each in plan.abort if each.probe is not None}):
            watch({"source": f"probe {path}"}, watch_path(system.base_url, path, emit))
        for name, url in _caches(plan, system).items():
            watch({"source": f"cache {name}"}, _cache(name, url, emit))
        if AUTOSCALER in system.facts:
            watch({"source": AUTOSCALER}, watch_scaling(system, emit))
        yield Observation(taps, emit, prober)
    finally:
        await _ended(tasks)


async def _told(source: Mapping[str, str], asking: Coroutine[Any, Any, None], emit: Emit) -> None:
    """Ask something once; where that fails its source has a gap, and the run goes on."""
    try:
        await asking
    except Exception as error:  # noqa: BLE001 - whatever a target answers, it costs evidence and not the run
        _lost(source, error, emit)


def _lost(source: Mapping[str, str], error: BaseException | None, emit: Emit) -> None:
    at_ns = now_ns()
    emit({"kind": "gap", **source, "lost": None, "at": [at_ns, at_ns]})
    text = f"the observer of {' '.join(source.values())} failed: {error!r}"
    emit({"kind": "log", "level": "error", "text": text})


def _watched(
    source: Mapping[str, str], observer: Coroutine[Any, Any, None], emit: Emit
) -> asyncio.Task[None]:
    """An observer as a task whose death is told at once."""

    def over(task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            # An observer has no end of its own: one that returned has stopped observing as well.
            _lost(source, task.exception(), emit)

    task = asyncio.create_task(observer)
    task.add_done_callback(over)
    return task


async def _ended(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _unmeasured(plan: Plan, system: System) -> list[str]:
    """Services whose memory would stop the run, and cannot be measured here."""
    contained = {each for name in system.containers for each in (name, name.rpartition("-")[0])}
    wanted = {each.service for each in plan.abort if each.service is not None}
    return sorted(name for name in wanted if not system.pids.get(name) and name not in contained)


def _caches(plan: Plan, system: System) -> dict[str, str]:
    """The caches that the plan expects something of, with their addresses, where the system offers one."""
    wanted = {each.cache for each in plan.expect.values() if isinstance(each, CacheExpectation)}
    known = resolved(plan, system.base_url, system.addresses)
    return {name: known[name] for name in sorted(wanted & known.keys() - unknown_addresses(known))}


async def _cache(name: str, url: str, emit: Emit) -> None:
    from resilience.run.caches import watch_cache  # noqa: PLC0415 - of an extra that few plans need

    await watch_cache(name, url, emit)


def _taps(plan: Plan, system: System) -> list[TapObserver]:
    wanted = {breaker.observe.wire for breaker in plan.breakers.values() if breaker.observe.wire}
    wanted |= {name for e in plan.expect.values() if (name := getattr(e, "proxy", None))}
    # Before everything that is faulted: the judge asks whether anything met the fault.
    wanted |= {wire for fault in plan.faults if (wire := wire_of(plan, fault)) is not None}
    points = [system.proxies[name] for name in sorted(wanted)]
    return [TapObserver(p.tap_url, p.tap, proxy=p.name, sole=True) for p in points if p.tap_url and p.tap]


def _breakers(plan: Plan, instances: Iterable[Instance], emit: Emit) -> Iterator[Running]:
    # Who has an interface of its own to be watched by is not asked on the lab's.
    observed = [breaker.observe for breaker in plan.breakers.values() if not breaker.observe.remote()]
    intervals = [o.poll for o in observed if o.poll is not None]
    for instance in instances:
        if instance.admin_url is None:
            continue
        if any(o.events for o in observed):
            events = SseObserver(instance.admin_url, instance.name)
            yield events.source, events.run(emit)
        if intervals:
            poll = PollObserver(instance.admin_url, instance.name, interval_s=min(intervals) / 1e9)
            yield poll.source, poll.run(emit)


def _remote(plan: Plan, instances: Iterable[Instance], emit: Emit) -> Iterator[Running]:
    """Observers of breakers that have an interface of their own, one set for each instance."""
    known = list(instances)
    for name, breaker in plan.breakers.items():
        service = breaker.instances.service if breaker.instances is not None else None
        places = [instance.name for instance in known if service in (None, instance.service)]
        for key, wanted in breaker.observe.remote().items():
            url = wanted if isinstance(wanted, str) else wanted.url
            # One address for all of them shows one breaker, whosever that is.
            whose = places if "{instance}" in url else [places[0] if len(places) == 1 else None]
            for instance in whose:
                request = Request(
                    url,
                    Subject(name, breaker.observe.name or name, instance),
                    interval_s=(breaker.observe.poll or DEFAULT_POLL_NS) / 1e9,
                    fields=Fields() if isinstance(wanted, str) else _fields(wanted),
                )
                for observer in REMOTE[key](request):
                    yield observer.source, observer.run(emit)


def _fields(mapped: Mapped) -> Fields:
    return Fields(
        state=mapped.state,
        before=mapped.before,
        after=mapped.after,
        name=mapped.name,
        at=mapped.at,
        unit=mapped.unit,
        delay_ns=mapped.delay,
        states=mapped.states,
    )
