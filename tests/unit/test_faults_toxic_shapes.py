"""Distributions and waves of latency, and the line that connections share: figures against their formulas."""

from __future__ import annotations

import random
import statistics

import pytest

from faults.model import Chunk
from faults.toxics import Toxic
from faults.toxics import chain as chains
from faults.toxics.bandwidth_shared import BandwidthShared
from faults.toxics.base import MS_NS, Data, Emit
from faults.toxics.delaying import Delaying
from faults.toxics.fail_first import FailFirst
from faults.toxics.latency_lognormal import LatencyLognormal
from faults.toxics.latency_normal import LatencyNormal
from faults.toxics.latency_pareto import LatencyPareto
from faults.toxics.latency_sine import LatencySine
from faults.toxics.latency_step import LatencyStep
from faults.toxics.refuse import Refuse

START_NS = 10**12


def drawn_ms(toxic: Delaying, count: int = 20_000) -> list[float]:
    """Draw delays, sorted, in ms."""
    rng = random.Random(3)
    return sorted(toxic.delay_ns(rng, 0) / MS_NS for _ in range(count))


def quantile(values: list[float], share: float) -> float:
    """Pick from sorted values."""
    return values[int(share * len(values))]


def test_latency_normal_has_its_mean_and_deviation():
    """Within what 20,000 draws can tell."""
    values = drawn_ms(LatencyNormal(100, 10))
    assert abs(statistics.fmean(values) - 100) < 0.5
    assert abs(statistics.stdev(values) - 10) < 0.5


@pytest.mark.parametrize(
    ("toxic", "median_ms"),
    [(LatencyLognormal(20, 400), 20.0), (LatencyPareto(20, 400), 20 * 2 ** (1 / 1.5372))],
)
def test_latency_tails_hit_their_percentiles(toxic: Delaying, median_ms: float):
    """Median and p99 are those that the attributes name, or imply."""
    values = drawn_ms(toxic)
    assert abs(quantile(values, 0.5) / median_ms - 1) < 0.05
    assert abs(quantile(values, 0.99) / 400 - 1) < 0.15


def test_latency_tails_have_an_end():
    """No delay is longer than `maximum`, no Pareto delay shorter than `minimum`."""
    assert drawn_ms(LatencyLognormal(20, 400, 500))[-1] == pytest.approx(500)
    values = drawn_ms(LatencyPareto(20, 400, 500))
    assert values[-1] == pytest.approx(500)
    assert values[0] >= 20


def test_latency_sine_swings():
    """Low at the start, high at half time, the middle at a quarter; and again after a period."""
    toxic = LatencySine(10, 110, 1000)
    rng = random.Random(1)
    found = [round(toxic.delay_ns(rng, at_ms * MS_NS) / MS_NS) for at_ms in (0, 250, 500, 750, 1000)]
    assert found == [10, 60, 110, 60, 10]


def test_latency_step_jumps():
    """Low for the first half of each period, high for the second."""
    toxic = LatencyStep(1, 9, 100)
    rng = random.Random(1)
    found = [toxic.delay_ns(rng, at_ms * MS_NS) // MS_NS for at_ms in (0, 49, 50, 99, 100)]
    assert found == [1, 1, 9, 9, 1]


def test_waves_count_from_when_the_toxic_came_to_the_proxy():
    """A connection that is made later sees the wave of all."""
    chain = chains.Chain(10**6)
    late_ns = START_NS + 60 * MS_NS
    chain, _ = chains.attach(
        chain, "t", 0, LatencyStep(1, 9, 100), random.Random(1), late_ns, added_ns=START_NS
    )
    chain, _ = chains.feed(chain, Data(Chunk(b"x", late_ns)), late_ns)
    assert chain.alarm_ns == late_ns + 9 * MS_NS


@pytest.mark.parametrize(
    ("toxic", "complaints"),
    [
        (LatencyNormal(-1, -1), 2),
        (LatencyLognormal(0, 0, 0), 1),
        (LatencyLognormal(10, 5), 1),
        (LatencyLognormal(10, 50, 20), 1),
        (LatencyPareto(10, 5), 1),
        (LatencySine(-1, -2, 0), 3),
        (LatencyStep(-1, -1, 0), 3),
        (BandwidthShared(-1), 1),
        (FailFirst(-1), 1),
    ],
)
def test_shapes_refuse_what_they_are_not(toxic: Toxic, complaints: int):
    """One sentence for each thing wrong."""
    assert len(toxic.problems()) == complaints


def shared_run(rate: int, sizes: list[int], until_ns: int) -> list[int]:
    """Feed that many bytes to connections that share a line; return what passed on each by then."""
    toxic = BandwidthShared(rate)
    line = toxic.share()
    run = []
    for size_bytes in sizes:
        chain = chains.Chain(10**9)
        chain, _ = chains.attach(chain, "t", 0, toxic, random.Random(1), START_NS, shared=line)
        chain, _ = chains.feed(chain, Data(Chunk(bytes(size_bytes), START_NS)), START_NS)
        run.append(chain)
    passed = [0] * len(sizes)
    while due := [(chain.alarm_ns, at) for at, chain in enumerate(run) if chain.alarm_ns is not None]:
        alarm_ns, at = min(due)
        if alarm_ns > until_ns:
            break
        run[at], outputs = chains.wake(run[at], alarm_ns)
        passed[at] += sum(len(output.chunk.data) for output in outputs if isinstance(output, Emit))
    return passed


def test_bandwidth_shared_is_one_line_for_all():
    """Ten busy connections get the rate together, and even shares of it."""
    passed = shared_run(1000, [10**6] * 10, START_NS + 1000 * MS_NS)
    assert 0.95 * 10**6 <= sum(passed) <= 10**6
    assert max(passed) - min(passed) <= 20_000


def test_bandwidth_shared_gives_idle_time_to_the_busy():
    """A connection that has little to send leaves the line to the others."""
    passed = shared_run(1000, [5000, 10**6], START_NS + 1000 * MS_NS)
    assert passed[0] == 5000
    assert passed[1] >= 0.95 * (10**6 - 5000)


def test_gates_say_whom_they_turn_away():
    """refuse: everybody; fail_first: the first ones."""
    assert Refuse().refuses(10**6)
    assert Refuse().is_shut()
    assert [FailFirst(2).refuses(nth) for nth in (1, 2, 3)] == [True, True, False]
    assert not FailFirst(2).is_shut()
