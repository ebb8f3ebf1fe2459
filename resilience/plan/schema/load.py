"""Phases and load: how long, how many calls a second, and what one call is."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from resilience.plan.fields import (
    DurationNs,
    Name,
    PositiveNs,
    RatePerS,
)
from resilience.plan.schema.base import Model


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
