"""The schema of a plan: what a person writes in YAML, as pydantic models.

A plan is a value: everything in it can be built in Python with the same names. Models are frozen and refuse unknown
keys. Nothing here knows files, lines, clocks or sockets: `loader` adds positions to errors, `compile` gives times.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from resilience.plan.fields import (
    DurationBound,
    DurationNs,
    MomentOf,
    Name,
    NumberBound,
    PositiveNs,
    RateBound,
    RatePerS,
    ShareBound,
    SizeBound,
)
from resilience.plan.units import Comparison


class Model(BaseModel):
    """What all parts of a plan share: frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


# ---------------------------------------------------------------------------------------------------- the system


LabBreaker = Literal["purgatory", "aiobreaker", "circuitbreaker", "hyx", "none"]
"""The breakers that the lab can run under; the lab's own list would draw in its clocks and sockets."""


class Lab(Model):
    """The reference system that comes with chaos-spike."""

    breaker: LabBreaker | None = None
    gateways: Annotated[int, Field(ge=1, le=16)] = 2


class ExternalInstance(Model):
    """One running instance of the system under test, with the port that shows its breakers."""

    name: Name
    service: Name = "service"
    admin_url: str | None = None


class ExternalProxy(Model):
    """Where a Toxiproxy server fronts a dependency, and the tap before it, if there is one."""

    admin_url: str
    proxy: str
    tap_url: str | None = None
    tap: str | None = None


class External(Model):
    """A system that somebody else started."""

    base_url: str
    instances: tuple[ExternalInstance, ...] = ()
    proxies: dict[Name, ExternalProxy] = {}


# ------------------------------------------------------------------------------------------------ phases and load


class Phase(Model):
    """A named stretch of the run. `judge: false` keeps it out of validity and expectations (a warm-up)."""

    name: Name
    duration: DurationNs
    judge: bool = True


class Degraded(Model):
    """How a fallback answer is told from a full one."""

    header: dict[str, str]

    @model_validator(mode="after")
    def _one_header(self) -> Degraded:
        if len(self.header) != 1:
            raise ValueError('exactly one header tells a fallback: header: {X-Degraded: "true"}')
        return self


class HttpLoad(Model):
    """One declarative HTTP request. `{name}` in url, headers and body is filled from the rows of `data`, `{i}` counts."""

    url: str
    method: str = "GET"
    headers: dict[str, str] = {}
    json_body: Annotated[Any, Field(alias="json")] = None
    data: tuple[dict[str, str], ...] | str | None = None
    deadline: PositiveNs = 1_000_000_000
    timeout: PositiveNs = 10_000_000_000
    expect_status: tuple[int, ...] = (200, 201, 202, 204)
    degraded: Degraded | None = None


class Ramp(Model):
    """A change of rate inside a phase: up to `ramp` within `rise`, back to the phase before within `fall`."""

    ramp: RatePerS
    rise: DurationNs = 0
    fall: DurationNs = 0


def _rate_kind(value: object) -> str:
    return "Ramp" if isinstance(value, dict | Ramp) else "Constant"


PhaseRate = Annotated[
    Annotated[Ramp, Tag("Ramp")] | Annotated[RatePerS, Tag("Constant")], Discriminator(_rate_kind)
]


class LoadStream(Model):
    """One stream of arrivals on the run's clock, independent of completions (open model)."""

    http: HttpLoad
    rate: dict[Name, PhaseRate]
    arrival: Literal["uniform", "poisson"] = "uniform"
    connections: Annotated[int, Field(ge=1, le=65_000)] = 64
    in_flight: Annotated[int, Field(ge=1, le=1_000_000)] = 5_000

    @model_validator(mode="before")
    @classmethod
    def _spread_default(cls, value: Any) -> Any:
        # `rate: 50/s` is what most people write first.
        if isinstance(value, dict) and isinstance(value.get("rate"), str | float | int):
            return {**value, "rate": {"default": value["rate"]}}
        return value


# --------------------------------------------------------------------------------------------------------- faults


class Toxic(Model):
    """A toxic in Toxiproxy's own words, so that people can paste."""

    type: Name
    name: Name | None = None
    stream: Literal["upstream", "downstream"] = "downstream"
    toxicity: Annotated[float, Field(ge=0, le=1)] = 1.0
    attributes: dict[str, int | float | str | bool] = {}


class Fault(Model):
    """Something that goes wrong from `start` for `duration`: a toxic on a proxy, or the proxy cut off."""

    id: Name
    proxy: Name
    toxic: Toxic | None = None
    enabled: Literal[False] | None = None
    start: MomentOf
    duration: DurationNs

    @model_validator(mode="after")
    def _one_kind(self) -> Fault:
        if (self.toxic is None) == (self.enabled is None):
            raise ValueError("a fault is either `toxic: {...}` or `enabled: false`, exactly one of them")
        return self


class Allow(Model):
    """What may be faulted; nothing else."""

    services: tuple[Name, ...] | None = None
    hosts: tuple[str, ...] = ()
    max_faults: Annotated[int, Field(ge=1)] = 2
    max_fault_duration: DurationNs = 60_000_000_000


# ----------------------------------------------------------------------------------------- breakers followed


class Observe(Model):
    """Where evidence about a breaker comes from."""

    events: bool = True
    poll: PositiveNs | None = 200_000_000
    wire: Name | None = None


class Breaker(Model):
    """A circuit breaker to follow: its specification and the calls that pass it."""

    spec: dict[str, Any] | Literal["lab"] = "lab"
    dialect: Name | None = None
    observe: Observe = Observe()
    load: Name
    header: str = "X-Instance"


# --------------------------------------------------------------------------------------------------- expectations


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
    amplification: NumberBound


class ResourceExpectation(Model):
    """Memory growth and restarts of a service's processes."""

    service: Name
    growth: SizeBound | None = None
    restarts: NumberBound | None = None

    @model_validator(mode="after")
    def _says_something(self) -> ResourceExpectation:
        if self.growth is None and self.restarts is None:
            raise ValueError('nothing is compared: add growth: "< 200MB" or restarts: "== 0"')
        return self


EXPECTATION_KEYS = {
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
    | Annotated[ResourceExpectation, Tag("ResourceExpectation")],
    Discriminator(_expectation_kind),
]


class Abort(Model):
    """Stops the run and heals at once when it holds for this long."""

    load: Name
    errors: ShareBound
    hold: Annotated[PositiveNs, Field(alias="for")]


class Plan(Model):
    """A whole experiment: which system, which load, which faults when, which breakers, what is expected."""

    version: Literal[1]
    name: Name
    purpose: str = ""
    lab: Lab | None = None
    external: External | None = None
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)]
    load: Annotated[dict[Name, LoadStream], Field(min_length=1)]
    faults: tuple[Fault, ...] = ()
    breakers: dict[Name, Breaker] = {}
    expect: Annotated[dict[Name, Expectation], Field(min_length=1)]
    abort: tuple[Abort, ...] = ()
    allow: Allow = Allow()

    @model_validator(mode="before")
    @classmethod
    def _lab_without_options(cls, value: Any) -> Any:
        # `lab:` with nothing behind it means the lab as it is.
        if isinstance(value, dict) and "lab" in value and value["lab"] is None:
            return {**value, "lab": {}}
        return value

    @model_validator(mode="after")
    def _one_system(self) -> Plan:
        if (self.lab is None) == (self.external is None):
            raise ValueError("name the system: either `lab: {}` or `external: {...}`, exactly one of them")
        return self
