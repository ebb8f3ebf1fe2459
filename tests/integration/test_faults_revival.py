"""Bringing a killed process back: once, whoever tries, and not before its start is over."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from served_process import SERVER, Served, killed_args

from faults.undo import UNDO_KINDS, Undo, UndoFailed
from faults.undo.process_table import read_table

pytestmark = pytest.mark.integration

SUPERVISED = """
import os, pathlib, socket, subprocess, sys, time
folder, port = pathlib.Path(sys.argv[1]), int(sys.argv[2])
with (folder / "asked").open("a") as asked:
    asked.write("x")
try:
    socket.create_connection(("127.0.0.1", port)).close()
except ConnectionRefusedError:
    with subprocess.Popen([sys.executable, "-c", sys.argv[3], str(port)], stdout=subprocess.PIPE, start_new_session=True) as server:
        server.stdout.readline()
        (folder / "accepts").touch()
        until = time.monotonic() + 60
        while not (folder / "over").exists() and time.monotonic() < until:
            time.sleep(0.01)
        os._exit(int((folder / "over").read_text()))
"""
"""As a supervisor starts a database: it accepts connections some time before its start is over, which is when `over` says with which code."""

REVIVER = """
import json, sys
from faults.undo import UNDO_KINDS, Undo
undo = Undo.from_json(json.loads(sys.argv[1]))
UNDO_KINDS[undo.kind].undo(undo)
"""


def test_revival_that_fails_says_so(tmp_path: Path) -> None:
    """A command that is not there, and one that ends with an error: failures that name it, and nothing is left running."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        args = {"ready": f"127.0.0.1:{unused.getsockname()[1]}", "note": str(tmp_path / "note")}
        with pytest.raises(UndoFailed, match="cannot be started"):
            UNDO_KINDS["process.revive"].undo(Undo("process.revive", {**args, "command": ["/no/such"]}))
        command = [sys.executable, "-c", "raise SystemExit(3)"]
        with pytest.raises(UndoFailed, match="exit code 3"):
            UNDO_KINDS["process.revive"].undo(Undo("process.revive", {**args, "command": command}))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a dying process at its exit")
def test_revival_waits_for_the_death_of_what_was_killed(serve, tmp_path: Path) -> None:
    """A dying listener accepts to its last moment: while it is there, nothing is healed and nothing is started."""
    served = serve()
    undo = Undo("process.revive", killed_args(served, tmp_path))
    seize, trace_exit, resume = 0x4206, 0x40, 7
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    if ptrace(seize, served.pid, None, ctypes.c_void_p(trace_exit)) != 0:
        pytest.skip(f"no process may be traced here: {os.strerror(ctypes.get_errno())}")
    os.kill(served.pid, signal.SIGKILL)
    os.waitpid(served.pid, 0)  # it stands at its exit, with all that it had open
    socket.create_connection(("127.0.0.1", served.port), timeout=5).close()
    assert not UNDO_KINDS["process.revive"].is_clean(undo)
    with pytest.raises(UndoFailed, match="has not ended yet"):
        UNDO_KINDS["process.revive"].undo(undo)
    ptrace(resume, served.pid, None, None)
    os.waitpid(served.pid, 0)
    assert UNDO_KINDS["process.revive"].undo(undo) is True
    assert UNDO_KINDS["process.revive"].is_clean(undo)


def test_revival_of_what_was_never_killed_is_done(serve, tmp_path: Path) -> None:
    """A runner that dies before its first signal leaves nothing to undo, and nothing is started beside what is well."""
    served = serve()
    undo = Undo("process.revive", killed_args(served, tmp_path))
    assert UNDO_KINDS["process.revive"].is_clean(undo)
    assert UNDO_KINDS["process.revive"].undo(undo) is False
    assert served.says() == served.pid


def test_revival_ends_what_a_dead_runner_did_not_reach(serve, tmp_path: Path) -> None:
    """A runner that dies between two signals has killed the parent only: its child, which holds the port as well, follows."""
    served = serve("--child")
    undo = Undo("process.revive", killed_args(served, tmp_path, served.child))
    os.kill(served.pid, signal.SIGKILL)
    os.waitpid(served.pid, 0)
    with pytest.raises(UndoFailed, match="has not ended yet"):
        UNDO_KINDS["process.revive"].undo(undo)
    until_s = time.monotonic() + 10
    while served.child in read_table() and not read_table()[served.child].is_over:
        assert time.monotonic() < until_s
        time.sleep(0.01)
    assert UNDO_KINDS["process.revive"].undo(undo) is True
    assert served.says() not in (None, served.pid)


class Supervised:
    """A server that was killed, and is started again by something that returns when the start is over."""

    def __init__(self, served: Served, folder: Path) -> None:
        self.folder = folder
        command = [sys.executable, "-c", SUPERVISED, str(folder), str(served.port), SERVER]
        args = killed_args(served, folder) | {"command": command, "returns": True}
        self.undo = Undo("process.revive", args)
        os.kill(served.pid, signal.SIGKILL)
        os.waitpid(served.pid, 0)

    def reviver(self) -> subprocess.Popen[str]:
        """Somebody else who brings it back: waits until it accepts in the middle of its start."""
        words = [sys.executable, "-c", REVIVER, json.dumps(self.undo.to_json())]
        found = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        until_s = time.monotonic() + 20
        while not (self.folder / "accepts").exists():
            assert time.monotonic() < until_s
            time.sleep(0.01)
        return found

    def over(self, code: int = 0) -> None:
        """Let the start be over."""
        new = self.folder / "over.new"
        new.write_text(str(code))
        new.rename(self.folder / "over")

    def is_clean(self) -> bool:
        """What a verification finds."""
        return UNDO_KINDS["process.revive"].is_clean(self.undo)

    def heal(self) -> bool:
        """Undo it here."""
        return UNDO_KINDS["process.revive"].undo(self.undo)

    @property
    def asked(self) -> int:
        """How often the command was started."""
        return len((self.folder / "asked").read_text())


def test_revival_is_not_over_while_a_start_is_at_work(serve, tmp_path: Path) -> None:
    """What accepts connections in the middle of its start is not back: neither for who looks, nor for a second one who heals."""
    supervised = Supervised(serve(), tmp_path)
    with supervised.reviver() as first:
        assert not supervised.is_clean()
        second = threading.Thread(target=supervised.heal)
        second.start()
        supervised.over()
        assert first.wait(20) == 0
        second.join(20)
    assert supervised.is_clean()
    assert supervised.heal() is False
    assert supervised.asked == 1


def test_revival_whose_starter_was_killed_is_seen_through_by_the_next(serve, tmp_path: Path) -> None:
    """The start goes on by itself, and nobody hears what it comes to: the next one waits for its end, and asks once more."""
    supervised = Supervised(serve(), tmp_path)
    with supervised.reviver() as first:
        first.kill()
    assert not supervised.is_clean()
    healed: list[bool] = []
    second = threading.Thread(target=lambda: healed.append(supervised.heal()))
    second.start()
    second.join(0.3)
    assert second.is_alive(), "it is healed though the start is not over"
    supervised.over()
    second.join(20)
    assert healed == [True]
    assert supervised.asked == 2
    assert supervised.is_clean()


def test_revival_that_failed_is_no_revival_though_somebody_accepts(serve, tmp_path: Path) -> None:
    """The command says with its exit code that the start came to nothing: not healed, until it says otherwise."""
    supervised = Supervised(serve(), tmp_path)
    with supervised.reviver() as first:
        supervised.over(3)
        _out, said = first.communicate(timeout=20)
    assert "ended with exit code 3" in said
    assert not supervised.is_clean()
    assert supervised.heal() is True
    assert supervised.is_clean()
