"""The stall oracle: a freeze whose distribution of response times is known in closed form.

A server that answers at once is frozen for T while requests keep coming at a constant rate. Whoever asked t before the thaw
waits t: response times of those that arrived in the freeze are uniform on (0, T). A generator that waits for answers before it
asks again hardly notices the freeze. Connections are opened beforehand and the backlog is deep, or the kernel's own
retransmissions would be measured instead; the time the server needs to work off its backlog, which it measures itself, is
subtracted.
"""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from resilience.load.engine import LoadEngine
from resilience.load.model import Closed, HttpRequest, PhaseWindow, RateSegment, Stream
from resilience.metrics.fold import LoadTable

pytestmark = [pytest.mark.integration, pytest.mark.alone]

S = 10**9
FREEZE_S = 4.0
RATE = 300.0


@contextlib.contextmanager
def server():
    """The process, and its port."""
    script = Path(__file__).with_name("load_stall_server.py")
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


async def run(process, port, shape, *, freeze_s, length_s):
    """Drive the shape with a freeze after half a second; the calls, the messages, and when the freeze began and ended."""
    stream = Stream(
        name="load",
        shape=shape,
        arrival="uniform",
        request=HttpRequest(url=f"http://127.0.0.1:{port}/"),
        deadline_ns=S,
        timeout_ns=60 * S,
        record_calls=True,
        connections=int(RATE * FREEZE_S) + 200,
    )
    messages = []
    phases = (PhaseWindow("all", 0, int(length_s * S)),)
    async with LoadEngine([stream], phases, workers=1, run_id="t", on_message=messages.append) as engine:
        await engine.prepare()
        assert engine.opened["load"] == stream.connections
        epoch = time.monotonic_ns() + 50_000_000
        await engine.start(epoch)
        await asyncio.sleep(0.5)
        process.send_signal(signal.SIGSTOP)
        frozen = time.monotonic_ns()
        await asyncio.sleep(freeze_s)
        process.send_signal(signal.SIGCONT)
        thawed = time.monotonic_ns()
        await engine.finish(60)
    calls = [call for message in messages if message["kind"] == "call" for call in message["rows"]]
    return calls, LoadTable.from_messages(messages, phases), frozen, thawed


def ks_distance(values, cdf):
    """The Kolmogorov-Smirnov distance of a sample to a distribution."""
    ordered = sorted(values)
    n = len(ordered)
    return max(max((k + 1) / n - cdf(x), cdf(x) - k / n) for k, x in enumerate(ordered))


async def stalled_distance():
    """One freeze of a server under a steady rate: how far its response times lie from the closed form."""
    with server() as (process, port):
        shape = (RateSegment(0, 5 * S, RATE, RATE),)
        calls, table, frozen, thawed = await run(process, port, shape, freeze_s=FREEZE_S, length_s=5)
        process.stdin.close()
        answered = json.loads(process.stdout.readline())
    assert len(calls) == 5 * RATE
    # The bins say the same: four fifths of the run lie in the freeze.
    assert table.phase("load", "all").p95_ms > 1000 * FREEZE_S * 0.85
    stalled = [call for call in calls if frozen <= call[1] < thawed]
    # What was asked in the freeze was answered after it, in the server's own account of it, in this order.
    worked_off = [at - thawed for at in sorted(answered) if at >= thawed]
    in_order = sorted(stalled, key=lambda call: call[5])
    length = thawed - frozen
    times = [call[5] - call[1] - drain for call, drain in zip(in_order, worked_off, strict=False)]
    return ks_distance(times, lambda t: min(max(t / length, 0.0), 1.0))


async def test_engine_passes_the_stall_oracle():
    """Response times under a freeze follow the closed form: KS distance at most 0.02, in one of three tries.

    A neighbour that holds the core while the server works its backlog off adds distance (0.03 was seen); nothing takes any away: an
    engine that waits for answers is at 0.5 and more, every time.
    """
    distances = []
    for _ in range(3):
        distances.append(await stalled_distance())
        if distances[-1] <= 0.02:
            return
    pytest.fail(f"KS distances {distances}")


async def test_closed_model_hardly_sees_the_stall():
    """Ten users who wait for their answers meet the freeze once each: why an open model is the default."""
    with server() as (process, port):
        shape = Closed(users=10, think_ns=20_000_000, start_ns=0, end_ns=3 * S)
        calls, table, _, _ = await run(process, port, shape, freeze_s=2, length_s=3)
    assert sum(1 for call in calls if call[5] - call[1] > S) == 10
    assert table.bin("load").counts["offered"] == table.bin("load").ended == len(calls)
