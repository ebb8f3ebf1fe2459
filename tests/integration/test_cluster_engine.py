"""Load from a dask cluster of two workers on loopback, one of which has a clock of its own: as from here, or invalid and named."""

import asyncio
import os
import signal
import socket
import time
from types import SimpleNamespace

import psutil
import pytest
from cluster_world import SHIFTED, dask_cluster
from test_load_processes import S, answering, judged, quotes

from resilience.load import SpikeLoadGenerator, cluster, cluster_host, schedule
from resilience.load.cluster import ClusterEngine
from resilience.load.engine import EngineError, LoadEngine
from resilience.load.model import PhaseWindow
from resilience.load.shapes import constant
from resilience.metrics.fold import LoadTable
from resilience.metrics.histogram import RELATIVE_ERROR, Histogram

pytest.importorskip("distributed", reason="needs dask: pip install 'chaos-spike[cluster]'")
pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

PHASES = (PhaseWindow("first", 0, 1 * S), PhaseWindow("second", 1 * S, 2 * S))
AHEAD_NS = 300_000_000


def ports(n):
    """Free ports in order: stripes go to workers in the order of their addresses."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    found = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return sorted(found, key=str)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two workers; the clock of the second is 300 ms ahead."""
    with dask_cluster(tmp_path_factory.mktemp("dask") / "cluster") as made:
        first, second = ports(2)
        made.add(first)
        made.add(second, PYTHONPATH=str(SHIFTED), SHIFTED_CLOCK_MS="300")
        yield made


async def driven(engine, during=None):
    """A whole run; the instant at which it began."""
    async with engine:
        await engine.prepare()
        epoch = time.monotonic_ns() + getattr(engine, "lead_ns", 50_000_000)
        await engine.start(epoch)
        if during is not None:
            await during()
        await engine.finish(30)
    return epoch


def of_kind(messages, kind):
    """Messages of one kind."""
    return [message for message in messages if message["kind"] == kind]


async def test_cluster_run_adds_up_to_what_a_local_run_is(two):
    """Same schedule and seed: the same arrivals in each second, counts exact; histograms are those of all the rows."""
    here, there = [], []
    async with answering() as port:
        stream = quotes(port, seconds=2, rate=200.0, arrival="poisson", seed=11, record_calls=True)
        await driven(LoadEngine([stream], PHASES, workers=2, run_id="t", on_message=here.append))
        epoch = await driven(
            ClusterEngine(
                [stream], PHASES, address=two.address, run_id="t", on_message=there.append, this_host=True
            )
        )
    local, merged = (LoadTable.from_messages(messages, PHASES) for messages in (here, there))
    for (second, mine), (same, its) in zip(local.seconds("quotes"), merged.seconds("quotes"), strict=True):
        assert second == same
        assert {n: mine.counts[n] for n in ("offered", "attempts", "ok")} == {
            n: its.counts[n] for n in ("offered", "attempts", "ok")
        }
    rows = [row for message in of_kind(there, "call") for row in message["rows"]]
    due = list(schedule.offsets(stream.shape, "poisson", 11))
    assert sorted(row[0] for row in rows) == list(range(len(due)))
    exact = Histogram()
    exact.record_all(row[5] - row[1] for row in rows)
    assert merged.bin("quotes").histograms["r"] == exact
    times = sorted(row[5] - row[1] for row in rows)
    for q in (0.5, 0.95, 0.99):
        truth = times[max(0, -int(-q * len(times) // 1) - 1)]
        assert abs(exact.quantile(q) - truth) <= 2 * RELATIVE_ERROR * truth + 1
    validity = judged(stream, PHASES, there)
    assert validity.conservation
    assert validity.started_share["quotes"] == {"first": 1.0, "second": 1.0}
    for row in rows:
        least, most = (end * 1e6 for end in validity.clocks[str(row[0] % 2)]["error_ms"])
        # Corrected, the arrival was due when the schedule says, as well as that clock is known.
        assert least - 1e4 <= row[1] - epoch - due[row[0]] <= most + 1e4
    assert all(row[1] >= epoch - 50_000_000 for row in rows)


async def test_spike_generator_takes_its_load_from_a_cluster(two):
    """From Python as from a plan: one stripe each, the same schedule as from here, clocks measured, nothing left there."""
    seen = []
    async with answering() as port:
        url = f"http://127.0.0.1:{port}/{{i}}"
        common = {"deadline_s": 60, "timeout_s": 60, "arrival": "poisson", "seed": 5}
        there = SpikeLoadGenerator(url, cluster=two.address, record_calls=True, **common)
        metrics = await there.run(constant(150, 1), on_message=seen.append)
        here = await SpikeLoadGenerator(url, **common).run(constant(150, 1))
        first = await SpikeLoadGenerator(url, cluster=two.address, workers=1, **common).run(constant(50, 0.2))
    assert metrics.overall.counts["offered"] == here.overall.counts["offered"] > 100
    assert metrics.overall.counts["ok"] == metrics.overall.counts["good"] == metrics.overall.counts["offered"]
    assert sorted(row[0] for row in metrics.calls) == list(range(metrics.overall.counts["offered"]))
    assert {message["worker"] for message in of_kind(seen, "bins")} == {0, 1}
    assert metrics.validity.conservation
    clock = metrics.validity.clocks["1"]
    least, most = (clock["ahead_ms"] + end for end in clock["error_ms"])
    assert least <= AHEAD_NS / 1e6 <= most
    assert list(first.validity.clocks) == ["0"]
    assert not two.children()


async def test_spike_generator_says_that_its_cluster_cannot_be_used(monkeypatch):
    """An error of the engine, with the address; nothing was offered."""
    monkeypatch.setattr(cluster, "_CONNECT_S", 0.5)
    with pytest.raises(EngineError, match=r"no dask scheduler answers at tcp://127\.0\.0\.1:9"):
        await SpikeLoadGenerator("http://127.0.0.1:1/", cluster="tcp://127.0.0.1:9").run(constant(10, 1))


async def test_cluster_finds_the_clock_that_is_ahead_and_leaves_nothing(two):
    """Its offset is published with an error that holds; afterwards no process and no state is on the workers."""
    messages = []
    async with answering() as port:
        stream = quotes(port, seconds=0.5)
        phases = (PhaseWindow("all", 0, S // 2),)
        await driven(
            ClusterEngine([stream], phases, address=two.address, run_id="c", on_message=messages.append)
        )
        clocks = judged(stream, phases, messages).clocks
    for worker, truth_ms in (("0", 0.0), ("1", AHEAD_NS / 1e6)):
        least, most = clocks[worker]["error_ms"]
        assert clocks[worker]["ahead_ms"] + least <= truth_ms <= clocks[worker]["ahead_ms"] + most
        assert clocks[worker]["jumps"] == 0
        assert clocks[worker]["name"].startswith("tcp://127.0.0.1:")
    assert two.children() == []
    async with answering():
        client = await cluster._connected(two.address)
        try:
            left = await client.run(extensions)
        finally:
            await client.close()
    assert not any(left.values()), left


def extensions(dask_worker):
    """Whether a dask worker still holds anything of ours."""
    return cluster_host.EXTENSION in dask_worker.extensions


# What is sent to the workers must not ask them to import this file.
extensions.__module__ = "__main__"


async def test_cluster_abort_in_the_middle_leaves_nothing(two):
    """Leaving early ends the load workers where they run."""
    async with answering() as port:
        engine = ClusterEngine(
            [quotes(port, seconds=60)], (), address=two.address, run_id="a", on_message=lambda _: None
        )
        async with engine:
            await engine.prepare()
            await engine.start(time.monotonic_ns() + 10**8)
            assert len(two.children()) == 2
    assert two.children() == []


async def test_cluster_that_cannot_serve_says_why(two, monkeypatch, tmp_path):
    """Too few workers, another version, another machine while the system is on loopback: nothing is started."""

    async def refused(**given):
        engine = ClusterEngine([quotes(9)], PHASES, run_id="r", on_message=lambda _: None, **given)
        with pytest.raises(EngineError) as caught:
            await engine.prepare()
        assert two.children() == []
        return str(caught.value)

    assert "has 2 workers, and --workers asks for 3" in await refused(address=two.address, workers=3)
    with monkeypatch.context() as patch:
        patch.setattr(cluster_host, "metadata", SimpleNamespace(version=lambda _: "0.0.9"))
        assert "this is 0.0.9; install the same" in await refused(address=two.address)
    with monkeypatch.context() as patch:
        (tmp_path / "boot").write_text("of another machine\n")
        patch.setattr(cluster_host, "_BOOT_ID", tmp_path / "boot")
        assert "cannot reach" in await refused(address=two.address, this_host=True)
    monkeypatch.setattr(cluster, "_CONNECT_S", 0.5)
    (nobody,) = ports(1)
    assert "no dask scheduler answers at" in await refused(address=f"tcp://127.0.0.1:{nobody}")


async def test_cluster_worker_that_stops_answering_is_late_and_named(two, monkeypatch):
    """A dask worker that hangs keeps the runner no longer than it may; what it would have sent is missed."""
    monkeypatch.setattr(cluster, "LATE_S", 1.0)
    messages = []
    phases = (PhaseWindow("all", 0, 2 * S),)
    async with answering() as port:
        stream = quotes(port, seconds=2)
        engine = ClusterEngine([stream], phases, address=two.address, run_id="h", on_message=messages.append)

        async def freeze():
            await asyncio.sleep(cluster.LEAD_NS / S + 0.3)
            os.kill(two.workers[1].pid, signal.SIGSTOP)

        try:
            await driven(engine, freeze)
        finally:
            os.kill(two.workers[1].pid, signal.SIGCONT)
    reasons = judged(stream, phases, messages).reasons
    assert [m["worker"] for m in of_kind(messages, "late")] == [1]
    assert any("did not answer for 1 s" in reason and "tcp://" in reason for reason in reasons), reasons
    (lost,) = of_kind(messages, "lost")
    assert lost["worker"] == 1
    assert any(reason.startswith(f"worker 1 ({lost['name']}) was lost") for reason in reasons)


async def test_cluster_stripe_that_nobody_asks_for_is_taken_away(monkeypatch):
    """The runner died: after the lease the load worker is killed and forgotten."""
    monkeypatch.setattr(cluster_host, "LEASE_S", 0.3)
    host = SimpleNamespace(extensions={}, name="host")
    async with answering() as port:
        stream = quotes(port, seconds=60)
        assignment = ClusterEngine([stream], PHASES, address="", run_id="l", on_message=print)
        one = cluster.Assignment(assignment._streams, PHASES, 0, 1, "l")
        pid = await cluster_host.open_stripe("l-0", one.to_json(), dask_worker=host)
        with pytest.raises(RuntimeError, match="already"):
            await cluster_host.open_stripe("l-0", one.to_json(), dask_worker=host)
        async with asyncio.timeout(20):
            while host.extensions or psutil.pid_exists(pid):  # noqa: ASYNC110 - another process is awaited
                await asyncio.sleep(0.05)
