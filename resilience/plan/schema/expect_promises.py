"""Expectations on what a system promises beyond single calls: sockets, data, instances, pools, health, and coming back at all.

Each has one key that no other kind has; by it the plan's reader tells them apart (`EXPECTATION_KEYS` in `expect`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from resilience.plan.fields import (
    CountBound,
    DurationBound,
    DurationNs,
    Name,
    NumberBound,
    PositiveNs,
    RatePerS,
    ShareBound,
    SizeBound,
)
from resilience.plan.schema.base import Model
from resilience.plan.units import COUNT, Comparison, parse_comparison

_NONE = parse_comparison("== 0", COUNT)


class SocketsExpectation(Model):
    """Sockets of one load: how many connected, what they were told, how fast they were answered, and whether they stayed."""

    sockets: Name
    connected: ShareBound | None = None
    welcomed: ShareBound | None = None
    broadcast: ShareBound | None = None
    grace: PositiveNs = 2_000_000_000
    lost: ShareBound | None = None
    message_p95: DurationBound | None = None
    message_p99: DurationBound | None = None

    @model_validator(mode="after")
    def _says_something(self) -> SocketsExpectation:
        if not self.bounds():
            raise ValueError('nothing is compared: add for example connected: ">= 90%"')
        return self

    def bounds(self) -> dict[str, Comparison]:
        """Compared figures by name."""
        return {k: v for k in SOCKET_FIGURES if isinstance(v := getattr(self, k), Comparison)}


SOCKET_FIGURES = ("connected", "welcomed", "broadcast", "lost", "message_p95", "message_p99")


class ScalingExpectation(Model):
    """An autoscaler answers a load above `above`: in time, with instances that become ready, and without losing requests."""

    load: Name
    above: RatePerS
    scales_out: DurationBound
    ready: DurationBound | None = None
    scales_in: bool = False
    lost: CountBound | None = None


class CoherenceExpectation(Model):
    """No read returns less than was acknowledged before it began, and no value crosses keys."""

    load: Name
    writes: Name | None = None
    stale: CountBound
    staleness: DurationNs = 0


class HitRateExpectation(Model):
    """Share of reads that the cache answered, over a phase."""

    load: Name
    phase: Name
    hit_rate: ShareBound


class CacheExpectation(Model):
    """A cache server keeps to its memory, evicts, and was started as often as the plan has it, by what it counts itself.

    `cache` is the name of its address: `cache` in the lab, one of `external.addresses` elsewhere.
    """

    cache: Name
    evicted: CountBound | None = None
    filled: CountBound | None = None
    restarts: CountBound | None = None

    @model_validator(mode="after")
    def _says_something(self) -> CacheExpectation:
        if not self.bounds():
            raise ValueError('nothing is compared: add for example filled: "<= 1.05"')
        return self

    def bounds(self) -> dict[str, Comparison]:
        """Compared figures by name."""
        return {k: v for k in CACHE_FIGURES if isinstance(v := getattr(self, k), Comparison)}


CACHE_FIGURES = ("evicted", "filled", "restarts")


class OrdersExpectation(Model):
    """Every acknowledged order is there exactly once afterwards, and none that was refused."""

    load: Name
    ledger: Name
    lost: CountBound = _NONE
    doubled: CountBound = _NONE


class PoolExpectation(Model):
    """Connection pools were saturated, if that is asked, and are idle again after the load."""

    pool: Name
    idle_within: DurationBound
    saturated: bool = False


class HealthExpectation(Model):
    """The system is whole at these stages; "after" must equal "before"."""

    healthy: Annotated[tuple[Literal["before", "during", "after"], ...], Field(min_length=1)]
    memory: SizeBound | None = None
    descriptors: NumberBound | None = None


class MetastableExpectation(Model):
    """Whether an overload outlives its cause. `probes` are phases of less load, `again` the phase of the full load after them.

    `never`: the system comes back by itself, if slowly. `confirmed`: it does not, and the hysteresis probe shows two stable states.
    """

    load: Name
    fault: Name
    metastable: Literal["never", "confirmed"]
    watch: Name
    probes: dict[Name, Annotated[float, Field(ge=0, lt=1)]] = {}
    again: Name | None = None
    hold: PositiveNs = 10_000_000_000
    least: PositiveNs | None = None

    def phases(self) -> tuple[str, ...]:
        """Every phase that it looks at, in the order of the probe."""
        return (self.watch, *self.probes, *([self.again] if self.again is not None else []))


PROMISE_KEYS = {
    "CacheExpectation": "cache",
    "SocketsExpectation": "sockets",
    "ScalingExpectation": "scales_out",
    "CoherenceExpectation": "stale",
    "HitRateExpectation": "hit_rate",
    "OrdersExpectation": "ledger",
    "PoolExpectation": "idle_within",
    "HealthExpectation": "healthy",
    "MetastableExpectation": "metastable",
}


def no_more_than(bound: Comparison | None, default: float) -> float:
    """The number of an upper bound, for a limit that has a default."""
    return default if bound is None else bound.bound
