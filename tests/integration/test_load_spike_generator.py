"""The Python face: a spike against a real server, in a few lines, and what is kept of it."""

import asyncio

import pytest
from aiohttp import web

from resilience.load import SpikeLoadGenerator
from resilience.load.shapes import batches, closed, constant, spike, spike_phases
from resilience.metrics import SpikeLoadMetrics

pytestmark = [pytest.mark.integration, pytest.mark.alone]

DURATIONS = {"before_s": 1, "rise_s": 0.5, "hold_s": 1, "fall_s": 0, "after_s": 0.5}


async def listening(handle):
    """A running site with one route, and its port."""
    app = web.Application()
    app.router.add_get("/{tail:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, runner.addresses[0][1]


async def hello(_request):
    """An answer."""
    return web.Response(text="hello")


async def test_spike_generator_drives_a_spike_and_tells_its_phases():
    """Baseline, spike and recovery are offered as asked for, everything is answered, nothing is lost."""
    runner, port = await listening(hello)
    try:
        generator = SpikeLoadGenerator(f"http://127.0.0.1:{port}/quote/{{i}}", deadline_s=30, workers=2)
        metrics = await generator.run(spike(40, 200, **DURATIONS), spike_phases(**DURATIONS))
        again = await generator.run(batches(25, 3, gap_s=0.2))
    finally:
        await runner.cleanup()
    assert isinstance(metrics, SpikeLoadMetrics)
    assert metrics.validity.conservation
    assert [metrics.phase(name).counts["offered"] for name in ("baseline", "spike", "recovery")] == [
        40,
        260,
        20,
    ]
    assert metrics.overall.counts["ok"] == metrics.overall.counts["good"] == 320
    assert metrics.overall.error_rate == 0
    assert metrics.phase("baseline").goodput_per_s == 40
    assert metrics.to_json()["overall"]["counts"]["ok"] == 320
    with pytest.raises(KeyError, match="no phase 'warmup'"):
        metrics.phase("warmup")
    assert again.overall.counts["ok"] == 75
    assert len(again.validity.herd_spread_ms) == 1


async def test_spike_generator_figures_obey_littles_law():
    """Twenty users on a server that takes 50 ms: in flight, rate and stay fit together, in one of three tries.

    The law's own tolerance is 5 %; on a busy machine two whole seconds are too few to insist on that. A generator that counts wrongly
    contradicts it every time.
    """

    async def slow(_request):
        await asyncio.sleep(0.05)
        return web.Response()

    runner, port = await listening(slow)
    laws = []
    try:
        generator = SpikeLoadGenerator(f"http://127.0.0.1:{port}/", deadline_s=30)
        for _ in range(3):
            metrics = await generator.run(closed(20, think_s=0, duration_s=4))
            laws.append(metrics.littles_law(1, 3))
            if laws[-1].applicable and laws[-1].difference < 0.25 and laws[-1].in_flight > 10:
                return
    finally:
        await runner.cleanup()
    pytest.fail(f"{laws}")


async def test_spike_generator_keeps_a_sample_and_hands_on_the_rest():
    """What is kept is bounded; whoever wants every message gets it as it comes, and the figures are those of all calls."""
    seen = []
    runner, port = await listening(hello)
    try:
        generator = SpikeLoadGenerator(
            f"http://127.0.0.1:{port}/", deadline_s=30, record_calls=True, calls_kept=50, workers=2
        )
        metrics = await generator.run(constant(200, 1), on_message=seen.append)
    finally:
        await runner.cleanup()
    rows = [tuple(row) for message in seen if message["kind"] == "call" for row in message["rows"]]
    assert sorted(row[0] for row in rows) == list(range(200))
    assert metrics.calls_seen == metrics.overall.counts["ok"] == 200
    assert len(metrics.calls) == 50
    assert {tuple(row) for row in metrics.calls} <= set(rows)
    assert {message["kind"] for message in metrics.messages} == {"worker", "end"}


def test_spike_generator_without_workers_is_refused():
    """Before anything starts, and not taken for the default."""
    with pytest.raises(ValueError, match="workers is 0: a load needs one or more processes"):
        SpikeLoadGenerator("http://127.0.0.1:9/", workers=0)
