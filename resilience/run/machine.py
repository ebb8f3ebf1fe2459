"""How much of this machine was left for the system under test, and how much others took. Linux; elsewhere nothing is told.

Generator, proxies and system share the machine. The generator's gates notice when *it* was starved; a system that was
starved by a neighbour answers late and looks broken. So once a second the whole machine's idle time is read, and the time
that went to processes which are not of this run: everything busy, less the runner, its children, and what the stack named.

Interrupts are nobody's: the run's own packets cause most of them. Time that a hypervisor took away ("steal") is others'.
A second is long: a system that needs its processor for the hundred milliseconds of a herd can be starved in a second with idle time. So it
is read, too, how long the threads of this run were ready and did not run (`waited_s`, from /proc/PID/task/TID/schedstat; left out where the kernel does not tell).

What strangers take who are niced far below the lab (`YIELDS_FROM`) counts as idle: they get what nobody else wants, and give it
back when somebody does. A stranger with the lab's own niceness, another lab say, competes with it and counts as others.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from typing import Any

import psutil

from resilience.lab.system import System
from resilience.run.clock import now_ns

_INTERVAL_S = 1.0
YIELDS_FROM = 15
_PARTS = ("user", "nice", "system", "steal", "idle", "iowait")
_FAMILY_EVERY = 3
"""In how many intervals it is looked up again who belongs to whom: that reads the whole process table."""

Spent = dict[int, tuple[float, float]]


async def watch_machine(system: System, emit: Callable[[dict[str, Any]], None]) -> None:
    """Emit one `machine` event a second until cancelled: `cores`, and the `idle_s`, `ours_s`, `foreign_s` and `waited_s` of that second.

    Seconds are over all cores; `waited_s` is over all threads. Emits nothing where the stack does not name the processes that keep it alive: ours could not
    be told from others'.
    """
    if not system.owners or not hasattr(psutil.cpu_times(), "steal"):
        await asyncio.Event().wait()
    roots = {os.getpid(), *system.owners, *(pid for pids in system.pids.values() for pid in pids)}
    cores = psutil.cpu_count() or 1
    ours: list[psutil.Process] = []
    yielding: list[psutil.Process] = []
    spent: Spent = {}
    queued: dict[str, int] = {}
    for turn in itertools.count():
        if turn % _FAMILY_EVERY == 0:
            ours, yielding = await asyncio.to_thread(_look_around, roots)
            _forget_all_but((*ours, *yielding), spent)
        _user_and_system(ours, spent)
        _user_and_system(yielding, spent)
        _waited_s(ours, queued)
        before, lo = psutil.cpu_times(), now_ns()
        await asyncio.sleep(_INTERVAL_S)
        after = psutil.cpu_times()
        took = {part: getattr(after, part) - getattr(before, part) for part in _PARTS}
        ours_s = sum(_user_and_system(ours, spent))
        yielding_s = sum(_user_and_system(yielding, spent))
        waited_s = _waited_s(ours, queued)
        busy_s = took["user"] + took["nice"] + took["system"] + took["steal"]
        emit(
            {
                "kind": "machine",
                "at": [lo, now_ns()],
                "cores": cores,
                "idle_s": round(took["idle"] + took["iowait"] + yielding_s, 3),
                "ours_s": round(ours_s, 3),
                "foreign_s": round(max(0.0, busy_s - ours_s - yielding_s), 3),
                **({} if waited_s is None else {"waited_s": round(waited_s, 3)}),
            }
        )


def _look_around(roots: Collection[int]) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """The processes of this run (the roots and all that they started), and the strangers that give way to everybody."""
    table = {each.pid: each for each in psutil.process_iter(["ppid", "nice"])}
    children: dict[int, list[int]] = defaultdict(list)
    for pid, process in table.items():
        children[process.info["ppid"] or 0].append(pid)
    family: set[int] = set()
    left = [pid for pid in roots if pid in table]
    while left:
        pid = left.pop()
        if pid not in family:
            family.add(pid)
            left += children[pid]
    strangers = [each for pid, each in table.items() if pid not in family]
    yielding = [each for each in strangers if (each.info["nice"] or 0) >= YIELDS_FROM]
    return [table[pid] for pid in family], yielding


def _forget_all_but(processes: Iterable[psutil.Process], spent: Spent) -> None:
    """A stranger that has ended is asked nothing any more, and nobody would notice: on a busy machine there are hundreds an hour."""
    met = {process.pid for process in processes}
    for pid in spent.keys() - met:
        del spent[pid]


def _user_and_system(processes: Iterable[psutil.Process], spent: Spent) -> tuple[float, float]:
    """CPU seconds that these spent since they were last asked; a process that has just been met counts from now on."""
    user_s = system_s = 0.0
    for process in processes:
        try:
            now = process.cpu_times()
        except psutil.Error:
            spent.pop(process.pid, None)
            continue
        before = spent.get(process.pid, (now.user, now.system))
        spent[process.pid] = (now.user, now.system)
        user_s += now.user - before[0]
        system_s += now.system - before[1]
    return user_s, system_s


def _waited_s(processes: Iterable[psutil.Process], queued: dict[str, int]) -> float | None:
    """Seconds that threads of these were ready and did not run since they were last asked; None where no thread tells.

    A thread that has just been met counts from now on, and one that has gone is forgotten.
    """
    waited_ns, seen = 0, {}
    for process in processes:
        # No pathlib here: it interns each part of each path, and after some minutes of new numbers each second the interpreter's table
        # of such words has doubled, by a megabyte.
        tasks = f"/proc/{process.pid}/task"
        try:
            threads = os.listdir(tasks)  # noqa: PTH208 - see above
        except OSError:
            continue
        for thread in threads:
            try:
                with open(f"{tasks}/{thread}/schedstat", encoding="ascii") as file:  # noqa: PTH123 - see above
                    now_ns = int(file.read().split()[1])
            except (OSError, IndexError, ValueError):
                continue
            waited_ns += max(0, now_ns - queued.get(thread, now_ns))
            seen[thread] = now_ns
    queued.clear()
    queued.update(seen)
    return waited_ns / 1e9 if seen else None
