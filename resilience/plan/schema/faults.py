"""Faults: what goes wrong, when, for how long, and what may be faulted at all.

A fault names one target (a proxy, a process or a container) and one thing that is done to it. A process is a service of the lab wherever it
runs: on the compose stack the same name is that service's container, so that one plan runs on both.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from resilience.plan.fields import (
    DurationNs,
    MomentOf,
    Name,
)
from resilience.plan.schema.base import Model

ACTIONS: Final = {
    "proxy": ("toxic", "enabled"),
    "process": ("freeze", "kill", "restart"),
    "container": ("pause", "kill", "stop", "restart", "disconnect", "cpu"),
}
"""What can be done to each kind of target, by the keys of a plan."""
MOST_GRACE_NS = 5_000_000_000
"""Longest grace of a stop: the fault layer's own bound, within which it can still be undone for certain."""


class Toxic(Model):
    """A toxic in Toxiproxy's own words, so that people can paste."""

    type: Name
    name: Name | None = None
    stream: Literal["upstream", "downstream"] = "downstream"
    toxicity: Annotated[float, Field(ge=0, le=1)] = 1.0
    attributes: dict[str, int | float | str | bool] = {}


class Fault(Model):
    """Something that goes wrong from `start` for `duration`, on a proxy, a process or a container.

    `cpu` is in cores; `grace` belongs to `stop`, `network` to `disconnect` (needed where the container is in several).
    """

    id: Name
    proxy: Name | None = None
    process: Name | None = None
    container: Name | None = None
    toxic: Toxic | None = None
    enabled: Literal[False] | None = None
    freeze: Literal[True] | None = None
    pause: Literal[True] | None = None
    kill: Literal[True] | None = None
    stop: Literal[True] | None = None
    grace: DurationNs | None = None
    restart: Literal[True] | None = None
    disconnect: Literal[True] | None = None
    network: Name | None = None
    cpu: Annotated[float, Field(ge=0.01, le=1024)] | None = None
    start: MomentOf
    duration: DurationNs

    @model_validator(mode="after")
    def _one_target(self) -> Fault:
        if sum(getattr(self, kind) is not None for kind in ACTIONS) != 1:
            raise ValueError("a fault is on one of `proxy`, `process` and `container`")
        return self

    @model_validator(mode="after")
    def _one_action(self) -> Fault:
        known = {action for actions in ACTIONS.values() for action in actions}
        given = [
            name for name in type(self).model_fields if name in known and getattr(self, name) is not None
        ]
        wanted = ACTIONS[self.on]
        if len(given) != 1 or given[0] not in wanted:
            if self.on == "proxy":
                raise ValueError("a fault is either `toxic: {...}` or `enabled: false`, exactly one of them")
            words = ", ".join(f"`{word}: {'0.5' if word == 'cpu' else 'true'}`" for word in wanted)
            raise ValueError(f"a fault on a {self.on} is exactly one of {words}")
        return self

    @model_validator(mode="after")
    def _belonging(self) -> Fault:
        if self.grace is not None and self.stop is None:
            raise ValueError("`grace` belongs to `stop: true`")
        if self.grace is not None and (self.grace % 1_000_000_000 or self.grace > MOST_GRACE_NS):
            raise ValueError(
                "`grace` is in whole seconds, 5s at most: a longer stop could not be undone for certain"
            )
        if self.network is not None and self.disconnect is None:
            raise ValueError("`network` belongs to `disconnect: true`")
        return self

    @property
    def on(self) -> Literal["proxy", "process", "container"]:
        """What kind of thing it is on."""
        if self.proxy is not None:
            return "proxy"
        return "process" if self.process is not None else "container"

    @property
    def target(self) -> str:
        """The name of what it is on."""
        return self.proxy or self.process or self.container or ""

    @property
    def action(self) -> str:
        """The key that says what is done."""
        return next(action for action in ACTIONS[self.on] if getattr(self, action) is not None)

    @property
    def kind(self) -> str:
        """What is done, in words for people: `toxic latency`, `down`, `restart`, `cpu 0.2`."""
        if self.toxic is not None:
            return f"toxic {self.toxic.type}"
        if self.cpu is not None:
            return f"cpu {self.cpu:g}"
        return {"enabled": "down"}.get(self.action, self.action)


class Allow(Model):
    """What may be faulted; nothing else."""

    services: tuple[Name, ...] | None = None
    hosts: tuple[str, ...] = ()
    max_faults: Annotated[int, Field(ge=1)] = 2
    max_fault_duration: DurationNs = 60_000_000_000
