"""What runs inside a dask worker: it starts one load worker process, keeps what that writes, and hands it out when asked.

The runner calls these functions through `Client.run(..., workers=[address])`: outside of dask's task scheduling, so that nothing
is moved to another worker, tried again or kept as a result. A stripe lives in the dask worker's `extensions` under EXTENSION.

Invariants. What is held for the runner is bounded by HELD_BYTES, and one answer by PIECE_BYTES: where the runner reads too
slowly the load worker's pipe fills, and the load worker buffers, as it does locally. A runner that asks for nothing for LEASE_S
is gone: the load worker is killed, and nothing is left here. A dask worker that dies closes its end of the load worker's
standard input, which ends it, too.

What it deliberately does not do: read what it hands on, import dask, or know a plan.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from importlib import metadata
from pathlib import Path
from time import monotonic_ns
from typing import Any, Final

from resilience.load.engine import spawn_worker

EXTENSION: Final = "chaos-spike"
LEASE_S: Final = 15.0
HELD_BYTES: Final = 8 << 20
PIECE_BYTES: Final = 1 << 20
GATHER_S: Final = 0.25
_READ_BYTES: Final = 1 << 16
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class HostedStripe:
    """One load worker process on this machine, and what it has written that nobody has fetched yet."""

    def __init__(self, process: Process, abandoned: Callable[[], Awaitable[None]]) -> None:
        self._process = process
        self._abandoned = abandoned
        self._winding_up: asyncio.Future[None] | None = None
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._changed = asyncio.Condition()
        self._ended = False
        self._lease = asyncio.get_running_loop().call_later(LEASE_S, self._expire)
        self._reading = asyncio.create_task(self._read())

    @property
    def pid(self) -> int:
        """The load worker's process id."""
        return self._process.pid

    def renew(self) -> None:
        """The runner is there."""
        self._lease.cancel()
        self._lease = asyncio.get_running_loop().call_later(LEASE_S, self._expire)

    def tell(self, command: dict[str, Any]) -> None:
        """Write one line to the load worker; one that is gone hears nothing."""
        stdin = self._process.stdin
        if stdin is not None and not stdin.is_closing():
            stdin.write(json.dumps(command).encode() + b"\n")

    async def take(self, wait_s: float) -> tuple[bytes, bool, int | None]:
        """(what was written, whether that was all, the exit status then); waits at most `wait_s` for something."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s), self._changed:
                await self._changed.wait_for(lambda: self._held or self._ended)
                # A second's reports come one by one: together they are one answer instead of five.
                async with asyncio.timeout(GATHER_S):
                    await self._changed.wait_for(lambda: self._held_bytes >= PIECE_BYTES or self._ended)
        taken: list[bytes] = []
        size = 0
        while self._held and (not taken or size + len(self._held[0]) <= PIECE_BYTES):
            taken.append(self._held.pop(0))
            size += len(taken[-1])
        self._held_bytes -= size
        async with self._changed:
            self._changed.notify_all()
        over = self._ended and not self._held
        return b"".join(taken), over, self._process.returncode if over else None

    async def close(self) -> None:
        """Nothing of it is left when this returns: no process, no task, no timer."""
        self._lease.cancel()
        if self._process.returncode is None and not self._ended:
            self._process.kill()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()

    async def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        while piece := await stdout.read(_READ_BYTES):
            async with self._changed:
                await self._changed.wait_for(lambda: self._held_bytes < HELD_BYTES)
                self._held.append(piece)
                self._held_bytes += len(piece)
                self._changed.notify_all()
        await self._process.wait()
        async with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _expire(self) -> None:
        """Nobody asks any more: it goes, and with it everything that it held."""
        self._winding_up = asyncio.ensure_future(self._abandoned())


def _stripes(dask_worker: Any) -> dict[str, HostedStripe]:
    stripes: dict[str, HostedStripe] = dask_worker.extensions.setdefault(EXTENSION, {})
    return stripes


async def describe(*, dask_worker: Any) -> dict[str, Any]:
    """Who this is: version of this package, host, boot, process id of the dask worker, its name."""
    return {
        "version": metadata.version("chaos-spike"),
        "host": platform.node(),
        "boot": _BOOT_ID.read_text(encoding="ascii").strip() if _BOOT_ID.is_file() else platform.node(),
        "pid": os.getpid(),
        "name": str(dask_worker.name),
    }


async def ask_clock() -> tuple[int, int]:
    """When the question was heard and when the answer is told, on this machine's clock."""
    return monotonic_ns(), monotonic_ns()


async def open_stripe(key: str, assignment: dict[str, Any], *, dask_worker: Any) -> int:
    """Start the load worker of one assignment (`Assignment.to_json`); its process id. RuntimeError where it is there already."""
    stripes = _stripes(dask_worker)
    if key in stripes:
        raise RuntimeError(f"stripe {key} is on this worker already")
    process = await spawn_worker()
    stripe = stripes[key] = HostedStripe(process, lambda: close_stripe(key, dask_worker=dask_worker))
    stripe.tell(assignment)
    return stripe.pid


async def take(key: str, wait_s: float, *, dask_worker: Any) -> tuple[int, bytes, bool, int | None, int]:
    """(heard, bytes, over, exit status, told): what the load worker wrote, between two stamps of this clock."""
    heard = monotonic_ns()
    stripe = _stripes(dask_worker)[key]
    stripe.renew()
    piece, over, status = await stripe.take(wait_s)
    return heard, piece, over, status, monotonic_ns()


async def tell(key: str, command: dict[str, Any], *, dask_worker: Any) -> int:
    """Hand a command to the load worker; when that was, on this machine's clock. A stripe that is gone hears nothing."""
    stripe = _stripes(dask_worker).get(key)
    if stripe is not None:
        stripe.renew()
        stripe.tell(command)
    return monotonic_ns()


async def close_stripe(key: str, *, dask_worker: Any) -> None:
    """End a load worker, whatever it does, and forget it."""
    stripes = _stripes(dask_worker)
    stripe = stripes.pop(key, None)
    if not stripes:
        dask_worker.extensions.pop(EXTENSION, None)
    if stripe is not None:
        await stripe.close()
