"""Circuit breakers that a run follows: their specification and where evidence comes from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from resilience.plan.fields import (
    DurationNs,
    Name,
    PositiveNs,
)
from resilience.plan.schema.base import Model

REMOTE_KEYS = ("actuator", "prometheus", "opossum", "opossum_events", "gobreaker", "envoy", "json", "sse")
"""Ways of watching a breaker of somebody else's; `resilience.breaker.observers.registry` has an observer for each."""
EVENT_KEYS = ("actuator", "prometheus", "opossum_events", "sse")
"""Those that tell transitions: two of them would tell each one twice."""


class Mapped(Model):
    """Any JSON: the address, and dotted paths to the words in it. States in unusual words are listed under `states`."""

    url: str
    state: str | None = None
    before: Annotated[str | None, Field(alias="from")] = None
    after: Annotated[str | None, Field(alias="to")] = None
    name: str | None = None
    at: str | None = None
    unit: Literal["s", "ms", "us", "ns"] = "ms"
    delay: DurationNs = 250_000_000
    states: dict[str, Literal["closed", "open", "half_open", "forced_open", "disabled"]] = {}


class Observe(Model):
    """Where evidence about a breaker comes from.

    `events` and `poll` ask each instance's admin address; the others are for breakers of somebody else's, with an address that
    may hold `{instance}` and `{name}`. `name` is what the breaker is called there, if not as in the plan. `poll` is how
    often whatever is polled is asked.
    """

    events: bool = True
    poll: PositiveNs | None = 200_000_000
    wire: Name | None = None
    name: str | None = None
    actuator: str | None = None
    prometheus: str | None = None
    opossum: str | None = None
    opossum_events: str | None = None
    gobreaker: str | None = None
    envoy: str | None = None
    json_poll: Annotated[Mapped | None, Field(alias="json")] = None
    sse: Mapped | None = None

    @model_validator(mode="after")
    def _told_once(self) -> Observe:
        telling = [key for key in EVENT_KEYS if key in self.remote()]
        if len(telling) > 1:
            raise ValueError(f"{' and '.join(telling)} would both tell each transition: choose one")
        if self.json_poll is not None and self.json_poll.state is None:
            raise ValueError(
                '`json` needs to know where the state is: json: {url: ..., state: "path.to.state"}'
            )
        if self.sse is not None and self.sse.after is None:
            raise ValueError(
                '`sse` needs to know where the new state is: sse: {url: ..., to: "path.to.state"}'
            )
        return self

    def remote(self) -> dict[str, str | Mapped]:
        """What is asked for beside the admin address and the wire, by key."""
        found = {key: getattr(self, "json_poll" if key == "json" else key) for key in REMOTE_KEYS}
        return {key: value for key, value in found.items() if value is not None}


class Instances(Model):
    """Which instances have the breaker, and the response header by which one names itself."""

    service: Name | None = None
    header: str = "X-Instance"


class Breaker(Model):
    """A circuit breaker to follow: its specification and the calls that pass it."""

    spec: dict[str, Any] | Literal["lab"] = "lab"
    dialect: Name | None = None
    observe: Observe = Observe()
    load: Name
    header: str = "X-Instance"
    instances: Instances | None = None

    @model_validator(mode="before")
    @classmethod
    def _header_of_instances(cls, value: Any) -> Any:
        instances = value.get("instances") if isinstance(value, dict) else None
        if isinstance(instances, dict) and "header" in instances and "header" not in value:
            return {**value, "header": instances["header"]}
        return value
