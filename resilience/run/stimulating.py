"""Joins a plan's stimuli to a system that is up: the scripted dependencies behind its proxies, and the drivers that call it.

A scripted dependency lives in the runner itself, so that it knows of each call before that call is sent. The proxy before it is led to
it once the system is up; the lab's own price service is then asked nothing any more. Both end with the run, so there
is nothing to heal.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from resilience.lab.fronting import repoint
from resilience.lab.system import StackError, System
from resilience.load.stimulus_dependency import Healthy, ScriptedDependency
from resilience.load.stimulus_driver import Aim, Rejection, StimulusDriver
from resilience.plan.requests import http_request
from resilience.plan.schema import Plan, Stimulus
from resilience.plan.specs import specification
from resilience.plan.stimuli import stimulated

Tell = Callable[..., None]
MARGIN_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Stimulation:
    """The drivers of all stimuli of a run; none where the plan has none."""

    drivers: tuple[StimulusDriver, ...]

    async def run(self) -> None:
        """Make sure that each service can be stimulated, then play every script. Raises `StimulusError`."""
        try:
            found = [await driver.prepare() for driver in self.drivers]
            async with asyncio.TaskGroup() as group:
                for driver, instances in zip(self.drivers, found, strict=True):
                    group.create_task(driver.run(instances))
        finally:
            for driver in self.drivers:
                driver.close()


@contextlib.asynccontextmanager
async def stimulation(
    plan: Plan, system: System, run_id: str, *, on_row: Callable[[dict[str, Any]], None], tell: Tell
) -> AsyncIterator[Stimulation]:
    """Scripted dependencies in place, and drivers ready to be run. Raises `StackError`, `SpecError` or OSError."""
    drivers = []
    async with contextlib.AsyncExitStack() as stack:
        for name, breaker_name in stimulated(plan).items():
            stimulus, breaker = plan.stimulus[name], plan.breakers[breaker_name]
            assert breaker.observe.wire is not None  # the compiler has looked
            point = system.proxies[breaker.observe.wire]
            _refuse_foreign(plan, system, point.name)
            dependency = await stack.enter_async_context(
                ScriptedDependency(_healthy(stimulus), correlate=stimulus.correlate)
            )
            await repoint(point, dependency.address)
            spec = specification(plan, breaker, system.facts)
            aim = Aim(
                name=name,
                run_id=run_id,
                request=http_request(stimulus.http, system.base_url, breaker.header),
                spec=spec,
                rejection=_rejection(stimulus),
                correlate=stimulus.correlate,
                # A caller must outlast the service's own time limit, which a hung probe is to run into.
                timeout_ns=max(stimulus.http.timeout, 2 * (spec.timeout_ns or 0) + MARGIN_NS),
                upstream=point.listen,
            )

            def on_event(event: dict[str, Any]) -> None:
                tell("stimulus", **event)

            drivers.append(StimulusDriver(aim, dependency, on_row=on_row, on_event=on_event))
        yield Stimulation(tuple(drivers))


def _refuse_foreign(plan: Plan, system: System, proxy: str) -> None:
    """StackError unless the proxy goes away with this run: nobody else's is led elsewhere."""
    external = plan.external.proxies.get(proxy) if plan.external is not None else None
    ours = external is not None and external.listen is not None
    if not ours and system.stack != "embedded":
        raise StackError(
            f"the scripted dependency stands behind a proxy of ours, and {proxy} is not one: run this plan on the embedded lab, or "
            "`conformance` with --stack external (docs/external.md)"
        )


def _healthy(stimulus: Stimulus) -> Healthy:
    answer = stimulus.answer
    headers = {"Content-Type": "application/json", **answer.headers}
    return Healthy(json.dumps(answer.json_body).encode(), headers, answer.status)


def _rejection(stimulus: Stimulus) -> Rejection:
    told = stimulus.rejected
    return Rejection(told.status, next(iter(told.header.items())) if told.header else None)
