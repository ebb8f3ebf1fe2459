"""The parent's side of a load: worker processes, one start epoch, and their messages.

Theory of operation. `prepare` starts the workers, hands each its stripe and waits until every one has its connections open;
`start` gives all the same epoch on CLOCK_MONOTONIC, which processes of one host share; `finish` waits for the schedule's end
and the drain. Each worker's standard output is read as fast as it comes, in pieces of any size, and every message goes to
`on_message` in the order its worker sent it. A slow `on_message` slows this reading down, and nothing else: workers buffer.

Invariants. A worker lives no longer than this object: it exits when its standard input ends, which the kernel sees to when
this process dies, and `close` kills what does not. Every worker either sent its `end` messages or is reported by a message
`{"kind": "lost", "worker": w, "exit": status, "t": ns}`: a loss is never silent.

What it deliberately does not do: judge, or retry a worker.
"""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic_ns
from types import TracebackType
from typing import Any, Self

import resilience
from resilience.load.inbox import Inbox
from resilience.load.model import Assignment, PhaseWindow, Stream

OnMessage = Callable[[dict[str, Any]], None]
_READY_S = 60.0
_GRACE_S = 5.0
_READ_BYTES = 1 << 16


class EngineError(Exception):
    """Workers could not be started; the message says which and why."""


class LoadEngine:
    """Drives streams from `workers` processes. An async context manager: leaving it leaves no process behind."""

    def __init__(
        self,
        streams: Sequence[Stream],
        phases: Sequence[PhaseWindow],
        *,
        workers: int,
        run_id: str,
        on_message: OnMessage,
    ) -> None:
        if workers < 1:
            raise ValueError("at least one worker is needed")
        names = [stream.name for stream in streams]
        if len(set(names)) != len(names):
            raise ValueError(f"two streams have the same name: {names}")
        self._assignments = [
            Assignment(tuple(streams), tuple(phases), stripe, workers, run_id) for stripe in range(workers)
        ]
        self._on_message = on_message
        self._workers: list[_WorkerProcess] = []
        self._pids: tuple[int, ...] = ()
        self.opened: dict[str, int] = {}
        """After `prepare`: how many connections of each stream are open."""

    @property
    def pids(self) -> tuple[int, ...]:
        """The workers' process ids, in the order of their stripes."""
        return self._pids

    async def __aenter__(self) -> Self:
        """Nothing is started yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every worker, whatever it is doing."""
        await self.close()

    async def prepare(self) -> None:
        """Start the workers and wait until their connections are open. Raises EngineError; then nothing is left running."""
        try:
            for assignment in self._assignments:
                worker = await _WorkerProcess.spawn(assignment, self._on_message)
                self._workers.append(worker)
                self._pids += (worker.pid,)
            async with asyncio.timeout(_READY_S):
                for worker in self._workers:
                    for stream, opened in (await worker.ready())["opened"].items():
                        self.opened[stream] = self.opened.get(stream, 0) + opened
        except BaseException as error:
            await self.close()
            if isinstance(error, TimeoutError):
                raise EngineError(f"load workers were not ready within {_READY_S:.0f} s") from None
            raise

    async def start(self, epoch_ns: int) -> None:
        """Give every worker the common epoch: offset 0 of all schedules and phases, on CLOCK_MONOTONIC."""
        for worker in self._workers:
            worker.command({"start": epoch_ns})

    async def finish(self, timeout_s: float) -> None:
        """Wait for the schedule's end and the drain, at most `timeout_s`; what is unfinished then is counted as such.

        Every message has been delivered when this returns. An exception of `on_message` is raised here.
        """
        if not await self._ended(timeout_s):
            await self.abort()
            return
        await self.close()

    async def abort(self) -> None:
        """Stop offering at once. Operations under way are counted as unfinished; the last messages are delivered."""
        for worker in self._workers:
            worker.command({"abort": True})
        await self._ended(_GRACE_S)
        await self.close()

    async def close(self) -> None:
        """Kill what still runs and wait for it. Safe to call again."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.kill()
        results = await asyncio.gather(*(worker.reaped() for worker in workers), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _ended(self, timeout_s: float) -> bool:
        reading = [worker.reading for worker in self._workers]
        if not reading:
            return True
        _, pending = await asyncio.wait(reading, timeout=timeout_s)
        return not pending


class _WorkerProcess:
    """One worker process and the reader of its messages."""

    def __init__(self, process: Process, assignment: Assignment, on_message: OnMessage) -> None:
        self._process = process
        self._number = assignment.stripe
        self._on_message = on_message
        self._inbox = Inbox((stream.name for stream in assignment.streams), on_message)
        self._started = False
        self._ready: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.reading = asyncio.create_task(self._read())

    @classmethod
    async def spawn(cls, assignment: Assignment, on_message: OnMessage) -> "_WorkerProcess":
        process = await spawn_worker()
        worker = cls(process, assignment, on_message)
        worker.command(assignment.to_json())
        return worker

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ready(self) -> dict[str, Any]:
        """The worker's ready line. Raises EngineError if it ends instead."""
        await asyncio.wait((self._ready, self.reading), return_when=asyncio.FIRST_COMPLETED)
        if not self._ready.done():
            status = await self._process.wait()
            raise EngineError(
                f"load worker {self._number} ended before it was ready (exit {status}); see its log"
            )
        return self._ready.result()

    def command(self, command: dict[str, Any]) -> None:
        """Send one line. The pipe's buffer is unbounded on this side; a worker that is gone gets nothing."""
        self._started = self._started or "start" in command
        stdin = self._process.stdin
        if stdin is not None and not stdin.is_closing():
            stdin.write(json.dumps(command).encode() + b"\n")

    def kill(self) -> None:
        """End it, unless its messages have ended in order: then it is about to exit by itself."""
        ended = self.reading.done() and not self.reading.cancelled() and self.reading.exception() is None
        if self._process.returncode is None and not ended:
            self._process.kill()

    async def reaped(self) -> None:
        """The process is gone and its output read; raises what reading it raised."""
        try:
            await self.reading
        finally:
            if self._process.stdin is not None:
                self._process.stdin.close()
            await self._process.wait()

    async def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        while piece := await stdout.read(_READ_BYTES):
            self._inbox.feed(piece)
            if self._inbox.ready is not None and not self._ready.done():
                self._ready.set_result(self._inbox.ready)
        if self._inbox.owing and self._started:
            status = await self._process.wait()
            self._on_message({"kind": "lost", "worker": self._number, "exit": status, "t": monotonic_ns()})


async def spawn_worker() -> Process:
    """A load worker process of this Python and this package; its protocol is the worker's."""
    # -P: a folder named `resilience` in the user's working directory must not be imported instead of this package.
    home = str(Path(resilience.__file__).parent.parent)
    path = os.pathsep.join(part for part in (home, os.environ.get("PYTHONPATH")) if part)
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "resilience.load.worker",
        stdin=PIPE,
        stdout=PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )
