"""A small server in a process of its own, that tests freeze, kill and bring back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from faults.processes import Revival
from faults.undo.process_table import read_table

SERVER = """
import os, socket, sys, time
child = os.fork() if "--child" in sys.argv else 0
if "--child" in sys.argv and child == 0:
    time.sleep(60)
    os._exit(0)
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    print(listener.getsockname()[1], child, flush=True)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(str(os.getpid()).encode())
"""
"""Tells everybody who connects its pid; ends by itself after a minute."""


class Served:
    """A running server of that kind: its pid and its child's, and what it says."""

    def __init__(self, *flags: str) -> None:
        self.command = (sys.executable, "-c", SERVER)
        self._process = subprocess.Popen([*self.command, "0", *flags], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.port, self.child = map(int, self._process.stdout.readline().split())
        self.pid = self._process.pid

    @property
    def revival(self) -> Revival:
        """How to start it again, on its port."""
        return Revival((*self.command, str(self.port)), f"127.0.0.1:{self.port}")

    def says(self, timeout_s: float = 5.0) -> int | None:
        """Return the pid of who answers; None if nobody accepts, or nobody answers in time."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s) as sock:
                return int(sock.recv(100) or 0) or None
        except OSError:
            return None

    def says_soon(self) -> int | None:
        """Ask until somebody answers, for a while."""
        until_s = time.monotonic() + 20
        while (pid := self.says()) is None and time.monotonic() < until_s:
            time.sleep(0.02)
        return pid

    def close(self) -> None:
        """End it, its child, and whoever took its place."""
        for pid in {self.pid, self.child, self.says(0.5) or self.pid} - {0}:
            for number in (signal.SIGKILL, signal.SIGCONT):
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    break
        self._process.communicate()


def killed_args(served: Served, tmp_path: Path, *more: int) -> dict[str, object]:
    """What a runner would have noted before it killed them."""
    table = read_table()
    return {
        "command": list(served.revival.command),
        "ready": f"127.0.0.1:{served.port}",
        "cwd": None,
        "note": str(tmp_path / "note"),
        "killed": [[pid, table[pid].start] for pid in (served.pid, *more)],
    }
