"""A runner to be killed: opens a session, injects one fault, prints every step as a JSON line, obeys words on stdin.

usage: faults_safety_runner.py ADMIN_URL STATE_DIR DIE_AT MAX_DURATION_MS
DIE_AT: a step (`journaled`, `armed`, `injected`) at which it kills itself with SIGKILL, `injecting` (in the middle of
the injecting request), or `never`. Words: `inject NAME`, `exit`.
"""

# ruff: noqa: D103, T201 - a program that talks to its test on standard output

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from faults.blast_radius import BlastRadius
from faults.errors import FaultError
from faults.model import ToxicSpec
from faults.nemesis import ToxicFault
from faults.session import FaultSession


def say(**fields):
    print(json.dumps({"t": time.monotonic_ns(), **fields}), flush=True)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


async def main(admin_url, state_dir, die_at, max_duration_ms):
    def on_event(event):
        say(step=event.step, id=event.fault_id, at=list(event.at), detail=dict(event.detail))
        if event.step == die_at:
            die()

    async def inject(name):
        fault = ToxicFault(
            *(name, admin_url, "pricing"),
            ToxicSpec(type="latency", name=name, attributes={"latency": 100}),
            int(max_duration_ms) * 1_000_000,
        )
        if die_at == "injecting":
            threading.Timer(0.25, die).start()
        try:
            await session.inject(fault)
            say(injected=name)
        except FaultError as error:
            say(refused=name, error=type(error).__name__, text=str(error))

    words = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read():
        for line in sys.stdin:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(words.put_nowait, line.split())

    async with FaultSession(
        state_dir=Path(state_dir), target=admin_url, allow=BlastRadius(), on_event=on_event
    ) as session:
        say(ready=True, guardian=session.guardian_pid)
        threading.Thread(target=read, daemon=True).start()
        await inject("first")
        while (word := await words.get()) != ["exit"]:
            await inject(word[1])
    say(closed=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
