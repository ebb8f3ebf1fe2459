"""A killed process whose system is taken down while somebody else is reviving it: nothing is started that nobody would end."""

from __future__ import annotations

import fcntl
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from faults.undo.model import Undo
from faults.undo.process_table import read_table
from faults.undo.processes import revive
from resilience.lab.ports import free_port

pytestmark = pytest.mark.integration


def test_revival_starts_nothing_where_the_keeper_ended_while_it_waited(tmp_path: Path) -> None:
    """It waits for the note that another holds; by the time that it has it there is nothing left to bring back."""
    note, started = tmp_path / "note", tmp_path / "started"
    note.touch()
    keeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        undo = Undo(
            "process.revive",
            {
                "ready": f"127.0.0.1:{free_port()}",
                "note": str(note),
                "command": ["touch", str(started)],
                "keeper": [keeper.pid, read_table()[keeper.pid].start],
            },
        )
        found: list[bool] = []
        with note.open("r+") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            waiting = threading.Thread(target=lambda: found.append(revive(undo)))
            waiting.start()
            _until_somebody_waits(note)
            keeper.communicate(b"\n")
    finally:
        keeper.kill()
        keeper.wait()
    waiting.join(timeout=10)
    assert found == [False]
    assert not started.exists()
    assert not note.exists()


@pytest.mark.parametrize("kept", [True, False], ids=["back already", "gone with its keeper"])
def test_revival_removes_the_note_of_one_who_did_not_live_to(kept: bool, tmp_path: Path) -> None:
    """Whoever wrote it was killed. There is nothing left to start: the note goes, too, or every such death would leave one behind."""
    note = tmp_path / "note"
    note.write_text('{"pid": 1, "start": "long ago"}')
    with socket.create_server(("127.0.0.1", 0)) as back:
        args = {"ready": f"127.0.0.1:{back.getsockname()[1]}", "note": str(note), "command": ["/no/such"]}
        if not kept:
            back.close()
            args["keeper"] = [1, "long ago"]
        assert revive(Undo("process.revive", args)) is False
    assert not note.exists()


def _until_somebody_waits(note: Path) -> None:
    """Until the system shows someone behind the lock of a file; two seconds where it does not show that."""
    inode, until_s = f":{note.stat().st_ino} ", time.monotonic() + 2
    while time.monotonic() < until_s:
        locks = Path("/proc/locks").read_text(encoding="ascii") if Path("/proc/locks").exists() else ""
        if any("->" in line and inode in line for line in locks.splitlines()):
            return
        time.sleep(0.01)
