"""A runner that never rests: injects and heals faults as fast as it can, until somebody kills it.

usage: runner.py ADMIN_URL STATE_DIR SEED [UPSTREAM [FALLBACK]]. UPSTREAM is allowed beyond loopback; FALLBACK, the JSON of an undo, is what the
guardian does when the control API does not answer. Prints one JSON line when it begins and one for each fault that is in place.
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
from faults.undo import Undo

LIMIT_NS = 60_000_000_000


def fault_of(number, admin_url, dice, frozen):
    if dice.random() < 0.3:
        return ProxyDownFault(f"down-{number}", admin_url, "pricing", LIMIT_NS, on_frozen=frozen)
    toxic = ToxicSpec(type="latency", name=f"slow-{number}", attributes={"latency": 100})
    return ToxicFault(f"slow-{number}", admin_url, "pricing", toxic, LIMIT_NS, on_frozen=frozen)


async def main(admin_url, state_dir, seed, upstream="", fallback=""):
    dice = random.Random(int(seed))
    allow = BlastRadius(allow=frozenset(filter(None, [upstream])))
    frozen = Undo.from_json(json.loads(fallback)) if fallback else None
    async with FaultSession(
        state_dir=Path(state_dir), target=admin_url, allow=allow, on_event=lambda _: None
    ) as session:
        print(json.dumps({"ready": True, "guardian": session.guardian_pid}), flush=True)
        number = 0
        while True:
            number += 1
            fault = fault_of(number, admin_url, dice, frozen)
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
