"""The lab's autoscaler with real gateways, and the probes that watch it and the instances' health."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import aiohttp
import pytest

from resilience.lab.autoscaler import AutoscalePolicy
from resilience.lab.embedded import EmbeddedStack
from resilience.run.probes import Prober, watch_scaling

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(120)]


async def offer(session: aiohttp.ClientSession, url: str, per_s: float, stop: asyncio.Event) -> list[int]:
    """Calls at a rate until told to stop; their statuses, 0 for one that got no answer."""
    calls: list[asyncio.Task[int]] = []

    async def one() -> int:
        try:
            async with session.get(url) as answer:
                return answer.status
        except (aiohttp.ClientError, OSError):
            return 0

    while not stop.is_set():
        calls.append(asyncio.create_task(one()))
        await asyncio.sleep(1 / per_s)
    return list(await asyncio.gather(*calls))


async def until(seen: list[dict[str, Any]], step: str) -> None:
    """Until a step of an instance has been seen."""
    async with asyncio.timeout(50):
        while not any(event.get("step") == step for event in seen):  # noqa: ASYNC110 - another task fills the list
            await asyncio.sleep(0.1)


async def test_lab_scales_out_and_in_and_loses_nothing() -> None:
    """Load, a second gateway that is seen ready; less load, and it is gone without a call that was not answered."""
    stack = EmbeddedStack(gateways=1, autoscale=AutoscalePolicy(most=2, per_gateway=20, in_after_s=1.0))
    system = await stack.up()
    seen: list[dict[str, Any]] = []
    try:
        async with aiohttp.ClientSession() as session:
            watching = asyncio.create_task(watch_scaling(system, seen.append))
            statuses = []
            for per_s, step in ((60, "ready"), (8, "gone")):
                stop = asyncio.Event()
                load = asyncio.create_task(offer(session, f"{system.base_url}/health/live", per_s, stop))
                try:
                    await until(seen, step)
                finally:
                    stop.set()
                    statuses += await load
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    finally:
        await stack.down()
    assert set(statuses) == {200}
    steps = [event["step"] for event in seen]
    assert steps == ["watching", "decided", "ready", "leaving", "gone"]
    assert all(a["at"][0] <= b["at"][1] for a, b in itertools.pairwise(seen))


async def test_prober_reads_a_gateway_before_and_after() -> None:
    """Live, ready, dependencies up, breakers closed, pool idle, memory and descriptors: all of it is there."""
    stack = EmbeddedStack(gateways=1)
    system = await stack.up()
    seen: list[dict[str, Any]] = []
    try:
        prober = Prober(system.instances, seen.append)
        await prober.before()
        await prober.after()
    finally:
        await stack.down()
    before, after = (event for event in seen if event["service"] == "gateway")
    assert (before["stage"], after["stage"]) == ("before", "after")
    assert before["live"] is True
    assert before["ready"] is True
    assert before["dependencies"] == {"db": "up", "cache": "up"}
    assert before["breakers"] == {"pricing": "closed"}
    assert before["idle"] == before["connections"]
    assert before["rss_bytes"] > 0
    assert before["descriptors"] > 0


async def test_prober_says_of_a_dead_instance_that_it_does_not_answer() -> None:
    """Nobody listens: null, which is not "no"."""
    stack = EmbeddedStack(gateways=1)
    system = await stack.up()
    await stack.down()
    seen: list[dict[str, Any]] = []
    await Prober([i for i in system.instances if i.admin_url], seen.append).before()
    assert [event["live"] for event in seen] == [None]
