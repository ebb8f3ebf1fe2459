"""Which processes there are, and which of them a pid means: a pid together with its start, so that a reused one is never taken for it.

On Linux this is /proc, with starts in clock ticks since boot; elsewhere `ps`, with starts in words, to the second. A start means
something on the host and in the boot it was read in, and no more. Standard library only: the guardian uses this.
"""

import signal
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Entry", "descendants", "is_dying", "read_table"]

_PS_TIMEOUT_S: Final = 2.0
_STOPPED: Final = frozenset("Tt")
_OVER: Final = frozenset("ZXx")
_KILL_PENDING: Final = 1 << (signal.SIGKILL - 1)
_EXITING: Final = 0x4 | 0x400
"""PF_EXITING and PF_SIGNALED of the kernel's flags: it ends, or has just been told to by a signal."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One process now. `state` is the letter that the kernel shows: T is stopped, Z waits to be reaped."""

    pid: int
    parent: int
    state: str
    start: str

    @property
    def is_stopped(self) -> bool:
        """Whether a signal (or a tracer) has stopped it."""
        return self.state in _STOPPED

    @property
    def is_over(self) -> bool:
        """Whether it runs no more, reaped or not."""
        return self.state in _OVER


def read_table() -> dict[int, Entry]:
    """Return all processes by pid. Raises OSError or subprocess.SubprocessError where they cannot be read."""
    proc = Path("/proc/self/stat")
    return _read_proc() if proc.exists() else _read_ps()


def is_dying(pid: int) -> bool:
    """Whether a process has been killed and has not ended yet; False where it is well, or gone, or the system does not tell.

    A killed process may accept connections to its last moment: it waits for a disk, or for its turn on the CPU.
    """
    folder = Path("/proc", str(pid))
    try:
        fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        status = (folder / "status").read_text(errors="replace")
    except OSError:
        return False
    pending = [line.split() for line in status.splitlines() if line.startswith(("SigPnd:", "ShdPnd:"))]
    return bool(int(fields[6]) & _EXITING) or any(int(mask, 16) & _KILL_PENDING for _, mask in pending)


def _read_proc() -> dict[int, Entry]:
    table = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            # The command's name, in parentheses, may hold anything; what follows it does not.
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        pid = int(folder.name)
        table[pid] = Entry(pid, int(fields[1]), fields[0], fields[19])
    return table


def _read_ps() -> dict[int, Entry]:
    command = ["ps", "-A", "-o", "pid=,ppid=,state=,lstart="]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        timeout=_PS_TIMEOUT_S,
        env={"LC_ALL": "C", "TZ": "UTC0", "PATH": "/bin:/usr/bin"},
    )
    table = {}
    for line in done.stdout.splitlines():
        pid, parent, state, start = line.split(maxsplit=3)
        table[int(pid)] = Entry(int(pid), int(parent), state[0], " ".join(start.split()))
    return table


def descendants(table: Mapping[int, Entry], roots: Iterable[int]) -> list[Entry]:
    """Return the roots that are there and all below them, parents before their children."""
    children: dict[int, list[int]] = {}
    for entry in table.values():
        children.setdefault(entry.parent, []).append(entry.pid)
    found: list[Entry] = []
    seen: set[int] = set()
    waiting = [pid for pid in roots if pid in table]
    while waiting:
        pid = waiting.pop(0)
        if pid in seen:
            continue
        seen.add(pid)
        found.append(table[pid])
        waiting += sorted(children.get(pid, ()))
    return found
