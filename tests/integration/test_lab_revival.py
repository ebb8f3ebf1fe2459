"""A killed process of the lab comes back in its place, by the command that the lab gives, and ends with the lab."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import urllib.request

import asyncpg
import psutil
import pytest
from redis.asyncio import Redis

from resilience.lab.embedded import EmbeddedStack
from resilience.lab.options import LabOptions
from resilience.lab.system import LocalProcess, System

pytestmark = pytest.mark.integration


@pytest.fixture
async def system():
    """A lab of two gateways, and proof that what was started again ends with it."""
    stack = EmbeddedStack(LabOptions(gateways=2, linger_s=0.2))
    found = await stack.up()
    try:
        yield found
    finally:
        now = [psutil.Process(each["pid"]) for each in shown(found).values()]
        await stack.down()
        assert not [process for process in now if process.is_running()]


def control_of(system: System) -> str:
    """Where the supervisor is asked: the last word but one of every command."""
    return next(iter(system.processes.values())).revive[-2]


def shown(system: System) -> dict[str, dict[str, object]]:
    """What the supervisor says of its processes now."""
    with urllib.request.urlopen(f"{control_of(system)}/processes", timeout=5) as answer:
        return json.loads(answer.read())


async def killed(process: LocalProcess) -> None:
    """SIGKILL it and all below it, and wait until they have ended."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for each in family:
        each.kill()
    await asyncio.to_thread(psutil.wait_procs, family, timeout=5)


async def revived(process: LocalProcess) -> int:
    """Exit code of the command that brings it back."""
    done = await asyncio.create_subprocess_exec(*process.revive)
    return await done.wait()


async def test_cache_that_was_killed_comes_back_empty(system: System) -> None:
    """The same port and password, another process, and nothing of what it held."""
    async with Redis.from_url(system.addresses["cache"]) as client:
        await client.set("kept", "1")
    await killed(system.processes["redis"])
    assert shown(system)["redis"]["runs"] is False
    assert await revived(system.processes["redis"]) == 0
    async with Redis.from_url(system.addresses["cache"]) as client:
        assert await client.get("kept") is None
    assert shown(system)["redis"]["pid"] != system.processes["redis"].pid


async def test_database_that_was_killed_comes_back_with_what_was_committed(system: System) -> None:
    """PostgreSQL recovers: what it had acknowledged is still there."""
    connection = await asyncpg.connect(system.addresses["db"])
    await connection.execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)")
    await connection.close()
    await killed(system.processes["postgres"])
    assert await revived(system.processes["postgres"]) == 0
    connection = await asyncpg.connect(system.addresses["db"])
    assert await connection.fetchval("SELECT n FROM kept") == 7
    await connection.close()


@pytest.mark.parametrize("name", ["pricing", "gateway-2"])
async def test_service_that_was_killed_answers_again_where_it_did(system: System, name: str) -> None:
    """Its port is its own again, and its process another one."""
    process = system.processes[name]
    await killed(process)
    assert await revived(process) == 0
    _reader, writer = await asyncio.open_connection(*process.ready.rsplit(":", 1))
    writer.close()
    await writer.wait_closed()
    assert shown(system)[name]["pid"] != process.pid


async def test_revival_of_what_runs_starts_nothing(system: System) -> None:
    """Guardian, session and a sweep may all ask: one start is enough."""
    assert await revived(system.processes["redis"]) == 0
    assert shown(system)["redis"]["pid"] == system.processes["redis"].pid


async def test_revival_of_what_is_not_there_says_so() -> None:
    """Exit 1 with the reason, 2 for other arguments."""
    for arguments, code in ((["http://127.0.0.1:9", "cache"], 1), ([], 2)):
        done = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "resilience.lab.revive", *arguments), stderr=asyncio.subprocess.PIPE
        )
        _out, errors = await done.communicate()
        assert done.returncode == code
        assert errors


async def test_frozen_process_is_ended_with_the_lab(system: System) -> None:
    """A process that was frozen and never let go on does not outlive its lab: the fixture looks."""
    os.kill(system.processes["redis"].pid, signal.SIGSTOP)
