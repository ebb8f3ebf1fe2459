"""The system under test: the lab, or addresses of what somebody else started."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from resilience.plan.fields import (
    Name,
)
from resilience.plan.schema.base import Model

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
