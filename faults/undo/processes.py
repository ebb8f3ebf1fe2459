"""Undoing faults on processes of this host: letting frozen ones run on, and bringing killed ones back. Synchronous, standard library only.

Frozen: `args.processes` are [pid, start] pairs as `prepare` saw them. Those of them that still are the same processes, and whatever
descends from them by now, get SIGCONT. A process that has ended, or whose pid belongs to another one, is left alone and counts as healed.

Killed: once `args.killed` ([pid, start] pairs, parents first) have all ended, `args.command` starts the process again, in a session of its own,
unless `args.ready` (host:port) accepts connections. Guardian, session and a later sweep may all try; `args.note` is a file under whose lock they do,
and which says what was started, so that only one is: also where whoever started it was killed. The command gets this process's environment: nothing
of it is in the journal, so secrets belong in files. With `args.returns` the command has to return with exit code 0 as well, and may be asked twice:
until it was seen to, a start is at work, whoever began it, and a process that accepts connections in the middle of it (a database that recovers
does) is not back. `args.keeper` ([pid, start]) keeps the system that the process belongs to: once it has ended, nothing is left to bring back.
"""

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from faults.undo.model import Undo
from faults.undo.process_table import Entry, descendants, is_dying, read_table
from faults.undo.toxiproxy import UndoFailed

__all__ = ["accepts", "is_revived", "resume", "revive", "runs"]

_READY_S: Final = 5.0
_KNOCK_S: Final = 0.5
_POLL_S: Final = 0.02


def resume(undo: Undo) -> bool:
    """Send SIGCONT to all of the processes; True if any was frozen.

    Also to those that do not stand still: a SIGSTOP may be pending (a process in uninterruptible I/O, or without a turn on the CPU), and
    SIGCONT takes it back. `prepare` has seen that none was stopped before.
    """
    entries = _same(undo)
    for entry in reversed(entries):  # children first: a parent that runs may look at them
        try:
            os.kill(entry.pid, signal.SIGCONT)
        except ProcessLookupError:
            continue
        except OSError as error:
            raise UndoFailed(f"process {entry.pid} cannot be let run on: {error.strerror}") from error
    return any(entry.is_stopped for entry in entries)


def runs(undo: Undo) -> bool:
    """Ask whether none of the processes is frozen any more."""
    return not any(entry.is_stopped for entry in _same(undo))


def _same(undo: Undo) -> list[Entry]:
    """Those that still are the same processes, and what descends from them."""
    table = _table()
    same = [int(pid) for pid, start in undo.args["processes"] if pid in table and table[pid].start == start]
    return list(descendants(table, same))


def revive(undo: Undo) -> bool:
    """Start the process again, unless it is there, and wait until it accepts connections; True if it was started.

    UndoFailed while one of those that were killed is still ending: it may accept connections to its last moment. A runner that died
    between two of its signals has left some of them alive: their parent is gone, so they follow it.
    """
    started = _revived(undo)
    # Whoever waits for its lock finds that it accepts (or that nothing is left), and starts nothing.
    Path(str(undo.args["note"])).unlink(missing_ok=True)
    return started


def _revived(undo: Undo) -> bool:
    if _kept_no_more(undo) or _is_unharmed(undo):
        return False
    _end(_left(undo))
    if accepts(undo) and not _at_work(undo):
        return False
    returns = bool(undo.args.get("returns"))
    with _note(undo) as note:
        if _kept_no_more(undo):  # while somebody else held the lock
            return False
        if accepts(undo) and not (returns and note.is_told):
            return False
        until_s = time.monotonic() + _READY_S
        # Begun by somebody who was killed, or gave up: nobody hears what it comes to, so once it is over, it is done again.
        while returns and note.runs() and not _kept_no_more(undo):
            _pause(undo, until_s)
        started = None if note.runs() else _start(undo, note)
        while not accepts(undo) or (returns and started is not None and started.poll() is None):
            if _kept_no_more(undo):
                break
            _check(undo, started)
            _pause(undo, until_s)
        gone = _kept_no_more(undo)
        if returns and not gone:
            _check(undo, started)
        note.clear()
        return not gone


def _check(undo: Undo, started: subprocess.Popen[bytes] | None) -> None:
    """UndoFailed where the command has failed: one that returns has started something that lives on by itself."""
    if started is not None and started.poll() not in {None, 0}:
        raise UndoFailed(f"{undo.args['command'][0]} ended with exit code {started.returncode}")


def _pause(undo: Undo, until_s: float) -> None:
    """Between two looks; UndoFailed where there have been enough of them."""
    if time.monotonic() > until_s:
        raise UndoFailed(f"{undo.args['ready']} is not back {_READY_S:g} s after the start")
    time.sleep(_POLL_S)


def is_revived(undo: Undo) -> bool:
    """Ask whether nobody was killed, or the process is back, or all of the system is gone.

    Back: those that were killed have ended, it accepts connections, and no start is at work.
    """
    if _kept_no_more(undo) or _is_unharmed(undo):
        return True
    return not _left(undo) and accepts(undo) and not _at_work(undo)


def accepts(undo: Undo) -> bool:
    """Ask whether somebody accepts connections at `args.ready`."""
    host, _, port = str(undo.args["ready"]).rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()
    except OSError:
        return False
    return True


def _kept_no_more(undo: Undo) -> bool:
    """Whether what kept the system has ended: the process is gone for good, with all the rest."""
    keeper = undo.args.get("keeper")
    return keeper is not None and not _is_same(*keeper)


def _is_unharmed(undo: Undo) -> bool:
    """Ask whether nobody was killed: the first to be, before all that descends from it, is as it was."""
    killed: list[Any] = undo.args.get("killed") or []
    return bool(killed) and _is_same(*killed[0]) and not is_dying(killed[0][0])


def _end(left: list[Entry]) -> None:
    """Kill what is left; UndoFailed where anything is."""
    for entry in left:
        with contextlib.suppress(OSError):
            os.kill(entry.pid, signal.SIGKILL)
    if left:
        raise UndoFailed(f"process {left[0].pid} was killed and has not ended yet")


def _left(undo: Undo) -> list[Entry]:
    """Those that were to be killed and have not ended yet."""
    table = _table()
    killed = undo.args.get("killed") or ()
    same = [table[int(pid)] for pid, start in killed if pid in table and table[int(pid)].start == start]
    return [entry for entry in same if not entry.is_over]


@dataclass(slots=True)
class _Note:
    """What the note says was started, while its lock is held."""

    file: TextIO
    pid: Any = None
    start: Any = None

    def read(self) -> None:
        """Take what is there; a note that nobody can read says nothing."""
        self.file.seek(0)
        try:
            found = json.loads(self.file.read() or "{}")
        except ValueError:
            found = {}
        if isinstance(found, dict):
            self.pid, self.start = found.get("pid"), found.get("start")

    def write(self, pid: int, start: str | None) -> None:
        """Say it at once: whoever started it may be killed at any moment."""
        self.clear()
        self.pid, self.start = pid, start
        json.dump({"pid": pid, "start": start}, self.file)
        self.file.flush()

    def clear(self) -> None:
        """Say that nothing was started: what was has done its work."""
        self.pid = self.start = None
        self.file.seek(0)
        self.file.truncate()

    @property
    def is_told(self) -> bool:
        """Whether something was started that nobody has seen to have done its work."""
        return self.pid is not None

    def runs(self) -> bool:
        """Whether what was started is still there: the process itself, or the command that is to return."""
        return _is_same(self.pid, self.start)


@contextlib.contextmanager
def _note(undo: Undo) -> Iterator[_Note]:
    """Hold the note's lock; the note."""
    try:
        descriptor = os.open(str(undo.args["note"]), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UndoFailed(f"the note {undo.args['note']} cannot be opened: {error.strerror}") from error
    with os.fdopen(descriptor, "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        note = _Note(file)
        note.read()
        yield note


def _at_work(undo: Undo) -> bool:
    """Whether a command that has to return was started and not seen to have done so, by whomever; asked without waiting for them."""
    if not undo.args.get("returns"):
        return False
    try:
        with Path(str(undo.args["note"])).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            note = _Note(file)
            note.read()
            return note.is_told
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        raise UndoFailed(f"the note {undo.args['note']} cannot be opened: {error.strerror}") from error


def _start(undo: Undo, note: _Note) -> subprocess.Popen[bytes]:
    try:
        process = subprocess.Popen(
            [str(word) for word in undo.args["command"]],
            cwd=undo.args.get("cwd"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise UndoFailed(f"{undo.args['command'][0]} cannot be started: {error}") from error
    # It outlives us if need be; should it end first, it is reaped.
    threading.Thread(target=process.wait, name="reaper", daemon=True).start()
    entry = _table().get(process.pid)
    note.write(process.pid, None if entry is None else entry.start)
    return process


def _is_same(pid: Any, start: Any) -> bool:
    entry = _table().get(pid) if isinstance(pid, int) else None
    return entry is not None and entry.start == start and not entry.is_over


def _table() -> dict[int, Entry]:
    try:
        return read_table()
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise UndoFailed(f"processes cannot be read: {error}") from error
