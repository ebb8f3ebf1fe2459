"""Faults: what goes wrong, when, for how long, and what may be faulted at all."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from resilience.plan.fields import (
    DurationNs,
    MomentOf,
    Name,
)
from resilience.plan.schema.base import Model


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
