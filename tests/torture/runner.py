"""A runner that never rests: injects and heals faults as fast as it can, until somebody kills it.

usage: runner.py ADMIN_URL STATE_DIR SEED. Prints one JSON line when it begins and one for each fault that is in place.
"""

# ruff: noqa: D103, T201 - a program that talks to its parent on standard output

import asyncio
import json
import random
import sys
from pathlib import Path

from faults.blast_radius import BlastRadius
from faults.errors import FaultError
from faults.model import ToxicSpec
from faults.nemesis import ProxyDownFault, ToxicFault
from faults.session import FaultSession

LIMIT_NS = 60_000_000_000


def fault_of(number, admin_url, dice):
    if dice.random() < 0.3:
        return ProxyDownFault(f"down-{number}", admin_url, "pricing", LIMIT_NS)
    toxic = ToxicSpec(type="latency", name=f"slow-{number}", attributes={"latency": 100})
    return ToxicFault(f"slow-{number}", admin_url, "pricing", toxic, LIMIT_NS)


async def main(admin_url, state_dir, seed):
    dice = random.Random(int(seed))
    async with FaultSession(
        state_dir=Path(state_dir), target=admin_url, allow=BlastRadius(), on_event=lambda _: None
    ) as session:
        print(json.dumps({"ready": True, "guardian": session.guardian_pid}), flush=True)
        number = 0
        while True:
            number += 1
            fault = fault_of(number, admin_url, dice)
            try:
                await session.inject(fault)
            except FaultError as error:
                print(json.dumps({"refused": type(error).__name__}), flush=True)
                return
            print(json.dumps({"injected": fault.fault_id}), flush=True)
            await asyncio.sleep(dice.uniform(0, 0.2))
            await session.heal(fault.fault_id)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
