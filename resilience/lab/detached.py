"""`lab up` and `lab down`: a lab that stays after the command that started it.

Its supervisor has no owner. It leaves a state file (the system, and who supervises it) and holds a lock beside it, so
there is one detached lab per state directory, and a second `lab up` says so. `lab down` signals the supervisor, never a
process that merely got its pid, and waits; if the supervisor was killed, it sweeps what was left.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from faults.journal import default_state_dir
from resilience.lab.embedded import EmbeddedStack, check_lab_extra, options_from
from resilience.lab.handshake import STOP_BUDGET_S, system_of
from resilience.lab.identity import ProcessId
from resilience.lab.options import LabOptions
from resilience.lab.rundir import kill_all, sweep_run_directories
from resilience.lab.system import StackError, System

_MARGIN_S = 3.0
_POLL_S = 0.05


def state_file(state_dir: Path | None = None) -> Path:
    """Where a detached lab leaves word of itself."""
    return (state_dir or default_state_dir()) / "lab.json"


async def lab_up(
    options: LabOptions | None = None,
    *,
    detached: bool = True,
    state_dir: Path | None = None,
    on_ready: Callable[[System], None] | None = None,
) -> System:
    """Start a lab. Detached: return when it is up. Otherwise: call `on_ready`, and hold it until cancelled.

    StackError if it does not come up, or if a detached one already is.
    """
    wanted = options_from(options)
    if detached:
        system = await _start_detached(wanted, state_file(state_dir))
        if on_ready is not None:
            on_ready(system)
        return system
    stack = EmbeddedStack(wanted)
    system = await stack.up()
    try:
        if on_ready is not None:
            on_ready(system)
        await asyncio.Event().wait()
    finally:
        await asyncio.shield(stack.down())
    return system


async def _start_detached(options: LabOptions, file: Path) -> System:
    options.check()
    check_lab_extra()
    with tempfile.TemporaryFile() as errors:
        supervisor = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-P",
                "-m",
                "resilience.lab.supervisor",
                "--detached",
                "--state-file",
                str(file),
            ),
            *("--options", json.dumps(options.to_json())),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        assert supervisor.stdout is not None  # it is a pipe
        try:
            line = await supervisor.stdout.readline()
        except BaseException:
            supervisor.terminate()
            raise
        if line:
            return system_of(line)
        errors.seek(0)
        tail = errors.read().decode(errors="replace").splitlines()[-15:]
        raise StackError("the lab's supervisor died; its last log lines:\n" + "\n".join(tail))


def lab_state(state_dir: Path | None = None) -> System | None:
    """The detached lab that is up; `None` if there is none."""
    known = _read(state_file(state_dir))
    return known[0] if known is not None and known[1].runs() else None


def _read(file: Path) -> tuple[System, ProcessId] | None:
    try:
        data = json.loads(file.read_text())
        return System.from_json(data["system"]), ProcessId.from_json(data["supervisor"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


async def lab_down(state_dir: Path | None = None) -> bool:
    """End the detached lab and wait until it is gone; False if there was none. Also sweeps what dead labs left."""
    file = state_file(state_dir)
    known = _read(file)
    was_up = known is not None and await asyncio.to_thread(_end, known[1])
    file.unlink(missing_ok=True)
    await asyncio.to_thread(sweep_run_directories, os.environ)
    return was_up


def _end(supervisor: ProcessId) -> bool:
    """Whether it ran. SIGTERM, in case it is frozen SIGCONT, and SIGKILL when it had its time."""
    if not supervisor.runs():
        return False
    supervisor.send(signal.SIGTERM)
    supervisor.send(signal.SIGCONT)
    deadline = time.monotonic() + STOP_BUDGET_S + _MARGIN_S
    while supervisor.runs():
        if time.monotonic() > deadline:
            kill_all((supervisor,), 2.0)
            break
        time.sleep(_POLL_S)
    return True
