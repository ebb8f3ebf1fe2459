"""What the watch of the machine tells, with real processes: ours is not others', and others' is seen."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psutil
import pytest

from resilience.lab.system import System
from resilience.run.machine import watch_machine

pytestmark = [pytest.mark.integration, pytest.mark.alone]

BURN = "import time\nend = time.process_time() + 3\nwhile time.process_time() < end: pass"
STARTER = f"""
import os, subprocess, sys, time
if os.fork():
    os._exit(0)
os.setsid()  # a family of its own: as a child of ours it would count as ours whoever is named
burner = subprocess.Popen([sys.executable, "-c", {BURN!r}])
print(os.getpid(), flush=True)
time.sleep(60)
"""
needs_steal = pytest.mark.skipif(
    not hasattr(psutil.cpu_times(), "steal"), reason="only Linux tells stolen time"
)


async def watched(owners: tuple[int, ...], count: int) -> list[dict[str, Any]]:
    """The first events that the watch emits for a system with these owners."""
    seen: list[dict[str, Any]] = []
    enough = asyncio.Event()

    def emit(event: dict[str, Any]) -> None:
        seen.append(event)
        if len(seen) >= count:
            enough.set()

    task = asyncio.create_task(watch_machine(System("embedded", "http://x", owners=owners), emit))
    try:
        await asyncio.wait_for(enough.wait(), 30)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return seen


@contextmanager
def burning(niceness: int = 0) -> Iterator[int]:
    """A process whose child burns three seconds of CPU time; gives its pid."""
    with subprocess.Popen(
        ["nice", "-n", str(niceness), sys.executable, "-c", STARTER], stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        try:
            yield pid
        finally:
            for process in [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]:
                process.kill()


@needs_steal
@pytest.mark.parametrize("named", [True, False])
async def test_machine_counts_what_an_owner_started_as_ours_and_a_stranger_not(named: bool) -> None:
    """A burner is ours when its parent is an owner of the stack; nobody named it: then it is one of the others."""
    with burning() as pid:
        seen = await watched((pid if named else os.getpid(),), 3)
    ours_s, foreign_s = (sum(event[part] for event in seen) for part in ("ours_s", "foreign_s"))
    assert all(event["cores"] == psutil.cpu_count() and event["idle_s"] >= 0 for event in seen)
    assert (ours_s > 0.5) if named else (foreign_s > 0.5 and ours_s < 0.5)


@needs_steal
@pytest.mark.parametrize(("niceness", "yields"), [(19, True), (5, False)])
async def test_machine_counts_only_a_stranger_that_gives_way_as_idle_time(
    niceness: int, yields: bool
) -> None:
    """Far below the lab's niceness it starves nobody; at the lab's own (another lab) it competes, and is one of the others."""
    with burning(niceness) as pid:
        burner = psutil.Process(pid).children()[0]
        seen = await watched((os.getpid(),), 3)
        burnt_s = burner.cpu_times().user
    foreign_s = sum(event["foreign_s"] for event in seen)
    idle_s = sum(event["idle_s"] for event in seen)
    free_s = sum(event["at"][1] - event["at"][0] for event in seen) / 1e9 * seen[0]["cores"]
    assert burnt_s > 0.5, "the burner never had a turn"
    if yields:
        # Counted as others' it would be missing here, whatever else runs on this machine.
        assert idle_s + foreign_s + sum(event["ours_s"] for event in seen) > 0.8 * free_s
        assert idle_s > 0.5 * burnt_s
    else:
        assert foreign_s > 0.5 * burnt_s


@needs_steal
async def test_machine_counts_a_niced_lab_as_ours() -> None:
    """The lab itself is niced, so that the generator wins: its time is neither idle nor others'."""
    with burning(niceness=5) as pid:
        seen = await watched((pid,), 3)
    assert sum(event["ours_s"] for event in seen) > 0.5


@needs_steal
async def test_machine_tells_how_long_its_run_was_ready_and_did_not_run() -> None:
    """Three processes for each core: most of the time most of them wait."""
    cores = psutil.cpu_count() or 1
    with ExitStack() as stack:
        owners = tuple(stack.enter_context(burning()) for _ in range(3 * cores))
        seen = await watched(owners, 3)
    if "waited_s" not in seen[0]:
        pytest.skip("this kernel does not tell")
    assert sum(event["waited_s"] for event in seen) > 0.5
