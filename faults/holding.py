"""Holding a target: one session at a time, by the lock file that runner and guardian keep open together.

A live owner refuses at once. A dead one whose lock is still held has a guardian at work, which takes about half a
second: then we wait a little, so that running again right after a crash just works.
"""

import asyncio
import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any, Final

import psutil

from faults.errors import JournalError, TargetBusy
from faults.journal import open_target_lock, try_lock

__all__ = ["hold_target"]

_WAIT_S: Final = 5.0
_POLL_S: Final = 0.1


async def hold_target(state_dir: Path, target: str, session: str) -> int:
    """Take the lock of `target`; return its descriptor, which the caller closes.

    Raises TargetBusy where a live session holds it, or a dead one's guardian does for more than 5 s; JournalError where
    no lock can be kept.
    """
    fd = open_target_lock(state_dir, target)
    try:
        end_ns = time.monotonic_ns() + int(_WAIT_S * 1e9)
        while not try_lock(fd):
            owner = _owner(fd)
            if _is_alive(owner):
                raise TargetBusy(
                    f"the target {target!r} is in use by process {owner.get('pid')} (session {owner.get('session')}); "
                    "two sessions on one target would undo each other's faults"
                )
            if time.monotonic_ns() >= end_ns:
                raise TargetBusy(
                    f"the target {target!r} is still being healed after a session that died; try again"
                )
            await asyncio.sleep(_POLL_S)
        _sign(fd, session)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _sign(fd: int, session: str) -> None:
    own = {"pid": os.getpid(), "created": psutil.Process().create_time(), "session": session}
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps(own).encode(), 0)
    except OSError as error:
        raise JournalError(f"the target's lock cannot be written: {error}; nothing is injected") from error


def _owner(fd: int) -> dict[str, Any]:
    with contextlib.suppress(ValueError, RecursionError, OSError):
        value = json.loads(os.pread(fd, 4096, 0))
        if isinstance(value, dict):
            return value
    return {}


def _is_alive(owner: dict[str, Any]) -> bool:
    try:
        process = psutil.Process(int(owner["pid"]))
        # A reused process id has another birth; a zombie has nothing left to inject with.
        same = abs(process.create_time() - float(owner["created"])) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, KeyError, ValueError, TypeError):
        return False
