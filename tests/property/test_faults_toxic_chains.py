"""Whatever toxics come and go, in whatever splits and timings: no byte is lost, doubled or overtaken."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from faults.model import Chunk
from faults.toxics import Toxic
from faults.toxics import chain as chains
from faults.toxics.bandwidth import Bandwidth
from faults.toxics.bandwidth_shared import BandwidthShared
from faults.toxics.base import MS_NS, Data, Emit, End, Ending, Finish
from faults.toxics.http_fault import HttpFault
from faults.toxics.latency import Latency
from faults.toxics.latency_normal import LatencyNormal
from faults.toxics.latency_pareto import LatencyPareto
from faults.toxics.latency_sine import LatencySine
from faults.toxics.latency_step import LatencyStep
from faults.toxics.limit_data import LimitData
from faults.toxics.limit_time import LimitTime
from faults.toxics.noop import Noop
from faults.toxics.reset_peer import ResetPeer
from faults.toxics.slicer import Slicer
from faults.toxics.slow_close import SlowClose
from faults.toxics.timeout import Timeout

START_NS = 10**12
CAP_BYTES = 20_000

KEEPING = st.one_of(
    st.builds(Noop),
    st.builds(Latency, st.integers(0, 300), st.integers(0, 100)),
    st.builds(Bandwidth, st.integers(1, 1000)),
    st.builds(SlowClose, st.integers(0, 500)),
    st.builds(Slicer, st.integers(50, 2000), st.integers(0, 50), st.integers(0, 2000)),
    st.builds(BandwidthShared, st.integers(1, 1000)),
    st.builds(LatencyNormal, st.integers(0, 100), st.integers(0, 50)),
    st.builds(LatencyPareto, st.integers(1, 20), st.integers(20, 300)),
    st.builds(LatencySine, st.integers(0, 10), st.integers(10, 200), st.integers(1, 500)),
    st.builds(LatencyStep, st.integers(0, 100), st.integers(0, 100), st.integers(1, 500)),
)
DROPPING = st.one_of(
    st.builds(Timeout, st.integers(0, 500)),
    st.builds(ResetPeer, st.integers(0, 500)),
    st.builds(LimitData, st.integers(0, 20_000)),
    st.builds(LimitTime, st.integers(0, 1000)),
    st.builds(HttpFault, st.sampled_from([0, 503]), delay=st.integers(0, 300)),
)

FEED = st.tuples(st.just("feed"), st.integers(1, 8000))
WAIT = st.tuples(st.just("wait"), st.integers(0, 400 * MS_NS))
ATTACH = st.tuples(st.just("attach"), KEEPING)
DETACH = st.tuples(st.just("detach"), st.integers(0, 5))
UPDATE = st.tuples(st.just("update"), st.integers(0, 5))
CHANGE = st.tuples(st.just("change"), KEEPING)
ACT = st.one_of(FEED, FEED, WAIT, ATTACH, DETACH, UPDATE, CHANGE)
SCRIPT = st.lists(ACT, max_size=30)
LOSSY_SCRIPT = st.lists(st.one_of(ACT, st.tuples(st.just("attach"), DROPPING)), max_size=30)


class Run:
    """A chain, the clock beside it, and all that came out."""

    def __init__(self) -> None:
        self.chain = chains.Chain(CAP_BYTES)
        self.now_ns = START_NS
        self.fed = b""
        self.out = b""
        self.ending: Ending | None = None
        self.order = 0
        self.dice = random.Random(1)
        self.excess_bytes = 0

    def take(self, step: tuple[chains.Chain, tuple[chains.Output, ...]]) -> None:
        """Carry out what a step asked for."""
        self.chain, outputs = step
        for output in outputs:
            if isinstance(output, Emit | Finish):
                assert self.ending is None
            if isinstance(output, Emit):
                self.out += output.chunk.data
            elif isinstance(output, Finish):
                self.ending = output.ending

    def feed(self, size_bytes: int) -> None:
        """Read some bytes."""
        data = self.dice.randbytes(size_bytes)
        self.fed += data
        self.take(chains.feed(self.chain, Data(Chunk(data, self.now_ns)), self.now_ns))

    def attach(self, toxic: Toxic) -> None:
        """Add a toxic at the end."""
        self.order += 1
        dice = random.Random(self.order)
        self.take(chains.attach(self.chain, f"t{self.order}", self.order, toxic, dice, self.now_ns))

    def at(self, index: int) -> chains.Stage | None:
        """Pick a stage; None where there is none."""
        stages = self.chain.stages
        return stages[index % len(stages)] if stages else None

    def detach(self, index: int) -> None:
        """Remove a stage."""
        if stage := self.at(index):
            self.take(chains.detach(self.chain, stage.key, self.now_ns))

    def update(self, index: int) -> None:
        """Update a stage."""
        if stage := self.at(index):
            self.take(chains.update(self.chain, stage.key, stage.toxic, self.now_ns))

    def change(self, toxic: Toxic) -> None:
        """Give the first stage of that kind other attributes."""
        for stage in self.chain.stages:
            if stage.key and stage.toxic.kind == toxic.kind:
                self.take(chains.update(self.chain, stage.key, toxic, self.now_ns))
                return

    def wait(self, duration_ns: int) -> None:
        """Let time pass, ringing alarms."""
        until_ns = self.now_ns + duration_ns
        while self.chain.alarm_ns is not None and self.chain.alarm_ns <= until_ns:
            self.now_ns = max(self.now_ns, self.chain.alarm_ns)
            self.take(chains.wake(self.chain, self.now_ns))
        self.now_ns = until_ns

    def play(self, script: list[tuple[str, object]], *, lossy: bool = False) -> None:
        """Play a script, checking after each act that nothing is lost, or nothing comes out that was not sent."""
        for name, argument in script:
            getattr(self, name)(argument)
            assert self.chain.held_bytes <= len(self.fed)
            if lossy:
                assert is_subsequence(self.out, self.fed)
                continue
            assert self.fed.startswith(self.out)
            assert len(self.fed) - len(self.out) == self.chain.held_bytes


def is_subsequence(part: bytes, whole: bytes) -> bool:
    """Whether `part` is `whole` with pieces left out."""
    rest = iter(whole)
    return all(byte in rest for byte in part)


@settings(max_examples=60, deadline=None)
@given(LOSSY_SCRIPT)
def test_chain_with_lossy_toxics_keeps_order_and_says_its_last_once(script: list[tuple[str, object]]):
    """Bytes may be missing where that is the purpose; none is doubled, overtaken, or follows the end."""
    run = Run()
    run.play(script, lossy=True)
    run.take(chains.feed(run.chain, End(Ending.FIN), run.now_ns))
    run.wait(10**13)
    while any(stage.key for stage in run.chain.stages):
        run.detach(next(at for at, stage in enumerate(run.chain.stages) if stage.key))
    assert is_subsequence(run.out, run.fed)
    assert run.chain.held_bytes == 0 or run.ending is not None


@settings(max_examples=60, deadline=None)
@given(SCRIPT)
def test_chain_keeps_every_byte_while_toxics_come_and_go(script: list[tuple[str, object]]):
    """After the end, and time enough, exactly what was fed has come out, then the end."""
    run = Run()
    run.play(script)
    run.take(chains.feed(run.chain, End(Ending.FIN), run.now_ns))
    run.wait(10**15)
    assert run.out == run.fed
    assert run.ending is Ending.FIN


@settings(max_examples=40, deadline=None)
@given(SCRIPT)
def test_chain_gives_everything_up_when_all_toxics_go(script: list[tuple[str, object]]):
    """Removing the last toxic leaves nothing behind, so the direct path cannot overtake anything."""
    run = Run()
    run.play(script)
    while run.chain.stages:
        run.detach(0)
    assert run.out == run.fed
    assert run.chain.held_bytes == 0


@settings(max_examples=40, deadline=None)
@given(SCRIPT)
def test_chain_is_paused_exactly_while_it_holds_too_much(script: list[tuple[str, object]]):
    """Above the cap it is paused, at half of it or below it is not."""
    run = Run()
    for name, argument in script:
        getattr(run, name)(argument)
        if run.chain.held_bytes > CAP_BYTES:
            assert run.chain.paused
        if run.chain.held_bytes <= CAP_BYTES // 2:
            assert not run.chain.paused


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 5000), st.lists(st.integers(1, 700), max_size=20))
def test_limit_data_passes_exactly_its_limit_in_any_split(limit_bytes: int, sizes: list[int]):
    """However the bytes are split, the first `bytes` of them pass, and the close comes with the last."""
    run = Run()
    run.attach(LimitData(limit_bytes))
    for size_bytes in sizes:
        run.feed(size_bytes)
    assert run.out == run.fed[:limit_bytes]
    assert (run.ending is Ending.CLOSE) == (bool(sizes) and len(run.fed) >= limit_bytes)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 5000), min_size=1, max_size=8), st.integers(1, 50))
def test_bandwidth_never_exceeds_its_rate(sizes: list[int], rate: int):
    """At no time have more bytes passed than the rate allows since the first was read."""
    run = Run()
    run.attach(Bandwidth(rate))
    for size_bytes in sizes:
        run.feed(size_bytes)
    while run.chain.alarm_ns is not None:
        run.wait(run.chain.alarm_ns - run.now_ns)
        assert len(run.out) * MS_NS <= (run.now_ns - START_NS) * rate
    assert run.out == run.fed
