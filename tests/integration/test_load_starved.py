"""A generator that lacks what it needs, processor time or file descriptors, says so: the run is invalid, and nothing is left out."""

import asyncio
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from resilience.load import schedule
from resilience.load.engine import LoadEngine
from resilience.load.model import Assignment, Herd, HttpRequest, PhaseWindow, RateSegment, Stream
from resilience.metrics.fold import LoadTable
from resilience.metrics.validity import judge_validity

pytestmark = [pytest.mark.integration, pytest.mark.alone]

MS = 10**6
S = 10**9
PHASES = (PhaseWindow("all", 0, 3 * S),)


class Answer(asyncio.Protocol):
    """Answers every request at once."""

    def connection_made(self, transport):
        """Keep the transport."""
        self.transport = transport

    def data_received(self, data):
        """One answer for each end of a head."""
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi" * data.count(b"\r\n\r\n"))


@contextlib.asynccontextmanager
async def answering():
    """The port of a server that answers every request at once."""
    server = await asyncio.get_running_loop().create_server(Answer, "127.0.0.1", 0, backlog=512)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def stream(port, shape, **changes):
    """A load on that port."""
    given = {
        "name": "load",
        "shape": shape,
        "arrival": "uniform",
        "request": HttpRequest(url=f"http://127.0.0.1:{port}/"),
        "deadline_ns": 60 * S,
        "timeout_ns": 20 * S,
    }
    return Stream(**{**given, **changes})


def judged(load, messages):
    """Counts and validity of what was recorded."""
    table = LoadTable.from_messages(messages, PHASES)
    scheduled = {load.name: schedule.counts_by_phase(load, PHASES)}
    return table.bin(load.name), judge_validity(table, scheduled, messages, PHASES)


async def test_engine_run_of_a_starved_worker_is_invalid():
    """A worker that runs a quarter of the time makes up for every arrival, late; the lag gate sees what no silence shows."""
    messages = []
    async with answering() as port:
        load = stream(port, (RateSegment(0, 3 * S, 200.0, 200.0),))
        async with LoadEngine([load], PHASES, workers=1, run_id="t", on_message=messages.append) as engine:
            await engine.prepare()
            await engine.start(time.monotonic_ns())
            until = time.monotonic() + 2.5
            while time.monotonic() < until:
                os.kill(engine.pids[0], signal.SIGSTOP)
                await asyncio.sleep(0.15)
                os.kill(engine.pids[0], signal.SIGCONT)
                await asyncio.sleep(0.05)
            await engine.finish(30)
    total, validity = judged(load, messages)
    assert total.counts["offered"] == total.ended == total.counts["ok"] == 600
    assert validity.conservation
    assert validity.started_share["load"]["all"] == 1.0
    assert any("started late" in reason for reason in validity.reasons)
    assert not any("silent" in reason for reason in validity.reasons)


def worker_with(descriptors, load):
    """A worker process that may have so many files open; its messages until it ends."""

    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    command = [sys.executable, "-m", "resilience.load.worker"]
    assignment = Assignment((load,), PHASES, 0, 1, "t")
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=limit,  # noqa: PLW1509 - one thread, one call
    ) as process:
        process.stdin.write(json.dumps(assignment.to_json()).encode() + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["fd_limit"] == descriptors
        process.stdin.write(b'{"start": %d}\n' % time.monotonic_ns())
        process.stdin.flush()
        messages = [json.loads(line) for line in process.stdout]
        assert process.wait(30) == 0
    return messages


async def test_worker_without_descriptors_counts_what_it_could_not_open():
    """At the limit of open files the rest of a herd fails to connect, the run says why, and the sum is what was offered."""
    async with answering() as port:
        load = stream(port, Herd(200, 1_200 * MS, waves=2, gap_ns=1_200 * MS), connections=0)
        messages = await asyncio.to_thread(worker_with, 64, load)
    total, validity = judged(load, messages)
    opened = {name: n for name, n in total.counts.items() if n and name in {"ok", "connect"}}
    assert total.counts["offered"] == total.ended == sum(opened.values()) == 400
    assert opened["ok"] > 20
    assert opened["connect"] > 200
    assert validity.conservation
    assert any("file descriptors" in reason for reason in validity.reasons)
