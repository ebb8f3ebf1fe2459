"""A plan's process faults on a lab that is up: what is killed comes back, as often as it is killed, and nothing outlives the lab."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest

from faults.errors import FaultNotInjected
from faults.nemesis import FaultEvent
from faults.session import FaultSession
from faults.undo import UNDO_KINDS, Undo
from resilience.lab.embedded import EmbeddedStack
from resilience.lab.options import LabOptions
from resilience.lab.system import System
from resilience.plan import load_text
from resilience.plan.schema import Plan
from resilience.run.faulting import blast_radius, nemesis_for
from resilience.run.locating import with_pids_now

pytestmark = pytest.mark.integration

PLAN = """\
version: 1
name: demo
lab: {gateways: 1}
phases: [{name: baseline, duration: 60s}]
load: {orders: {http: {url: "/orders"}, rate: 10/s}}
faults:
  - {id: killed, process: pricing, kill: true, start: 1s, duration: 5s}
  - {id: frozen, process: gateway-1, freeze: true, start: 10s, duration: 5s}
  - {id: restarted, process: redis, restart: true, start: 20s, duration: 5s}
expect: {steady: {load: orders, p95: "< 150ms"}}
"""


async def inject(faults: FaultSession, plan: Plan, system: System, fault_id: str) -> None:
    """As the interpreter does."""
    fault = next(each for each in plan.faults if each.id == fault_id)
    await faults.inject(nemesis_for(fault, await with_pids_now(system, fault)))


async def answers(url: str) -> bool:
    """Whether somebody answers within half a second."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.5)) as session,
            session.get(url),
        ):
            return True
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False


async def test_processes_of_the_lab_are_faulted_and_come_back(tmp_path: Path) -> None:
    """Killed twice, because its second life has another pid; frozen; restarted; and a lab that has ended leaves nothing to undo."""
    plan = load_text(PLAN, source="plan.yaml", environment={}).plan
    stack = EmbeddedStack(LabOptions(gateways=1, linger_s=0.2))
    system = await stack.up()
    events: list[FaultEvent] = []
    try:
        pricing = f"http://{system.processes['pricing'].ready}/health/ready"
        async with FaultSession(
            state_dir=tmp_path,
            target=system.base_url,
            allow=blast_radius(plan, system),
            on_event=events.append,
        ) as faults:
            for _ in range(2):
                await inject(faults, plan, system, "killed")
                assert not await answers(pricing)
                with pytest.raises(FaultNotInjected, match="the process pricing does not run"):
                    await with_pids_now(system, plan.faults[0])
                await faults.heal("killed")
                assert await answers(pricing)
            await inject(faults, plan, system, "frozen")
            assert not await answers(f"{system.base_url}/health/live")
            await faults.heal("frozen")
            assert await answers(f"{system.base_url}/health/live")
            await inject(faults, plan, system, "restarted")
            await faults.heal("restarted")
    finally:
        await stack.down()
    verified = [event.fault_id for event in events if event.step == "verified"]
    assert verified == ["killed", "killed", "frozen", "restarted"]
    pids = [
        event.detail["pid"] for event in events if event.step == "injected" and event.fault_id == "killed"
    ]
    assert len(set(pids)) == 2
    for undo in undos(tmp_path):
        assert UNDO_KINDS[undo.kind].undo(undo) is False, "the lab is down: nothing is started in its place"
        assert UNDO_KINDS[undo.kind].is_clean(undo)


def undos(state_dir: Path) -> list[Undo]:
    """The inverses that the session's journal holds."""
    [journal] = (state_dir / "done").glob("*.jsonl")
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    return [Undo.from_json(entry["undo"]) for entry in entries if entry.get("kind") == "intent"]


async def test_lab_that_has_ended_cannot_be_asked(tmp_path: Path) -> None:
    """A supervisor that does not answer is an injection that failed, in words."""
    stack = EmbeddedStack(LabOptions(gateways=1, linger_s=0.2))
    system = await stack.up()
    await stack.down()
    plan = load_text(PLAN, source="plan.yaml", environment={}).plan
    with pytest.raises(FaultNotInjected, match="supervisor does not tell"):
        await asyncio.wait_for(with_pids_now(system, plan.faults[0]), 5)
