"""The whole plan: which system, which load, which faults when, what is expected, when to stop."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from resilience.plan.fields import (
    Name,
    PositiveNs,
    ShareLimit,
    SizeLimit,
)
from resilience.plan.schema.base import Model
from resilience.plan.schema.breakers import Breaker
from resilience.plan.schema.contained import ComposeSystem, ServiceProxy
from resilience.plan.schema.expect import Expectation
from resilience.plan.schema.faults import Allow, Fault
from resilience.plan.schema.load import LoadStream, Phase
from resilience.plan.schema.stimulus import Stimulus
from resilience.plan.schema.system import External, Lab

_PATH: Final = re.compile(r"/[^?#\s]*")


class Abort(Model):
    """Stops the run and heals at once when it holds for this long. One of three: errors of a load, memory of a process of a service, a probe.

    The probe is a path of the system that is asked twice a second; it holds while no answer below 400 comes within a second.
    """

    load: Name | None = None
    errors: ShareLimit | None = None
    service: Name | None = None
    memory: SizeLimit | None = None
    probe: str | None = None
    hold: Annotated[PositiveNs, Field(alias="for")]

    @model_validator(mode="after")
    def _one_condition(self) -> Abort:
        of_load, of_service = (self.load, self.errors), (self.service, self.memory)
        halves = [None in pair and pair != (None, None) for pair in (of_load, of_service)]
        given = (of_load != (None, None)) + (of_service != (None, None)) + (self.probe is not None)
        if any(halves) or given != 1:
            raise ValueError(
                'name one condition: `load` and `errors: "> 20%"`, `service` and `memory: "> 500MB"`, or `probe: /a/path`'
            )
        if self.probe is not None and not _PATH.fullmatch(self.probe):
            raise ValueError("write `probe` as a path of the system without a query, such as /health")
        return self


class Plan(Model):
    """A whole experiment: which system, which load, which faults when, which breakers, what is expected."""

    version: Literal[1]
    name: Name
    purpose: str = ""
    lab: Lab | None = None
    external: External | None = None
    system: ComposeSystem | None = None
    proxies: dict[Name, ServiceProxy] = {}
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)]
    load: dict[Name, LoadStream] = {}
    stimulus: dict[Name, Stimulus] = {}
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
    def _some_traffic(self) -> Plan:
        if not self.load and not self.stimulus:
            raise ValueError("nothing would happen: add a stream under `load:`")
        return self

    @model_validator(mode="after")
    def _one_system(self) -> Plan:
        if sum(each is not None for each in (self.lab, self.external, self.system)) != 1:
            raise ValueError(
                "name the system: `lab: {}`, `external: {...}` or `system: {compose: ...}`, exactly one of them"
            )
        if (self.system is None) == bool(self.proxies):
            raise ValueError(
                "`proxies:` names the services of `system: {compose: ...}` that are interposed: one goes with the other"
            )
        return self
