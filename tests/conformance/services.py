"""Breaker services as processes: started with a library and an upstream, known by their ready line, ended for certain."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from tests.conformance.builds import ROOT, command
from tests.conformance.candidates import Asked, Candidate

READY_S: Final = 30.0
"""A JVM on a busy machine takes seconds."""
END_S: Final = 5.0


class ServiceError(Exception):
    """A service did not get ready; the message has what it wrote."""


@dataclass(frozen=True, slots=True)
class Running:
    """A service that has said that it is ready."""

    url: str
    ready: Mapping[str, Any]
    process: asyncio.subprocess.Process


async def spawn(candidate: Candidate, environ: Mapping[str, str]) -> asyncio.subprocess.Process:
    """The bare process; standard streams are pipes. BuildError if it cannot be built."""
    arguments = await asyncio.to_thread(command, candidate)
    inherited = {name: value for name, value in os.environ.items() if name not in _OURS}
    return await asyncio.create_subprocess_exec(
        *arguments,
        cwd=ROOT,
        env={**inherited, **environ},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


_OURS: Final = frozenset({
    "LISTEN", "UPSTREAM", "BREAKER", "INSTANCE", "FAILURES", "WAIT_MS", "PERMITTED", "SUCCESSES", "CALL_TIMEOUT_MS",
})  # fmt: skip


@asynccontextmanager
async def running(
    candidate: Candidate, upstream: str, asked: Asked, *, instance: str = "service-1"
) -> AsyncIterator[Running]:
    """Start it, give it when it is ready, end it by ending its standard input. ServiceError if it never gets ready."""
    environ = {
        "LISTEN": "127.0.0.1:0",
        "UPSTREAM": upstream,
        "INSTANCE": instance,
        **candidate.asked(asked).environ(),
    }
    process = await spawn(candidate, environ)
    assert process.stdout is not None
    assert process.stderr is not None
    complaints = asyncio.create_task(process.stderr.read())
    try:
        async with asyncio.timeout(READY_S):
            line = await process.stdout.readline()
        if not line:
            said = (await complaints).decode(errors="replace").strip()
            raise ServiceError(f"{candidate.name} ended before it was ready: {said}")
        ready = json.loads(line)
        yield Running(ready["url"], ready, process)
    finally:
        await end(process)
        await complaints


async def end(process: asyncio.subprocess.Process) -> int:
    """End its input and wait; kill it if it takes too long. Its exit code."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(END_S):
            return await process.wait()
    except TimeoutError:
        process.kill()
        return await process.wait()
