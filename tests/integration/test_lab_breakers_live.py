"""Each breaker library in the gateway, under a real toxic: it opens, refuses, probes, closes, and its events say so."""

import asyncio
import contextlib
import json
import time

import aiohttp
import pytest

from faults.model import ToxicSpec
from faults.toxiproxy import ToxiproxyClient
from resilience.lab.breakers.registry import LIBRARIES
from resilience.lab.embedded import EmbeddedStack
from resilience.lab.options import LabOptions
from resilience.lab.settings import BreakerSettings

pytestmark = pytest.mark.integration

TIMEOUT_MS = 150
WAIT_MS = 400
NO_ANSWER = ToxicSpec("timeout", attributes={"timeout": 0})


@contextlib.asynccontextmanager
async def lab_of(library):
    """(system, client, proxies) of a lab with one gateway and a quick breaker."""
    settings = BreakerSettings(library, failures=3, wait_ms=WAIT_MS, timeout_ms=TIMEOUT_MS)
    stack = EmbeddedStack(LabOptions(settings, gateways=1))
    system = await stack.up()
    try:
        async with (
            aiohttp.ClientSession(system.base_url, timeout=aiohttp.ClientTimeout(total=10)) as http,
            ToxiproxyClient(system.proxies["pricing"].admin_url) as proxies,
        ):
            yield system, http, proxies
    finally:
        await stack.down()


async def quote(http, sku="A-1"):
    """(status, source, X-Breaker) of one quote."""
    async with http.get(f"/api/quote/{sku}") as response:
        body = await response.json()
        return response.status, body.get("source"), response.headers.get("X-Breaker")


async def events_of(http, admin, *, since, count):
    """`count` events of the stream after `since`."""
    events = []
    async with http.get(f"{admin}/breakers/events?since={since}") as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        async for line in response.content:
            if line.startswith(b"data: "):
                events.append(json.loads(line[6:]))
                if len(events) == count:
                    break
    return events


@pytest.mark.parametrize("library", LIBRARIES)
async def test_breaker_opens_probes_and_closes(library):
    """Three failures open it, refusals reach nobody, the wait lets a probe through, the probe's success closes it."""
    async with lab_of(library) as (system, http, proxies):
        admin = system.instances[0].admin_url
        started_ns = time.monotonic_ns()
        assert await quote(http) == (200, "live", None)
        await proxies.add_toxic("pricing", NO_ANSWER)
        for _ in range(3):
            assert await quote(http) == (200, "last-good", "failed")
        assert await quote(http) == (200, "last-good", "rejected")
        assert await quote(http, "never-seen") == (200, "list-price", "rejected")
        (opened,) = await events_of(http, admin, since=0, count=1)
        # A failing probe: still refused afterwards.
        await asyncio.sleep(WAIT_MS / 1000 + 0.1)
        assert await quote(http) == (200, "last-good", "failed")
        assert await quote(http) == (200, "last-good", "rejected")
        await proxies.remove_toxic("pricing", NO_ANSWER.resolved_name)
        await asyncio.sleep(WAIT_MS / 1000 + 0.1)
        assert await quote(http) == (200, "live", None)
        async with http.get(f"{admin}/breakers") as response:
            told = await response.json()
        assert told["breakers"]["pricing"]["state"] == "closed"

        events = await events_of(http, admin, since=0, count=5)
        assert events[0] == opened
        path = [(event["from"], event["to"]) for event in events]
        assert path == [
            ("closed", "open"),
            ("open", "half_open"),
            ("half_open", "open"),
            ("open", "half_open"),
            ("half_open", "closed"),
        ]
        assert [event["seq"] for event in events] == [1, 2, 3, 4, 5]
        assert told["last_seq"] == 5
        assert await events_of(http, admin, since=4, count=1) == events[4:]
        # Numbers of an earlier start are no reason to miss anything of this one.
        assert await events_of(http, admin, since=99, count=5) == events
        assert await events_of(http, admin, since="4&boot=other", count=5) == events
        assert {(event["instance"], event["boot"], event["breaker"]) for event in events} == {
            ("gateway-1", told["boot"], "pricing")
        }
        times = [time_ns for event in events for time_ns in (event["since_ns"], event["at_ns"])]
        assert started_ns <= times[0]
        assert all(event["since_ns"] <= event["at_ns"] for event in events)
        assert [event["at_ns"] for event in events] == sorted(event["at_ns"] for event in events)
        # Open for the wait at least: from the earliest it can have opened to the latest it can have probed.
        assert events[1]["at_ns"] - events[0]["since_ns"] >= WAIT_MS * 1_000_000


async def test_without_breaker_every_failure_costs_the_whole_time_limit():
    """The negative control: no fallback, no fast refusal, 504 each time, and 503 when pricing is gone."""
    async with lab_of("none") as (system, http, proxies):
        assert await quote(http) == (200, "live", None)
        await proxies.add_toxic("pricing", NO_ANSWER)
        for _ in range(5):
            began = time.monotonic()
            assert (await quote(http))[0] == 504
            assert time.monotonic() - began >= TIMEOUT_MS / 1000 * 0.95
        await proxies.remove_toxic("pricing", NO_ANSWER.resolved_name)
        await proxies.set_enabled("pricing", False)
        assert (await quote(http))[0] == 503
        await proxies.set_enabled("pricing", True)
        async with http.get(f"{system.instances[0].admin_url}/breakers") as response:
            assert (await response.json())["breakers"] == {}
