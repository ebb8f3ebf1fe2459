"""How much of this machine was left for the system under test, and how much others took. Linux; elsewhere nothing is told.

Generator, proxies and system share the machine. The generator's gates notice when *it* was starved; a system that was
starved by a neighbour answers late and looks broken. So once a second the whole machine's idle time is read, and the time
that went to processes which are not of this run: everything busy, less the runner, its children, and what the stack named.

Interrupts are nobody's: the run's own packets cause most of them. Time that a hypervisor took away ("steal") is others'.
What niced strangers take counts as idle: they get what nobody else wants, and give it back when somebody does.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import psutil

from resilience.lab.system import System
from resilience.run.clock import now_ns

_INTERVAL_S = 1.0
_PARTS = ("user", "nice", "system", "steal", "idle", "iowait")
_FAMILY_EVERY = 3
"""In how many intervals the children of the known processes are looked up again: it reads the whole process table."""


async def watch_machine(system: System, emit: Callable[[dict[str, Any]], None]) -> None:
    """Emit one `machine` event a second until cancelled: `cores`, and the `idle_s`, `ours_s` and `foreign_s` of that second.

    Seconds are over all cores. Emits nothing where the stack does not name the processes that keep it alive: ours could not
    be told from others'.
    """
    if not system.owners or not hasattr(psutil.cpu_times(), "steal"):
        await asyncio.Event().wait()
    roots = [psutil.Process()]
    for pid in {*system.owners, *(pid for pids in system.pids.values() for pid in pids)}:
        with contextlib.suppress(psutil.NoSuchProcess):
            roots.append(psutil.Process(pid))
    cores = psutil.cpu_count() or 1
    family: dict[int, psutil.Process] = {}
    spent: dict[int, tuple[float, float]] = {}
    before = psutil.cpu_times()
    for turn in itertools.count():
        if turn % _FAMILY_EVERY == 0:
            family = _family(roots)
        _spent(family, spent)
        lo = now_ns()
        await asyncio.sleep(_INTERVAL_S)
        after = psutil.cpu_times()
        ours_s, ours_niced_s = _spent(family, spent)
        took = {part: getattr(after, part) - getattr(before, part) for part in _PARTS}
        before = after
        yielding_s = max(0.0, took["nice"] - ours_niced_s)
        foreign_s = max(0.0, took["user"] + took["system"] + took["steal"] - ours_s)
        emit(
            {
                "kind": "machine",
                "at": [lo, now_ns()],
                "cores": cores,
                "idle_s": round(took["idle"] + took["iowait"] + yielding_s, 3),
                "ours_s": round(ours_s + ours_niced_s, 3),
                "foreign_s": round(foreign_s, 3),
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


def _spent(family: dict[int, psutil.Process], spent: dict[int, tuple[float, float]]) -> tuple[float, float]:
    """CPU seconds that the family spent since this was last asked: as the machine counts busy time, and niced time apart.

    A process that has just been met counts from now on.
    """
    plain_s = niced_s = 0.0
    for pid, process in family.items():
        try:
            with process.oneshot():
                times, nice = process.cpu_times(), process.nice()
        except psutil.Error:
            spent.pop(pid, None)
            continue
        user_s, system_s = spent.get(pid, (times.user, times.system))
        spent[pid] = (times.user, times.system)
        plain_s += times.system - system_s
        if nice > 0:
            niced_s += times.user - user_s
        else:
            plain_s += times.user - user_s
    return plain_s, niced_s
