"""The system under test: the lab, or addresses of what somebody else started."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from resilience.plan.fields import (
    Name,
    RatePerS,
)
from resilience.plan.schema.base import Model

LabBreaker = Literal["purgatory", "aiobreaker", "circuitbreaker", "hyx", "none"]
"""The breakers that the lab can run under; the lab's own list would draw in its clocks and sockets."""


class LabSettings(Model):
    """Settings of the lab's services, by the names that docs/lab.md has for their environment."""

    db_pool: Annotated[int, Field(ge=1)] | None = None
    database_timeout_ms: Annotated[int, Field(ge=1)] | None = None
    cache_timeout_ms: Annotated[int, Field(ge=1)] | None = None
    cache_ttl_ms: Annotated[int, Field(ge=1)] | None = None
    scrypt_log2_n: Annotated[int, Field(ge=1)] | None = None
    call_timeout_ms: Annotated[int, Field(ge=1)] | None = None
    retries: Annotated[int, Field(ge=0)] | None = None
    pricing_work_ms: Annotated[int, Field(ge=0)] | None = None
    pricing_capacity: Annotated[int, Field(ge=0)] | None = None
    pricing_queue: Annotated[int, Field(ge=1)] | None = None

    def given(self) -> dict[str, str]:
        """What the plan sets, by name."""
        return {name: str(value) for name, value in self.model_dump(exclude_none=True).items()}


class LabAutoscale(Model):
    """An autoscaler that goes from the lab's `gateways` up to `most`, at about `per_gateway` requests a second each."""

    most: Annotated[int, Field(ge=2, le=16)]
    per_gateway: RatePerS


class Lab(Model):
    """The reference system that comes with chaos-spike."""

    breaker: LabBreaker | None = None
    gateways: Annotated[int, Field(ge=1, le=16)] = 2
    settings: LabSettings = LabSettings()
    autoscale: LabAutoscale | None = None


class ExternalInstance(Model):
    """One running instance of the system under test, with the port that shows its breakers."""

    name: Name
    service: Name = "service"
    admin_url: str | None = None


class ExternalProxy(Model):
    """Where a Toxiproxy server fronts a dependency, and the tap before it, if there is one.

    With `listen` instead of `admin_url` we put both there ourselves: the system calls `listen`, and `upstream` is the
    dependency. Before a breaker that is stimulated there is no upstream: the scripted dependency is.
    """

    admin_url: str | None = None
    proxy: str | None = None
    tap_url: str | None = None
    tap: str | None = None
    listen: str | None = None
    upstream: str | None = None

    @model_validator(mode="after")
    def _theirs_or_ours(self) -> ExternalProxy:
        theirs = (self.admin_url, self.proxy, self.tap_url, self.tap)
        if self.listen is not None:
            if any(value is not None for value in theirs):
                raise ValueError(
                    "`listen` means a proxy of ours: leave admin_url, proxy, tap_url and tap out"
                )
        elif self.admin_url is None or self.proxy is None:
            raise ValueError("give `admin_url` and `proxy` of your Toxiproxy, or `listen` for one of ours")
        elif self.upstream is not None:
            raise ValueError("`upstream` goes with `listen`; a Toxiproxy of yours knows its own")
        return self


class External(Model):
    """A system that somebody else started."""

    base_url: str
    instances: tuple[ExternalInstance, ...] = ()
    proxies: dict[Name, ExternalProxy] = {}
    addresses: dict[Name, str] = {}
