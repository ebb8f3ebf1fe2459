"""Every toxic that exists keeps the rules of all toxics, and the check catches one that does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from faults.model import Chunk
from faults.testing import check_toxic
from faults.toxics import OWN_TOXICS, TOXICS, Toxic, toxic_class
from faults.toxics.bandwidth import Bandwidth
from faults.toxics.bandwidth_shared import BandwidthShared
from faults.toxics.base import Data, Effect, Emit, Ending, Event, Finish
from faults.toxics.corrupt import Corrupt
from faults.toxics.fail_first import FailFirst
from faults.toxics.http_fault import HttpFault
from faults.toxics.latency import Latency
from faults.toxics.latency_lognormal import LatencyLognormal
from faults.toxics.latency_normal import LatencyNormal
from faults.toxics.latency_pareto import LatencyPareto
from faults.toxics.latency_sine import LatencySine
from faults.toxics.latency_step import LatencyStep
from faults.toxics.limit_data import LimitData
from faults.toxics.limit_time import LimitTime
from faults.toxics.noop import Noop
from faults.toxics.refuse import Refuse
from faults.toxics.reset_peer import ResetPeer
from faults.toxics.slicer import Slicer
from faults.toxics.slow_close import SlowClose
from faults.toxics.timeout import Timeout

EXAMPLES: tuple[Toxic, ...] = (
    Noop(),
    Latency(),
    Latency(100),
    Latency(20, 20),
    Bandwidth(0),
    Bandwidth(1),
    Bandwidth(10_000),
    SlowClose(),
    SlowClose(1000),
    Timeout(),
    Timeout(100),
    ResetPeer(),
    ResetPeer(100),
    LimitData(),
    LimitData(1000),
    Slicer(100, 0, 0),
    Slicer(100, 50, 10),
    Slicer(10, 5, 1),
    LimitTime(),
    LimitTime(30),
    Corrupt(),
    Corrupt(10_000),
    Corrupt(1_000_000),
    BandwidthShared(0),
    BandwidthShared(500),
    LatencyNormal(20, 10),
    LatencyLognormal(10, 200),
    LatencyPareto(5, 100),
    LatencySine(5, 50, 100),
    LatencyStep(0, 30, 40),
    Refuse(),
    FailFirst(3),
    HttpFault(),
    HttpFault(0, delay=20),
    HttpFault(429, "Retry-After: 1", "slow down", 5, 0.5, "GET", "/a*"),
)


@pytest.mark.parametrize("toxic", EXAMPLES, ids=repr)
def test_toxic_conforms(toxic: Toxic):
    """The published check passes."""
    check_toxic(toxic, seeds=range(6), damages=isinstance(toxic, Corrupt))


def test_registry_has_an_example_of_every_toxic():
    """A toxic that is registered is checked here."""
    assert {type(toxic) for toxic in EXAMPLES} == {*TOXICS, *OWN_TOXICS}


def test_registry_finds_toxics_by_type():
    """The wire's type is the key; an unknown one has no class, and compatible mode knows only Toxiproxy's."""
    assert all(toxic_class(toxic.kind) is toxic for toxic in OWN_TOXICS)
    assert not any(toxic_class(toxic.kind, own=False) for toxic in OWN_TOXICS)
    assert all(toxic_class(toxic.kind) is toxic for toxic in TOXICS)
    assert toxic_class("nah") is None


def lose(data: bytes, now_ns: int) -> tuple[Effect, ...]:
    """Emit all but the last byte."""
    return (Emit(Chunk(data[:-1], now_ns)),) if len(data) > 1 else ()


def swap(data: bytes, now_ns: int) -> tuple[Effect, ...]:
    """Emit in another order."""
    return (Emit(Chunk(data[::-1], now_ns)),)


def hide(data: bytes, now_ns: int) -> tuple[Effect, ...]:
    """Emit nothing, and say that nothing is held."""
    return ()


def talk_on(data: bytes, now_ns: int) -> tuple[Effect, ...]:
    """Emit after the end."""
    return (Finish(Ending.FIN), Emit(Chunk(data, now_ns)))


@dataclass(frozen=True)
class Broken(Noop):
    """A toxic that does something wrong with data."""

    how: Callable[[bytes, int], tuple[Effect, ...]] = lose

    def step(self, state: None, event: Event, now_ns: int) -> tuple[None, tuple[Effect, ...]]:
        """Misbehave with data, otherwise be a noop."""
        if isinstance(event, Data):
            return state, self.how(event.chunk.data, now_ns)
        return super().step(state, event, now_ns)


@pytest.mark.parametrize("how", [lose, swap, hide, talk_on])
def test_check_catches_a_broken_toxic(how: Callable[[bytes, int], tuple[Effect, ...]]):
    """Each way of breaking the rules is told, with the seed."""
    with pytest.raises(AssertionError, match="seed"):
        check_toxic(Broken(how), seeds=range(5))
