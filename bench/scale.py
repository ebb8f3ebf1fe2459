"""What one more connection, request, call or cluster worker costs: the figures from which docs/scale.md counts on.

    python -m bench.scale

Each figure is a slope, measured here: memory of a load worker by connections held open, bytes of a request by counting them at the
server, bytes and processor time of what workers send by reading a generated record's messages again (`bench.hour`), what a
breaker's calls take on disk and to judge by reading and verifying synthetic rows, and, where dask is installed, the processor time of
scheduler, dask worker and runner by stripe and second, from a real cluster of two workers on loopback. Processor time, not elapsed
time: it bears a neighbour.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from bench.hour import generate
from bench.rows import Row, measured, shown, skipped
from faults.descriptors import raise_descriptor_limit
from resilience.load.cluster import ClusterEngine
from resilience.load.engine import LoadEngine
from resilience.load.inbox import Inbox
from resilience.load.model import HttpRequest, PhaseWindow, RateSegment, Stream
from resilience.run.record import RunReader, RunRecorder

S = 10**9
CONNECTIONS = 8_000
RATE = 5_000
STRIPE_RATE = 100.0
_IDLE_S = 5.0


def main() -> None:
    """Measure and print."""
    raise_descriptor_limit()
    for row in rows():
        print(shown(row), flush=True)


def rows() -> Iterator[Row]:
    """Every figure, one after the other."""
    yield from asyncio.run(_connections())
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "generated"
        generate(folder, minutes=2, rate=RATE, workers=1)
        yield from _messages(folder, Path(home))
    if find_spec("distributed") is None:
        yield skipped("cluster: processor time of a stripe", "dask is not installed", 1)
    else:
        with tempfile.TemporaryDirectory() as home:
            yield from _cluster(Path(home))


class _Server(asyncio.Protocol):
    """Answers every request at once, and counts."""

    heads = 0
    read_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """One answer for each end of a head."""
        heads = data.count(b"\r\n\r\n")
        _Server.heads += heads
        _Server.read_bytes += len(data)
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi" * heads)


@contextlib.asynccontextmanager
async def _server() -> AsyncIterator[str]:
    server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", 0, backlog=4096)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/quote"
    finally:
        server.close()


def _stream(url: str, *, connections: int, rate: float, seconds: int) -> Stream:
    return Stream(
        name="quotes",
        shape=(RateSegment(0, seconds * S, rate, rate),),
        arrival="uniform",
        request=HttpRequest(url=url),
        deadline_ns=S,
        timeout_ns=10 * S,
        connections=connections,
        in_flight_cap=max(connections, 100),
    )


async def _connections() -> list[Row]:
    """Resident memory of a load worker with few and with many connections open; bytes of a request at the server."""
    sizes = {}
    async with _server() as url:
        for connections in (10, CONNECTIONS):
            stream = _stream(url, connections=connections, rate=50.0, seconds=1)
            phases = (PhaseWindow("all", 0, S),)
            async with LoadEngine(
                [stream], phases, workers=1, run_id="m", on_message=lambda _: None
            ) as engine:
                await engine.prepare()
                sizes[connections] = psutil.Process(engine.pids[0]).memory_info().rss
                await engine.start(time.monotonic_ns() + S // 20)
                await engine.finish(20)
    each = (sizes[CONNECTIONS] - sizes[10]) / (CONNECTIONS - 10)
    return [
        measured("worker: memory with 10 connections", [sizes[10] / 1e6], "MB"),
        measured(f"worker: memory of each of {CONNECTIONS} connections", [each], "bytes"),
        measured("request as the server reads it", [_Server.read_bytes / _Server.heads], "bytes"),
    ]


def _messages(folder: Path, home: Path) -> Iterator[Row]:
    """What a worker at RATE sends in a second, and what the runner needs to take it: parse, write, count."""
    lines = (folder / "samples" / "bins.jsonl").read_bytes()
    reader = RunReader(folder)
    seconds = sum(1 for each in reader.workers() if each["kind"] == "worker")
    recorder = RunRecorder(home / "taken")
    inbox = Inbox(["quotes"], recorder.message)
    cpu_s = _cpu(lambda: inbox.feed(lines))
    recorder.close()
    yield measured(f"message of a worker at {RATE}/s, each second", [len(lines) / seconds / 1e3], "kB")
    yield measured("runner: processor time to take it", [cpu_s / seconds * 1e3], "ms")
    row = json.dumps(
        [123456, *(10**15 + k for k in range(5)), 200, "degraded", "gateway-1"], separators=(",", ":")
    )
    yield measured("row of a call, where a breaker is followed", [len(row) + 1], "bytes")
    calls = folder / "samples" / "calls-quotes.jsonl"
    calls.write_text((row + "\n") * 100_000)
    cpu_s = _cpu(lambda: sum(1 for _ in reader.calls("quotes")))
    yield measured("judge: processor time to read a call's row", [cpu_s / 100_000 * 1e6], "us")


def _cpu(work: Callable[[], Any]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def _cluster(home: Path) -> Iterator[Row]:
    """A scheduler, two workers and this process as runner, over some seconds of a light load."""
    address = home / "scheduler.json"
    with contextlib.ExitStack() as stack:
        scheduler = stack.enter_context(
            _dask(
                "scheduler",
                "--host",
                "127.0.0.1",
                "--port",
                "0",
                "--no-dashboard",
                "--scheduler-file",
                str(address),
            )
        )
        workers = [
            stack.enter_context(
                _dask(
                    *(
                        "worker",
                        "--scheduler-file",
                        str(address),
                        "--no-nanny",
                        "--no-dashboard",
                        "--nthreads",
                        "1",
                    ),
                    *("--host", "127.0.0.1", "--local-directory", str(home)),
                )
            )
            for _ in range(2)
        ]
        deadline = time.monotonic() + 60
        while not address.is_file() and time.monotonic() < deadline:
            time.sleep(0.1)
        where = json.loads(address.read_text())["address"]
        spent = asyncio.run(_driven(where, scheduler, workers))
    for who, cpu_s in spent.items():
        yield measured(f"cluster: {who}", [cpu_s * 1e3], "ms of processor time")


async def _driven(
    where: str,
    scheduler: subprocess.Popen[bytes],
    workers: list[subprocess.Popen[bytes]],
    seconds: int = 8,
) -> dict[str, float]:
    processes = {
        "scheduler": [psutil.Process(scheduler.pid)],
        "dask worker": [psutil.Process(each.pid) for each in workers],
        "runner": [psutil.Process()],
    }

    def used() -> dict[str, float]:
        return {who: sum(sum(each.cpu_times()[:2]) for each in of) for who, of in processes.items()}

    async with _server() as url:
        # What they take without any run is theirs, however many stripes there are.
        await asyncio.sleep(1)
        before = used()
        await asyncio.sleep(_IDLE_S)
        idle = {who: (now - before[who]) / _IDLE_S for who, now in used().items()}
        stream = _stream(url, connections=8, rate=2 * STRIPE_RATE, seconds=seconds)
        phases = (PhaseWindow("all", 0, seconds * S),)
        while True:
            engine = ClusterEngine(
                [stream], phases, address=where, workers=2, run_id="s", on_message=lambda _: None
            )
            try:
                await engine.prepare()
                break
            except Exception as error:
                if "has 1 workers" not in str(error) and "no workers" not in str(error):
                    raise
                await asyncio.sleep(0.2)
        async with engine:
            await engine.start(time.monotonic_ns() + engine.lead_ns)
            await asyncio.sleep(engine.lead_ns / S + 0.5)
            before = used()
            await asyncio.sleep(seconds - 1.5)
            after = used()
            await engine.finish(20)
    # The server answers in this process as well: the runner's figure is an upper bound.
    found = {}
    for who, of in processes.items():
        found[f"{who} without a run, each second"] = idle[who] / len(of)
        found[f"{who}, more by each stripe and second"] = (
            (after[who] - before[who]) / (seconds - 1.5) - idle[who]
        ) / 2
    return found


@contextlib.contextmanager
def _dask(part: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", f"distributed.cli.dask_{part}", *words]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ)
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


if __name__ == "__main__":
    main()
