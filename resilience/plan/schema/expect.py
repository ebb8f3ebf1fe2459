"""Expectations: the bounds that a run is judged by, one model for each kind."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from resilience.plan.fields import (
    CountBound,
    DurationBound,
    DurationNs,
    Name,
    PositiveNs,
    RateBound,
    ShareBound,
    SizeBound,
)
from resilience.plan.schema.base import Model
from resilience.plan.schema.expect_promises import (
    PROMISE_KEYS,
    CacheExpectation,
    CoherenceExpectation,
    HealthExpectation,
    HitRateExpectation,
    MetastableExpectation,
    OrdersExpectation,
    PoolExpectation,
    ScalingExpectation,
    SocketsExpectation,
)
from resilience.plan.units import Comparison


class LoadExpectation(Model):
    """Bounds on one load stream, over a phase or over the time that a fault was in."""

    load: Name
    phase: Name | None = None
    fault: Name | None = None
    settle: DurationNs = 0
    p50: DurationBound | None = None
    p90: DurationBound | None = None
    p95: DurationBound | None = None
    p99: DurationBound | None = None
    max: DurationBound | None = None
    errors: ShareBound | None = None
    fallback: ShareBound | None = None
    protected: ShareBound | None = None
    goodput: ShareBound | None = None
    throughput: RateBound | None = None
    peak: RateBound | None = None
    shed: ShareBound | None = None
    shed_p99: DurationBound | None = None
    unanswered: ShareBound | None = None
    told_p99: DurationBound | None = None

    @model_validator(mode="after")
    def _says_something(self) -> LoadExpectation:
        if self.phase is not None and self.fault is not None:
            raise ValueError("name a phase or a fault, not both")
        if not self.bounds():
            raise ValueError('nothing is compared: add for example p95: "< 150ms" or errors: "< 1%"')
        return self

    def bounds(self) -> dict[str, Comparison]:
        """Compared figures by name."""
        return {k: v for k in LOAD_FIGURES if isinstance(v := getattr(self, k), Comparison)}


LOAD_FIGURES = (
    "p50",
    "p90",
    "p95",
    "p99",
    "max",
    "errors",
    "fallback",
    "protected",
    "goodput",
    "throughput",
    "peak",
    "shed",
    "shed_p99",
    "unanswered",
    "told_p99",
)


class OpensExpectation(Model):
    """The breaker opens on every instance within this time after the fault went in."""

    breaker: Name
    fault: Name
    within: PositiveNs


RuleName = Literal[
    "R1", "R2", "R3", "R4", "R5", "R6", "R7", "R8", "R9", "R10",
    "R11", "R12", "R13", "R14", "R15", "R16", "R17", "R18", "R19", "R20",
]  # fmt: skip


class ConformsExpectation(Model):
    """The breaker keeps its specification; the required rules must have been exercised, too."""

    breaker: str
    require: Annotated[tuple[RuleName, ...], Field(min_length=1)] = ("R1", "R4", "R5", "R10", "R15")


class RecoversExpectation(Model):
    """The system is healthy again within this time after the fault is verified healed and the load is back."""

    fault: Name
    load: Name | None = None
    time_to_recover: DurationBound
    hold: DurationNs | None = None


class AmplificationExpectation(Model):
    """Calls that reach a dependency per call that was offered: above 1 somebody retries."""

    proxy: Name
    load: Name | None = None
    amplification: CountBound


class ResourceExpectation(Model):
    """Memory growth and restarts of a service's processes. `leak` bounds what memory grows by in a minute, for certain."""

    service: Name
    growth: SizeBound | None = None
    leak: SizeBound | None = None
    restarts: CountBound | None = None

    @model_validator(mode="after")
    def _says_something(self) -> ResourceExpectation:
        if self.growth is None and self.leak is None and self.restarts is None:
            raise ValueError('nothing is compared: add growth: "< 200MB" or restarts: "== 0"')
        return self


EXPECTATION_KEYS = {
    **PROMISE_KEYS,
    "ConformsExpectation": "require",
    "OpensExpectation": "within",
    "RecoversExpectation": "time_to_recover",
    "AmplificationExpectation": "amplification",
    "ResourceExpectation": "service",
    "LoadExpectation": "load",
}


def _expectation_kind(value: object) -> str:
    keys = set(value) if isinstance(value, dict) else set(getattr(type(value), "model_fields", ()))
    for tag, key in EXPECTATION_KEYS.items():
        if key in keys:
            return tag
    if "breaker" in keys:
        return "OpensExpectation" if "fault" in keys else "ConformsExpectation"
    return "LoadExpectation"


Expectation = Annotated[
    Annotated[LoadExpectation, Tag("LoadExpectation")]
    | Annotated[OpensExpectation, Tag("OpensExpectation")]
    | Annotated[ConformsExpectation, Tag("ConformsExpectation")]
    | Annotated[RecoversExpectation, Tag("RecoversExpectation")]
    | Annotated[AmplificationExpectation, Tag("AmplificationExpectation")]
    | Annotated[ResourceExpectation, Tag("ResourceExpectation")]
    | Annotated[SocketsExpectation, Tag("SocketsExpectation")]
    | Annotated[ScalingExpectation, Tag("ScalingExpectation")]
    | Annotated[CoherenceExpectation, Tag("CoherenceExpectation")]
    | Annotated[HitRateExpectation, Tag("HitRateExpectation")]
    | Annotated[CacheExpectation, Tag("CacheExpectation")]
    | Annotated[OrdersExpectation, Tag("OrdersExpectation")]
    | Annotated[PoolExpectation, Tag("PoolExpectation")]
    | Annotated[HealthExpectation, Tag("HealthExpectation")]
    | Annotated[MetastableExpectation, Tag("MetastableExpectation")],
    Discriminator(_expectation_kind),
]
