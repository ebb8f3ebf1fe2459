"""Workers as processes: frozen, killed, orphaned, read slowly."""

import asyncio
import contextlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from resilience.load import schedule
from resilience.load.engine import EngineError, LoadEngine
from resilience.load.model import Assignment, HttpRequest, PhaseWindow, RateSegment, Stream
from resilience.metrics.fold import LoadTable
from resilience.metrics.validity import judge_validity

pytestmark = pytest.mark.integration

MS = 10**6
S = 10**9


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
    server = await asyncio.get_running_loop().create_server(Answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        server.close_clients() if hasattr(server, "close_clients") else None
        await server.wait_closed()


def quotes(port, *, seconds=1.0, rate=100.0, **changes):
    """A stream of constant rate."""
    given = {
        "name": "quotes",
        "shape": (RateSegment(0, int(seconds * S), rate, rate),),
        "arrival": "uniform",
        "request": HttpRequest(url=f"http://127.0.0.1:{port}/"),
        "deadline_ns": 60 * S,
        "timeout_ns": 60 * S,
    }
    return Stream(**{**given, **changes})


def judged(stream, phases, messages):
    """The validity of what was recorded."""
    table = LoadTable.from_messages(messages, phases)
    return judge_validity(table, {stream.name: schedule.counts_by_phase(stream, phases)}, messages, phases)


async def test_engine_run_of_a_frozen_worker_is_invalid():
    """A worker that was stopped for 4 s catches up, and the run is invalid all the same."""
    messages = []
    phases = (PhaseWindow("all", 0, 6 * S),)
    async with answering() as port:
        # Long and slow: few operations are late, so that the lag gate alone might not see it.
        stream = quotes(port, seconds=6, rate=20.0)
        async with LoadEngine([stream], phases, workers=2, run_id="t", on_message=messages.append) as engine:
            await engine.prepare()
            await engine.start(time.monotonic_ns())
            await asyncio.sleep(1)
            os.kill(engine.pids[1], signal.SIGSTOP)
            await asyncio.sleep(4)
            os.kill(engine.pids[1], signal.SIGCONT)
            await engine.finish(30)
    validity = judged(stream, phases, messages)
    assert not validity.valid
    assert any("silent" in reason for reason in validity.reasons)
    assert validity.conservation
    assert validity.started_share["quotes"]["all"] == 1.0


async def test_engine_run_of_a_killed_worker_is_invalid():
    """A worker that dies is reported as lost, and its part of the schedule is missed."""
    messages = []
    phases = (PhaseWindow("all", 0, 2 * S),)
    async with answering() as port:
        stream = quotes(port, seconds=2)
        async with LoadEngine([stream], phases, workers=2, run_id="t", on_message=messages.append) as engine:
            await engine.prepare()
            await engine.start(time.monotonic_ns())
            await asyncio.sleep(0.3)
            os.kill(engine.pids[0], signal.SIGKILL)
            await engine.finish(30)
    assert [(m["worker"], m["exit"]) for m in messages if m["kind"] == "lost"] == [(0, -signal.SIGKILL)]
    validity = judged(stream, phases, messages)
    assert not validity.valid
    assert any("lost" in reason for reason in validity.reasons)
    assert any("took up" in reason for reason in validity.reasons)


async def test_engine_leaves_no_process_behind():
    """Leaving the engine in the middle of a run ends its workers."""
    async with (
        answering() as port,
        LoadEngine(
            [quotes(port, seconds=60)], (), workers=2, run_id="t", on_message=lambda _: None
        ) as engine,
    ):
        await engine.prepare()
        await engine.start(time.monotonic_ns())
        await asyncio.sleep(0.1)
    assert len(engine.pids) == 2
    assert not any(psutil.pid_exists(pid) for pid in engine.pids)


async def test_engine_abort_counts_what_was_under_way():
    """An abort stops offering at once, delivers the last messages, and loses nothing."""
    messages = []
    async with answering() as port:
        stream = quotes(port, seconds=60)
        async with LoadEngine([stream], (), workers=2, run_id="t", on_message=messages.append) as engine:
            await engine.prepare()
            await engine.start(time.monotonic_ns())
            await asyncio.sleep(0.5)
            await engine.abort()
    found = LoadTable.from_messages(messages).bin("quotes")
    assert 0 < found.counts["offered"] < 6000
    assert found.counts["offered"] == found.ended
    assert len([m for m in messages if m["kind"] == "end"]) == 2


async def test_engine_raises_what_its_reader_raised():
    """An error in `on_message` is the caller's to see, and ends the run."""

    def refuse(message):
        raise OSError("disk full")

    async with (
        answering() as port,
        LoadEngine([quotes(port)], (), workers=1, run_id="t", on_message=refuse) as engine,
    ):
        await engine.prepare()
        await engine.start(time.monotonic_ns())
        with pytest.raises(OSError, match="disk full"):
            await engine.finish(10)


async def test_engine_says_when_a_worker_cannot_start():
    """A request that cannot be rendered ends the worker before it is ready, and the engine says so."""
    stream = quotes(1, request=HttpRequest(url="http://127.0.0.1/{nothing}"))
    async with LoadEngine([stream], (), workers=1, run_id="t", on_message=lambda _: None) as engine:
        with pytest.raises(EngineError, match="before it was ready"):
            await engine.prepare()


async def test_engine_is_not_held_up_by_a_slow_reader():
    """A reader that dawdles over every message delays the messages, not the load."""
    messages = []

    def dawdle(message):
        time.sleep(0.02)
        messages.append(message)

    phases = (PhaseWindow("all", 0, S),)
    async with answering() as port:
        stream = quotes(port, rate=2000.0, record_calls=True)
        async with LoadEngine([stream], phases, workers=1, run_id="t", on_message=dawdle) as engine:
            await engine.prepare()
            await engine.start(time.monotonic_ns())
            await engine.finish(30)
    table = LoadTable.from_messages(messages, phases)
    assert table.bin("quotes").counts["offered"] == table.bin("quotes").ended == 2000
    assert sum(len(m["rows"]) for m in messages if m["kind"] == "call") == 2000


def worker(assignment):
    """A worker process of our own, with its assignment given."""
    process = subprocess.Popen(
        [sys.executable, "-m", "resilience.load.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    process.stdin.write(json.dumps(assignment.to_json()).encode() + b"\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["ready"] is True
    return process


@pytest.mark.parametrize("started", [False, True])
def test_worker_dies_when_its_parent_is_gone(started):
    """The end of standard input ends the worker, before the start and in the middle of its load."""
    assignment = Assignment((quotes(1, seconds=600),), (), 0, 1, "t")
    with worker(assignment) as process:
        if started:
            process.stdin.write(b'{"start": %d}\n' % time.monotonic_ns())
            process.stdin.flush()
            time.sleep(0.2)
        process.stdin.close()
        assert process.wait(10) == 0


def test_worker_is_a_session_of_its_own():
    """What Linux schedules by: in the runner's session it would be one of many, and containers would have its turns."""
    assignment = Assignment((quotes(1, seconds=600),), (), 0, 1, "t")
    with worker(assignment) as process:
        assert os.getsid(process.pid) == process.pid
        process.stdin.close()
        assert process.wait(10) == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells the size of the table")
def test_worker_has_room_for_its_sockets_before_it_starts():
    """A table of open files that grows in the middle of a herd holds up every arrival of its worker."""
    assignment = Assignment((quotes(1, seconds=600),), (), 0, 1, "t")
    with worker(assignment) as process:
        status = Path(f"/proc/{process.pid}/status").read_text()
        room = int(re.search(r"^FDSize:\s+(\d+)", status, re.MULTILINE)[1])
        assert room >= min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 16_384)
        process.stdin.close()
        assert process.wait(10) == 0


def test_worker_ends_in_order_when_terminated():
    """SIGTERM is an abort: what was offered is accounted for, then the worker exits."""
    assignment = Assignment((quotes(1, seconds=600),), (), 0, 1, "t")
    with worker(assignment) as process:
        process.stdin.write(b'{"start": %d}\n' % time.monotonic_ns())
        process.stdin.flush()
        time.sleep(0.3)
        process.terminate()
        messages = [json.loads(line) for line in process.stdout]
        assert process.wait(10) == 0
    found = LoadTable.from_messages(messages).bin("quotes")
    assert found.counts["offered"] == found.ended > 0
    assert messages[-1]["kind"] == "end"
