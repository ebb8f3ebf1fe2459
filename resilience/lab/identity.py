"""Which process a pid is: the pid together with its start, so that a reused number is never taken for it.

On Linux the start is read from /proc in clock ticks since boot, which no change of the wall clock moves; elsewhere it
is psutil's creation time in milliseconds. The number means something only on the host, and in the boot, it was read in.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process for all time (of one boot)."""

    pid: int
    start: int

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """The process that has this pid now, zombies included; `None` if there is none."""
        start = _start(pid)
        return None if start is None else cls(pid, start)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ProcessId:
        """The inverse of `to_json`."""
        return cls(int(data["pid"]), int(data["start"]))

    def to_json(self) -> dict[str, int]:
        """Both fields, by name."""
        return {"pid": self.pid, "start": self.start}

    def runs(self) -> bool:
        """Whether it still runs: same pid, same start, not merely waiting to be reaped."""
        if _start(self.pid) != self.start:
            return False
        try:
            return psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True

    def send(self, number: signal.Signals) -> bool:
        """Signal it if it is still that process; whether it was."""
        if _start(self.pid) != self.start:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
            return True
        return False


def _start(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except (OSError, ValueError):
        return None
    else:
        # The name, in parentheses, may itself hold spaces and parentheses; field 22 counts from the last one.
        return int(text.rpartition(")")[2].split()[19])
    try:
        return round(psutil.Process(pid).create_time() * 1000)
    except psutil.Error:
        return None
