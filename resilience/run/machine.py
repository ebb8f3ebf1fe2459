"""How much of this machine was left for the system under test, and how much others took. Linux; elsewhere nothing is told.

Generator, proxies and system share the machine. The generator's gates notice when *it* was starved; a system that was
starved by a neighbour answers late and looks broken. So once a second the whole machine's idle time is read, and the time
that went to processes which are not of this run: everything busy, less the runner, its children, and what the stack named.

Interrupts are nobody's: the run's own packets cause most of them. Time that a hypervisor took away ("steal") is others'.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import psutil

from resilience.lab.system import System
from resilience.run.clock import now_ns

_INTERVAL_S = 1.0
_FAMILY_EVERY = 3
"""In how many intervals the children of the known processes are looked up again: it reads the whole process table."""


async def watch_machine(system: System, emit: Callable[[dict[str, Any]], None]) -> None:
    """Emit one `machine` event a second until cancelled: `cores`, `idle_s`, `ours_s` and `foreign_s` of that second, over all cores.

    Emits nothing where the stack does not name the processes that keep it alive: ours could not be told from others'.
    """
    if not system.owners or not hasattr(psutil.cpu_times(), "steal"):
        await asyncio.Event().wait()
    roots = [psutil.Process()]
    for pid in {*system.owners, *(pid for pids in system.pids.values() for pid in pids)}:
        with contextlib.suppress(psutil.NoSuchProcess):
            roots.append(psutil.Process(pid))
    cores = psutil.cpu_count() or 1
    family: dict[int, psutil.Process] = {}
    spent_s: dict[int, float] = {}
    before = psutil.cpu_times()
    turn = 0
    while True:
        if turn % _FAMILY_EVERY == 0:
            family = _family(roots)
        turn += 1
        ours_s = _spent(family, spent_s)
        lo = now_ns()
        await asyncio.sleep(_INTERVAL_S)
        after = psutil.cpu_times()
        ours_s = _spent(family, spent_s)
        busy_s = sum(
            getattr(after, part) - getattr(before, part) for part in ("user", "nice", "system", "steal")
        )
        idle_s = sum(getattr(after, part) - getattr(before, part) for part in ("idle", "iowait"))
        before = after
        emit(
            {
                "kind": "machine",
                "at": [lo, now_ns()],
                "cores": cores,
                "idle_s": round(idle_s, 3),
                "ours_s": round(ours_s, 3),
                "foreign_s": round(max(0.0, busy_s - ours_s), 3),
            }
        )


def _family(roots: list[psutil.Process]) -> dict[int, psutil.Process]:
    """The roots that are still there and everything that they started."""
    found: dict[int, psutil.Process] = {}
    for root in roots:
        with contextlib.suppress(psutil.Error):
            found[root.pid] = root
            found.update((child.pid, child) for child in root.children(recursive=True))
    return found


def _spent(family: dict[int, psutil.Process], spent_s: dict[int, float]) -> float:
    """CPU seconds that the family spent since this was last asked; a process that has just been met counts from now on."""
    total_s = 0.0
    for pid, process in family.items():
        try:
            times = process.cpu_times()
        except psutil.Error:
            spent_s.pop(pid, None)
            continue
        now_s = times.user + times.system
        total_s += now_s - spent_s.get(pid, now_s)
        spent_s[pid] = now_s
    return total_s
