"""One child process of the supervisor: started with its log in a file, heard once it is ready, ended for certain.

Every child dies with the supervisor, however that one dies. Our own services hold a pipe from it and end when it closes
(`--die-with-parent`); foreign programs, which know no such thing, are sent a signal by the kernel (Linux'
PR_SET_PDEATHSIG; elsewhere the next start sweeps what was left, see rundir.py).

Ending is SIGTERM (or what the program calls a fast shutdown), SIGCONT in case a fault froze it, a grace, SIGKILL.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resilience.lab.identity import ProcessId
from resilience.lab.system import StackError
from resilience.lab.unprivileged import Account

LOG = logging.getLogger("chaos_spike.lab")

_PR_SET_PDEATHSIG = 1
_TAIL_LINES = 15


@dataclass(frozen=True, slots=True)
class Program:
    """What to start, and how it is to be ended."""

    name: str
    command: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    account: Account | None = None
    ours: bool = True
    """Prints a ready line, and dies with its standard input."""
    stop_signal: signal.Signals = signal.SIGTERM
    pass_fds: tuple[int, ...] = ()


def _signal_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """For a foreign program, run between fork and exec: the kernel is to signal it when our process ends."""
    if not sys.platform.startswith("linux"):
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def ask_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return ask_kernel


class Child:
    """A running child process."""

    def __init__(self, program: Program, process: asyncio.subprocess.Process, log: Path) -> None:
        self.program = program
        self.pid = process.pid
        self.identity = ProcessId.of(process.pid)
        self._process = process
        self._log = log
        self._drain: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, program: Program, log: Path) -> Child:
        """Start it; StackError if there is no such program."""
        who = program.account
        foreign = None if program.ours else _signal_with_parent(program.stop_signal)
        with log.open("wb") as output:  # emptied: its tail is about this start
            try:
                process = await asyncio.create_subprocess_exec(
                    *program.command,
                    stdin=asyncio.subprocess.PIPE if program.ours else asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE if program.ours else output,
                    stderr=output,
                    cwd=program.cwd,
                    env={**os.environ, **program.environ},
                    pass_fds=program.pass_fds,
                    preexec_fn=foreign,
                    user=None if who is None else who.uid,
                    group=None if who is None else who.gid,
                    extra_groups=None if who is None else [],
                )
            except OSError as error:
                raise StackError(f"{program.name} cannot be started: {error}") from error
        return cls(program, process, log)

    @property
    def ended(self) -> bool:
        """Whether it has ended (and was reaped)."""
        return self._process.returncode is not None

    async def ready(self) -> Mapping[str, Any]:
        """Its ready line. StackError with the end of its log if it ends, or says something else, first."""
        assert self._process.stdout is not None  # only asked of our own services
        line = await self._process.stdout.readline()
        try:
            facts = json.loads(line)
        except ValueError:
            facts = None
        if not isinstance(facts, dict) or not facts.get("ready"):
            if not line:
                await self._process.wait()
            raise self.died()
        self._drain = asyncio.create_task(self._discard(self._process.stdout))
        return facts

    @staticmethod
    async def _discard(stream: asyncio.StreamReader) -> None:
        while await stream.read(65536):
            pass

    def died(self) -> StackError:
        """The error that says so, with its last words."""
        code = self._process.returncode
        how = (
            "said something unexpected at its start" if code is None else f"ended at its start (exit {code})"
        )
        tail = self.tail()
        return StackError(f"{self.program.name} {how}" + (f"; its last log lines:\n{tail}" if tail else ""))

    def tail(self) -> str:
        """The last lines of its log."""
        try:
            text = self._log.read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-_TAIL_LINES:])

    async def stop(self, grace_s: float) -> None:
        """End it and wait until it has; killed after `grace_s`."""
        if not self.ended:
            self._send(self.program.stop_signal)
            self._send(signal.SIGCONT)
            try:
                async with asyncio.timeout(grace_s):
                    await self._process.wait()
            except TimeoutError:
                LOG.warning("%s did not end within %g s and is killed", self.program.name, grace_s)
                self._send(signal.SIGKILL)
                await self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._drain is not None:
            self._drain.cancel()
            await asyncio.gather(self._drain, return_exceptions=True)

    async def drain(self, limit_s: float) -> None:
        """Let it finish with its callers (SIGUSR1), then end; ended all the same after `limit_s`."""
        self._send(signal.SIGUSR1)
        try:
            async with asyncio.timeout(limit_s):
                await self._process.wait()
        except TimeoutError:
            LOG.warning("%s did not drain within %g s", self.program.name, limit_s)
        await self.stop(limit_s)

    def _send(self, number: signal.Signals) -> None:
        # Not Popen.send_signal: it reaps the child behind the back of asyncio, which then reports a status of its own.
        if self.identity is not None:
            self.identity.send(number)
