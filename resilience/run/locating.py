"""Which process a fault means now: the lab's supervisor is asked, because what was killed and started again has another pid."""

from __future__ import annotations

from dataclasses import replace

import aiohttp

from faults.errors import FaultNotInjected
from resilience.lab.probing import probing_session
from resilience.lab.system import LocalProcess, System
from resilience.plan.schema import Fault


async def with_pids_now(system: System, fault: Fault) -> System:
    """The system with the present pid of the process that the fault is on; as it is where the fault is on no process of this host.

    FaultNotInjected where the supervisor does not answer, or the process does not run.
    """
    if fault.process is None or fault.process not in system.processes:
        return system
    now = await process_now(system.processes[fault.process], fault.process)
    return replace(system, processes={**system.processes, fault.process: now})


async def process_now(found: LocalProcess, name: str) -> LocalProcess:
    """A process of the lab with its present pid. Raises as above."""
    try:
        async with probing_session() as session, session.get(f"{found.control}/processes") as answer:
            shown = (await answer.json())[name]
            pid, runs = int(shown["pid"]), bool(shown["runs"])
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError, TypeError) as error:
        raise FaultNotInjected(
            f"the lab's supervisor does not tell the process of {name}: {error!r}"
        ) from error
    if not runs:
        raise FaultNotInjected(f"the process {name} does not run")
    return replace(found, pid=pid)
