"""Faults on processes of this host: frozen, killed, restarted. Each a nemesis, with its exact inverse in `faults.undo.processes`.

    FreezeFault     SIGSTOP to a process and all below it; its connections stay open and nobody answers
    KillFault       SIGKILL: nobody is left to say goodbye; the inverse starts `revival.command`
    RestartFault    SIGKILL, and started again at once: connections are lost, state in memory is gone

A process is its pid together with its start, from `prepare` on, so that a reused pid is never signalled. What may be hurt is the
session's `BlastRadius.processes`; this process and those it descends from never are: whoever heals must not be frozen.

Killing is destructive: what the process had not written down is gone for good, and `describe` says so. The inverse brings back a process
that accepts connections at `revival.ready`, not the same process. Who starts it becomes its parent; where a supervisor
keeps the processes of a system, let the command ask that supervisor, so that the system is taken down as a whole.
"""

import asyncio
import os
import secrets
import signal
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import psutil

from faults.blast_radius import Reach
from faults.errors import FaultNotInjected, FaultRefused
from faults.undo import UNDO_KINDS, Undo
from faults.undo.process_table import Entry, descendants, read_table
from faults.undo.processes import accepts

_LOOKS = 50
_LOOK_EVERY_S = 0.02
"""A signal takes its time: what it should have done is looked for this often."""

__all__ = ["FreezeFault", "KillFault", "RestartFault", "Revival"]


@dataclass(frozen=True, slots=True)
class Revival:
    """How a killed process comes back: a command, and the "host:port" that accepts connections once it has.

    The command is the process itself, or something that starts it and returns with exit code 0; where `returns` says the latter for certain,
    the process is back when it has. It gets the environment of whoever heals. `keeper` is the pid of what keeps the system that the process
    belongs to, if anything does: once that has ended there is nothing to bring back.
    """

    command: tuple[str, ...]
    ready: str
    cwd: str | None = None
    returns: bool = False
    keeper: int | None = None


@dataclass(slots=True)
class _ProcessFault:
    """What the three share: one process, and an inverse that is executed here as the guardian would."""

    fault_id: str
    pid: int
    max_duration_ns: int
    remark: str | None = field(default=None, init=False)
    _seen: list[Entry] = field(default_factory=list, init=False, repr=False)

    def undo(self) -> Undo:
        """Return the exact inverse."""
        raise NotImplementedError

    def reach(self) -> Reach:
        """Return the pid; all below it is hurt as well."""
        return Reach("", processes=(self.pid,), ancestors=_ancestors(self.pid))

    async def prepare(self) -> Reach:
        """Look at the process and all below it; refuse where that includes this process."""
        table = await _table()
        seen = [entry for entry in descendants(table, [self.pid]) if not entry.is_over]
        if not seen or seen[0].pid != self.pid:
            raise FaultNotInjected(f"there is no process {self.pid}")
        if _own(table).intersection(entry.pid for entry in seen):
            raise FaultRefused(f"process {self.pid} is this process, or one that it descends from")
        self._seen = seen
        return self.reach()

    async def heal(self) -> None:
        """Execute the inverse."""
        undo = self.undo()
        self.remark = await self._look()
        await asyncio.to_thread(UNDO_KINDS[undo.kind].undo, undo)

    async def verify_healed(self) -> bool:
        """Ask the inverse whether there is nothing left to undo."""
        undo = self.undo()
        return await asyncio.to_thread(UNDO_KINDS[undo.kind].is_clean, undo)

    async def _look(self) -> str | None:
        """Return what is worth telling about the target before it is healed."""
        return None

    async def _signal(self, number: signal.Signals, entries: Iterable[Entry]) -> None:
        table = await _table()
        for entry in entries:
            if table.get(entry.pid, entry).start != entry.start or entry.pid not in table:
                continue
            try:
                os.kill(entry.pid, number)
            except ProcessLookupError:
                continue
            except PermissionError as error:
                raise FaultNotInjected(f"process {entry.pid} belongs to somebody else: {error}") from error


@dataclass(slots=True)
class FreezeFault(_ProcessFault):
    """A process and all below it stand still: nothing is closed, nothing is answered."""

    def describe(self) -> dict[str, Any]:
        """Return which processes are frozen."""
        return {
            "kind": "freeze",
            "pid": self.pid,
            "processes": [entry.pid for entry in self._seen],
            "max_duration_ms": self.max_duration_ns // 1_000_000,
        }

    def undo(self) -> Undo:
        """Return "let them run on": `prepare` has seen that none of them was stopped before."""
        return Undo("process.resume", {"processes": [[entry.pid, entry.start] for entry in self._seen]})

    async def prepare(self) -> Reach:
        """Look at the processes; refuse where one of them is stopped already."""
        reach = await _ProcessFault.prepare(self)
        stopped = [str(entry.pid) for entry in self._seen if entry.is_stopped]
        if stopped:
            raise FaultNotInjected(
                f"process {', '.join(stopped)} is stopped already: it is not ours to let run"
            )
        return reach

    async def inject(self) -> None:
        """Stop parents before their children, then those that were born meanwhile."""
        await self._signal(signal.SIGSTOP, self._seen)
        known = {entry.pid for entry in self._seen}
        born = [entry for entry in descendants(await _table(), [self.pid]) if entry.pid not in known]
        await self._signal(signal.SIGSTOP, born)

    async def verify_injected(self) -> bool:
        """Ask whether all that still are there stand still, the process itself among them; a signal takes its time."""
        for _ in range(_LOOKS):
            table = await _table()
            now = [entry for entry in descendants(table, [self.pid]) if not entry.is_over]
            if not now or now[0].start != self._seen[0].start:
                return False
            if all(entry.is_stopped for entry in now):
                return True
            await asyncio.sleep(_LOOK_EVERY_S)
        return False

    async def _look(self) -> str | None:
        entry = (await _table()).get(self.pid)
        gone = entry is None or entry.start != self._seen[0].start or entry.is_over
        return f"process {self.pid} has ended while it was frozen" if gone else None


@dataclass(slots=True)
class KillFault(_ProcessFault):
    """A process and all below it are killed; the inverse starts it again."""

    revival: Revival = field(kw_only=True)
    _note: str = field(
        default_factory=lambda: str(
            Path(tempfile.gettempdir()) / f"chaos-spike-revival-{secrets.token_hex(8)}.json"
        ),
        init=False,
        repr=False,
    )
    inject_timeout_s: ClassVar[float] = 5.0
    heal_timeout_s: ClassVar[float] = 8.0
    """A start takes its time on a busy machine."""
    _keeper: list[int | str] | None = field(default=None, init=False, repr=False)

    def describe(self) -> dict[str, Any]:
        """Return what is killed, and how it comes back."""
        return {
            "kind": "kill",
            "destructive": "what the process had in memory is lost",
            "pid": self.pid,
            "processes": [entry.pid for entry in self._seen],
            "command": list(self.revival.command),
            "ready": self.revival.ready,
            "max_duration_ms": self.max_duration_ns // 1_000_000,
        }

    def undo(self) -> Undo:
        """Return "start it again, unless it accepts connections": `prepare` has seen that it did before."""
        revival = self.revival
        args = {
            "command": list(revival.command),
            "ready": revival.ready,
            "cwd": revival.cwd,
            "note": self._note,
            "killed": [[entry.pid, entry.start] for entry in self._seen],
            "returns": revival.returns,
            "keeper": self._keeper,
        }
        return Undo("process.revive", args)

    async def prepare(self) -> Reach:
        """Look at the processes; refuse where nobody accepts connections at `revival.ready` to begin with."""
        reach = await _ProcessFault.prepare(self)
        if not await asyncio.to_thread(accepts, self.undo()):
            raise FaultNotInjected(
                f"{self.revival.ready} accepts no connections: it could not be told when process {self.pid} is back"
            )
        if others := await asyncio.to_thread(self._others):
            raise FaultNotInjected(
                f"{self.revival.ready} is served by {others}, too: it could not be told when process {self.pid} is back"
            )
        if self.revival.keeper is not None:
            keeper = (await _table()).get(self.revival.keeper)
            if keeper is None or keeper.is_over:
                raise FaultNotInjected(
                    f"process {self.revival.keeper}, which was to start it again, has ended"
                )
            self._keeper = [keeper.pid, keeper.start]
        return Reach("", (self.revival.ready,), reach.processes, ancestors=reach.ancestors)

    def _others(self) -> str:
        """Name who else listens at `revival.ready`: processes may share one listening socket."""
        port = int(self.revival.ready.rpartition(":")[2])
        own = {entry.pid for entry in self._seen}
        try:
            listening = [
                each
                for each in psutil.net_connections(kind="tcp")
                if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port
            ]
        except psutil.AccessDenied:  # not every system tells an ordinary user
            return ""
        pids = sorted({each.pid for each in listening if each.pid is not None} - own)
        return ", ".join(f"process {pid}" for pid in pids)

    async def inject(self) -> None:
        """Kill parents before their children, so that none of them is replaced."""
        await self._signal(signal.SIGKILL, self._seen)

    async def verify_injected(self) -> bool:
        """Ask whether all of them have ended."""
        return not await self._left()

    async def _left(self) -> bool:
        for _ in range(_LOOKS):
            table = await _table()
            same = [
                table[was.pid] for was in self._seen if was.pid in table and table[was.pid].start == was.start
            ]
            if all(entry.is_over for entry in same):
                return False
            await asyncio.sleep(_LOOK_EVERY_S)
        return True


@dataclass(slots=True)
class RestartFault(KillFault):
    """A process is killed and started again at once; healing waits until it accepts connections."""

    _revived: asyncio.Task[bool] | None = field(default=None, init=False, repr=False)

    def describe(self) -> dict[str, Any]:
        """Return what is restarted."""
        return {**KillFault.describe(self), "kind": "restart"}

    async def inject(self) -> None:
        """Kill, and start again without waiting for it to be ready."""
        await KillFault.inject(self)
        if not await self._left():
            undo = self.undo()
            self._revived = asyncio.create_task(asyncio.to_thread(UNDO_KINDS[undo.kind].undo, undo))

    async def heal(self) -> None:
        """Wait for the start that is under way; start it (again) where there is none, or it failed."""
        if self._revived is not None:
            await asyncio.wait([self._revived])
            failed = self._revived.exception() is not None
            self._revived = None
            if not failed:
                return
        await KillFault.heal(self)


def _ancestors(pid: int) -> frozenset[int]:
    """Return what a process descends from; nothing where there is none, or it may not be looked at."""
    try:
        return frozenset(each.pid for each in psutil.Process(pid).parents())
    except psutil.Error:
        return frozenset()


def _own(table: dict[int, Entry]) -> set[int]:
    """Return this process and all it descends from."""
    own: set[int] = set()
    pid = os.getpid()
    while pid in table and pid not in own:
        own.add(pid)
        pid = table[pid].parent
    return own


async def _table() -> dict[int, Entry]:
    try:
        return await asyncio.to_thread(read_table)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise FaultNotInjected(f"processes cannot be read: {error}") from error
