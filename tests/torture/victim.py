"""A runner that dies at one boundary: opens a session, injects one fault, heals it, and leaves.

usage: victim.py SPECIFICATION, one JSON object: `at` (a boundary), `state_dir`, `target`, `allow` (arguments of BlastRadius), and
`fault`: {"kind": ..., arguments}. Prints {"guardian": PID}, {"reached": BOUNDARY} and, as its last word, {"died": CLOCK_MONOTONIC ns}.
"""

# ruff: noqa: D103 - a program that talks to its parent on standard output

import asyncio
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from boundaries import Boundaries, instrument

from faults import containers, processes
from faults.blast_radius import BlastRadius
from faults.model import ToxicSpec
from faults.nemesis import ProxyDownFault, ToxicFault
from faults.session import FaultSession

LIMIT_NS = 60_000_000_000
CONTAINERS = {
    "pause": containers.PauseFault,
    "container-kill": containers.KillFault,
    "stop": containers.StopFault,
    "container-restart": containers.RestartFault,
    "disconnect": containers.DisconnectFault,
    "throttle": containers.ThrottleFault,
}
PROCESSES = {"kill": processes.KillFault, "restart": processes.RestartFault}


def nemesis_of(kind, where):
    if kind == "toxic":
        return ToxicFault(
            "fault", where["admin_url"], "p", ToxicSpec(name="fault", **where["toxic"]), LIMIT_NS
        )
    if kind == "down":
        return ProxyDownFault("fault", where["admin_url"], "p", LIMIT_NS)
    if kind == "freeze":
        return processes.FreezeFault("fault", where["pid"], LIMIT_NS)
    if kind in PROCESSES:
        revival = processes.Revival(tuple(where["command"]), where["ready"])
        return PROCESSES[kind]("fault", where["pid"], LIMIT_NS, revival=revival)
    return CONTAINERS[kind]("fault", where["container"], LIMIT_NS, **where.get("more", {}))


async def main(specification):
    fault = dict(specification["fault"])
    nemesis = nemesis_of(fault.pop("kind"), fault)
    instrument(Boundaries(specification["at"]), type(nemesis))
    allow = {
        key: frozenset(value) if isinstance(value, list) else value
        for key, value in specification["allow"].items()
    }
    async with FaultSession(
        state_dir=Path(specification["state_dir"]),
        target=specification["target"],
        allow=BlastRadius(**allow),
        on_event=lambda _: None,
    ) as session:
        await session.inject(nemesis)
        await session.heal("fault")


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
